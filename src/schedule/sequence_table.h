#pragma once
#include <cstdint>
#include <map>
#include <span>
#include <vector>

#include "decoding/strategy.h"
#include "schedule/page_allocator.h"
#include "schedule/prefix_index.h"

namespace llm_tp {

/// Every live sequence with its tokens and KV pages. Sequences share pages by reference count; what a
/// sequence is about to write into a shared page is copied first. Pages are taken only when rows are planned,
/// so a fork costs nothing but its tokens. Whole pages of sequences that ended are kept for others that begin
/// with the same tokens, and given up, the longest unused first, when pages run out; they count as free. Rank
/// 0 alone. Not thread-safe.
class SequenceTable final {
 public:
  struct Sequence {
    ModelSlot model = ModelSlot::kMain;
    std::vector<TokenId> tokens;
    std::int32_t done = 0;  // positions whose keys and values are in the cache
    std::vector<PageId> pages;
    std::int32_t waiting() const noexcept { return static_cast<std::int32_t>(tokens.size()) - done; }
  };
  struct PageCopies {
    std::vector<PageId> from, to;
  };

  /// pages: of each model slot.
  SequenceTable(std::int32_t page_tokens, std::int32_t main_pages, std::int32_t draft_pages,
                bool keeps_prefixes);

  /// reuse: it begins with pages that are kept; its last token is run anyway.
  SequenceId start(ModelSlot model, std::vector<TokenId> tokens, bool reuse);
  SequenceId fork(SequenceId from);
  void append(SequenceId id, std::span<const TokenId> tokens);
  void cut(SequenceId id, std::int32_t length);
  void drop(SequenceId id);

  /// Makes the pages of the next `rows` positions the sequence's own.
  void prepare(SequenceId id, std::int32_t rows, PageCopies& copies);
  /// The rows were run.
  void advance(SequenceId id, std::int32_t rows) { at(id).done += rows; }

  const Sequence& get(SequenceId id) const { return sequences_.at(id); }
  bool has(SequenceId id) const { return sequences_.contains(id); }
  const PageAllocator& pages(ModelSlot model) const { return allocators_[static_cast<std::size_t>(model)]; }

 private:
  Sequence& at(SequenceId id) { return sequences_.at(id); }
  PageId take(ModelSlot model);
  PageAllocator& allocator(ModelSlot model) { return allocators_[static_cast<std::size_t>(model)]; }

  std::int32_t page_tokens_;
  bool keeps_prefixes_;
  PrefixIndex prefixes_;                   // of the main model
  std::vector<PageAllocator> allocators_;  // by model slot
  std::map<SequenceId, Sequence> sequences_;
  SequenceId next_id_ = 0;
};

}  // namespace llm_tp
