#include "schedule/sequence_table.h"

#include <algorithm>
#include <string>
#include <utility>

#include "base/error.h"

namespace llm_tp {

SequenceTable::Caches::Caches(const std::vector<CacheLimits>& limits) {
  for (const CacheLimits& cache : limits) {
    lookbacks.push_back(cache.lookback);
    pages.emplace_back(static_cast<int>(cache.pages));
  }
}

SequenceTable::SequenceTable(std::int32_t page_tokens, const std::vector<CacheLimits>& main_caches,
                             const std::vector<CacheLimits>& draft_caches, bool keeps_prefixes)
    : page_tokens_(page_tokens),
      keeps_prefixes_(keeps_prefixes),
      caches_{Caches(main_caches), Caches(draft_caches)},
      prefixes_(page_tokens, of(ModelSlot::kMain).lookbacks) {}

SequenceId SequenceTable::start(ModelSlot model, std::vector<TokenId> tokens, bool reuse, AdapterId adapter) {
  LLM_TP_CHECK(!tokens.empty(), "a sequence without tokens");
  Sequence sequence{model, std::move(tokens), 0, 0, std::vector<PageRun>(of(model).pages.size()), adapter};
  if (reuse) take_kept(sequence, static_cast<std::int32_t>(sequence.tokens.size()) - 1);
  sequence.told = sequence.done;
  sequences_.emplace(next_id_, std::move(sequence));
  return next_id_++;
}

void SequenceTable::take_kept(Sequence& sequence, std::int32_t most) {
  if (!keeps_prefixes_ || sequence.model != ModelSlot::kMain) return;
  PrefixIndex::Found found =
      prefixes_.find(sequence.tokens, static_cast<std::size_t>(most / page_tokens_), sequence.adapter);
  sequence.done = static_cast<std::int32_t>(found.length) * page_tokens_;
  sequence.runs = std::move(found.runs);
  for (std::size_t c = 0; c < sequence.runs.size(); ++c)
    for (PageId page : sequence.runs[c].pages) of(sequence.model).pages[c].share(page);
}

std::int64_t SequenceTable::held_pages(ModelSlot model, std::size_t cache, std::span<const TokenId> tokens,
                                       std::int32_t most, AdapterId adapter) {
  if (!keeps_prefixes_ || model != ModelSlot::kMain) return 0;
  const auto found = prefixes_.find(tokens, static_cast<std::size_t>(most / page_tokens_), adapter);
  const auto& pages = found.runs[cache].pages;
  return std::count_if(pages.begin(), pages.end(),
                       [&](PageId page) { return !of(model).pages[cache].is_idle(page); });
}

SequenceId SequenceTable::fork(SequenceId from) {
  Sequence copy = at(from);
  for (std::size_t c = 0; c < copy.runs.size(); ++c)
    for (PageId page : copy.runs[c].pages) of(copy.model).pages[c].share(page);
  sequences_.emplace(next_id_, std::move(copy));
  return next_id_++;
}

void SequenceTable::append(SequenceId id, std::span<const TokenId> tokens) {
  Sequence& sequence = at(id);
  sequence.tokens.insert(sequence.tokens.end(), tokens.begin(), tokens.end());
}

void SequenceTable::cut(SequenceId id, std::int32_t length) {
  Sequence& sequence = at(id);
  const auto size = static_cast<std::int32_t>(sequence.tokens.size());
  LLM_TP_CHECK(length >= 0 && length <= size, "a sequence cut to more tokens than it has");
  sequence.tokens.resize(static_cast<std::size_t>(length));
  sequence.done = std::min(sequence.done, length);
  sequence.told = std::min(sequence.told, length);
  const std::int32_t behind = (sequence.done + page_tokens_ - 1) / page_tokens_;
  for (std::size_t c = 0; c < sequence.runs.size(); ++c) {
    PageRun& run = sequence.runs[c];
    LLM_TP_CHECK(run.pages_before <= behind, "a sequence cut to where its pages were given back");
    for (; std::ssize(run.pages) > behind - run.pages_before; run.pages.pop_back())
      of(sequence.model).pages[c].give_back(run.pages.back());
  }
}

void SequenceTable::advance(SequenceId id, std::int32_t rows) {
  Sequence& sequence = at(id);
  sequence.done += rows;
  sequence.told = std::max(sequence.told, sequence.done);
}

void SequenceTable::drop(SequenceId id) {
  give_back_all(at(id));
  sequences_.erase(id);
}

void SequenceTable::pause(SequenceId id) {
  Sequence& sequence = at(id);
  give_back_all(sequence);
  sequence.done = 0;
  sequence.runs.assign(sequence.runs.size(), {});
}

void SequenceTable::resume(SequenceId id, std::int32_t most) {
  LLM_TP_CHECK(at(id).done == 0 && most <= at(id).told, "a sequence was resumed that is not paused");
  take_kept(at(id), most);
}

void SequenceTable::adopt(SequenceId id, SequenceId from) {
  Sequence& sequence = at(id);
  const Sequence& other = at(from);
  LLM_TP_CHECK(
      sequence.done == 0 && other.done <= sequence.told &&
          std::equal(other.tokens.begin(), other.tokens.begin() + other.done, sequence.tokens.begin()),
      "a sequence was to go on from pages of other tokens");
  sequence.done = other.done;
  sequence.runs = other.runs;
  for (std::size_t c = 0; c < sequence.runs.size(); ++c)
    for (PageId page : sequence.runs[c].pages) of(sequence.model).pages[c].share(page);
}

/// Whole pages are kept where there is a prefix cache.
void SequenceTable::give_back_all(Sequence& sequence) {
  std::vector<PageAllocator>& pages = of(sequence.model).pages;
  // Only where it gives up all of its pages: one that is kept while its holder has the same content elsewhere
  // could not be given up.
  if (keeps_prefixes_ && sequence.model == ModelSlot::kMain) {
    const auto whole = static_cast<std::size_t>(sequence.done / page_tokens_);
    for (const auto& [cache, page] : prefixes_.add(sequence.tokens, whole, sequence.runs, sequence.adapter))
      pages[cache].keep(page);
  }
  for (std::size_t c = 0; c < sequence.runs.size(); ++c)
    for (PageId page : sequence.runs[c].pages) pages[c].give_back(page);
}

/// Kept pages that nobody holds make room: whoever prepares rows looked whether enough is free and idle
/// together.
PageId SequenceTable::take(ModelSlot model, std::size_t cache) {
  std::vector<PageAllocator>& pages = of(model).pages;
  if (pages[cache].free_pages() == 0 && model == ModelSlot::kMain) {
    const auto is_idle = [&](const PrefixIndex::CachePage& p) { return pages[p.cache].is_idle(p.page); };
    for (const auto& [of_cache, page] : prefixes_.evict(cache, is_idle)) pages[of_cache].let_go(page);
  }
  return pages[cache].take();
}

void SequenceTable::give_back_unseen(Sequence& sequence) {
  Caches& caches = of(sequence.model);
  for (std::size_t c = 0; c < sequence.runs.size(); ++c) {
    if (caches.lookbacks[c] == 0) continue;
    PageRun& run = sequence.runs[c];
    const std::int32_t unseen =
        std::max(0, sequence.done - caches.lookbacks[c]) / page_tokens_ - run.pages_before;
    if (unseen <= 0) continue;
    const auto end = run.pages.begin() + unseen;
    for (auto page = run.pages.begin(); page != end; ++page) caches.pages[c].give_back(*page);
    run.pages.erase(run.pages.begin(), end);
    run.pages_before += unseen;
  }
}

std::vector<std::int64_t> SequenceTable::pages_to_take(SequenceId id, std::int32_t rows) const {
  const Sequence& sequence = sequences_.at(id);
  const std::int32_t behind = (sequence.done + rows + page_tokens_ - 1) / page_tokens_;
  std::vector<std::int64_t> taken;
  for (std::size_t c = 0; c < sequence.runs.size(); ++c) {
    const PageRun& run = sequence.runs[c];
    const auto first = static_cast<std::size_t>(sequence.done / page_tokens_ - run.pages_before);
    const bool copies = first < run.pages.size() && of(sequence.model).pages[c].is_shared(run.pages[first]);
    taken.push_back((copies ? 1 : 0) +
                    std::max<std::int64_t>(0, behind - run.pages_before - std::ssize(run.pages)));
  }
  return taken;
}

void SequenceTable::prepare(SequenceId id, std::int32_t rows, std::vector<PageCopy>& copies) {
  Sequence& sequence = at(id);
  give_back_unseen(sequence);
  const std::int32_t behind = (sequence.done + rows + page_tokens_ - 1) / page_tokens_;
  for (std::size_t c = 0; c < sequence.runs.size(); ++c) {
    PageRun& run = sequence.runs[c];
    PageAllocator& pages = of(sequence.model).pages[c];
    // Only the page that is partly filled can hold positions of ours and of others and be written now.
    const auto first = static_cast<std::size_t>(sequence.done / page_tokens_ - run.pages_before);
    if (first < run.pages.size() && pages.is_shared(run.pages[first])) {
      const PageId own = take(sequence.model, c);
      copies.push_back({static_cast<std::int32_t>(c), run.pages[first], own});
      pages.give_back(run.pages[first]);
      run.pages[first] = own;
    }
    while (run.pages_before + std::ssize(run.pages) < behind) run.pages.push_back(take(sequence.model, c));
  }
}

void SequenceTable::check_accounts() const {
  for (const ModelSlot model : {ModelSlot::kMain, ModelSlot::kDraft}) {
    const std::vector<PageAllocator>& caches = of(model).pages;
    for (std::size_t c = 0; c < caches.size(); ++c) {
      std::vector<int> holders(static_cast<std::size_t>(caches[c].total_pages()), 0);
      for (const auto& [id, sequence] : sequences_)
        if (sequence.model == model)
          for (const PageId page : sequence.runs[c].pages) ++holders[static_cast<std::size_t>(page)];
      std::vector<bool> known(holders.size(), false);
      if (model == ModelSlot::kMain)
        for (const PageId page : prefixes_.pages(c)) known[static_cast<std::size_t>(page)] = true;
      for (PageId page = 0; page < caches[c].total_pages(); ++page)
        LLM_TP_CHECK(caches[c].holders(page) == holders[static_cast<std::size_t>(page)] &&
                         caches[c].is_kept(page) == known[static_cast<std::size_t>(page)],
                     "KV page " + std::to_string(page) + " of cache " + std::to_string(c) +
                         " is held by others than those that have it");
    }
  }
}

}  // namespace llm_tp
