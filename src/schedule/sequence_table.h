#pragma once
#include <cstdint>
#include <map>
#include <span>
#include <vector>

#include "decoding/strategy.h"
#include "schedule/page_allocator.h"
#include "schedule/prefix_index.h"
#include "schedule/step_plan.h"

namespace llm_tp {

/// The cache of a group of layers that look back equally far.
struct CacheLimits {
  std::int64_t pages = 0;  // numbered by PageId, where there is a cache and not only a plan of one
  // Above 0: the layers look back no further than so many positions before the one that runs, and no cut
  // takes back more: pages before are given back.
  std::int32_t lookback = 0;
};

/// Every live sequence with its tokens and KV pages. Sequences share pages by reference count; what a
/// sequence is about to write into a shared page is copied first. Pages are taken only when rows are planned,
/// so a fork costs nothing but its tokens. A model has one or more caches, and a sequence pages in each;
/// where the lookback of a cache is limited, pages before it are given back as the sequence goes on. Whole
/// pages of sequences that ended are kept for others that begin with the same tokens, and given up, the
/// longest unused first, when pages run out; they count as free. Rank 0 alone. Not thread-safe.
class SequenceTable final {
 public:
  struct Sequence {
    ModelSlot model = ModelSlot::kMain;
    std::vector<TokenId> tokens;
    std::int32_t done = 0;      // positions whose keys and values are in the cache
    std::int32_t told = 0;      // positions that were run once: run again, they have no outcome
    std::vector<PageRun> runs;  // in each cache: pages[i] is page pages_before + i
    AdapterId adapter = kNoAdapter;
    std::int32_t waiting() const noexcept { return static_cast<std::int32_t>(tokens.size()) - done; }
  };
  /// The caches of each model, the furthest-seeing first.
  SequenceTable(std::int32_t page_tokens, const std::vector<CacheLimits>& main_caches,
                const std::vector<CacheLimits>& draft_caches, bool keeps_prefixes);

  /// reuse: it begins with pages that are kept; its last token is run anyway.
  SequenceId start(ModelSlot model, std::vector<TokenId> tokens, bool reuse, AdapterId adapter = kNoAdapter);
  SequenceId fork(SequenceId from);
  void append(SequenceId id, std::span<const TokenId> tokens);
  /// Errors: kBug where the cut needs a page that was given back.
  void cut(SequenceId id, std::int32_t length);
  void drop(SequenceId id);

  /// Gives all pages of the sequence back; its tokens stay, and all of them wait to be run.
  void pause(SequenceId id);
  /// A paused sequence goes on: with pages that are kept, for its first `most` positions at the furthest.
  void resume(SequenceId id, std::int32_t most);
  /// A paused sequence goes on from the pages of another, whose tokens that were run are its own beginning.
  void adopt(SequenceId id, SequenceId from);

  /// Gives back what no row that may come sees; prepare() does it too.
  void give_back_unseen(SequenceId id) { give_back_unseen(at(id)); }
  /// What prepare() takes from each cache.
  std::vector<std::int64_t> pages_to_take(SequenceId id, std::int32_t rows) const;
  /// What it may take: pages that are free, or idle.
  std::int64_t available(ModelSlot model, std::size_t cache) const {
    const PageAllocator& pages = of(model).pages[cache];
    return std::int64_t{pages.free_pages()} + pages.idle_pages();
  }
  /// Pages of a cache that a sequence of these tokens would share with sequences that run: of its first
  /// `most` positions.
  std::int64_t held_pages(ModelSlot model, std::size_t cache, std::span<const TokenId> tokens,
                          std::int32_t most, AdapterId adapter);
  /// Makes the pages of the next `rows` positions the sequence's own.
  void prepare(SequenceId id, std::int32_t rows, std::vector<PageCopy>& copies);
  /// The rows were run.
  void advance(SequenceId id, std::int32_t rows);

  const Sequence& get(SequenceId id) const { return sequences_.at(id); }
  bool has(SequenceId id) const { return sequences_.contains(id); }
  /// Of each cache of a model.
  const std::vector<PageAllocator>& pages(ModelSlot model) const { return of(model).pages; }
  /// Walks over all pages; for tests. Errors: kBug where one is held by more or fewer than the sequences that
  /// have it, or is kept without being known by its tokens, or the other way round.
  void check_accounts() const;

 private:
  struct Caches {
    std::vector<std::int32_t> lookbacks;
    std::vector<PageAllocator> pages;
    explicit Caches(const std::vector<CacheLimits>& limits);
  };
  Sequence& at(SequenceId id) { return sequences_.at(id); }
  Caches& of(ModelSlot model) { return caches_[static_cast<std::size_t>(model)]; }
  const Caches& of(ModelSlot model) const { return caches_[static_cast<std::size_t>(model)]; }
  PageId take(ModelSlot model, std::size_t cache);
  void give_back_unseen(Sequence& sequence);
  void take_kept(Sequence& sequence, std::int32_t most);
  void give_back_all(Sequence& sequence);

  std::int32_t page_tokens_;
  bool keeps_prefixes_;
  std::vector<Caches> caches_;  // by model slot
  PrefixIndex prefixes_;        // of the main model
  std::map<SequenceId, Sequence> sequences_;
  SequenceId next_id_ = 0;
};

}  // namespace llm_tp
