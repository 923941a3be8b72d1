#include "schedule/sequence_table.h"

#include <algorithm>
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
  Sequence sequence{model, std::move(tokens), 0, std::vector<PageRun>(of(model).pages.size()), adapter};
  if (reuse && keeps_prefixes_ && model == ModelSlot::kMain) {
    const std::size_t most = (sequence.tokens.size() - 1) / static_cast<std::size_t>(page_tokens_);
    PrefixIndex::Found found = prefixes_.find(sequence.tokens, most, adapter);
    sequence.done = static_cast<std::int32_t>(found.length) * page_tokens_;
    sequence.runs = std::move(found.runs);
    for (std::size_t c = 0; c < sequence.runs.size(); ++c)
      for (PageId page : sequence.runs[c].pages) of(model).pages[c].share(page);
  }
  sequences_.emplace(next_id_, std::move(sequence));
  return next_id_++;
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
  const std::int32_t behind = (sequence.done + page_tokens_ - 1) / page_tokens_;
  for (std::size_t c = 0; c < sequence.runs.size(); ++c) {
    PageRun& run = sequence.runs[c];
    LLM_TP_CHECK(run.pages_before <= behind, "a sequence cut to where its pages were given back");
    for (; std::ssize(run.pages) > behind - run.pages_before; run.pages.pop_back())
      of(sequence.model).pages[c].give_back(run.pages.back());
  }
}

void SequenceTable::drop(SequenceId id) {
  Sequence& sequence = at(id);
  std::vector<PageAllocator>& pages = of(sequence.model).pages;
  // Only at its end: a page that is kept while its holder has the same content elsewhere could not be given
  // up.
  if (keeps_prefixes_ && sequence.model == ModelSlot::kMain) {
    const auto whole = static_cast<std::size_t>(sequence.done / page_tokens_);
    for (const auto& [cache, page] : prefixes_.add(sequence.tokens, whole, sequence.runs, sequence.adapter))
      pages[cache].keep(page);
  }
  for (std::size_t c = 0; c < sequence.runs.size(); ++c)
    for (PageId page : sequence.runs[c].pages) pages[c].give_back(page);
  sequences_.erase(id);
}

/// Kept pages that nobody holds make room: what running sequences may come to need is never more than what is
/// free and idle together.
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

}  // namespace llm_tp
