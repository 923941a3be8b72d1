#include "schedule/sequence_table.h"

#include <algorithm>
#include <utility>

#include "base/error.h"

namespace llm_tp {

SequenceTable::SequenceTable(std::int32_t page_tokens, std::int32_t main_pages, std::int32_t draft_pages,
                             bool keeps_prefixes)
    : page_tokens_(page_tokens),
      keeps_prefixes_(keeps_prefixes),
      prefixes_(page_tokens),
      allocators_{PageAllocator(main_pages), PageAllocator(draft_pages)} {}

SequenceId SequenceTable::start(ModelSlot model, std::vector<TokenId> tokens, bool reuse) {
  LLM_TP_CHECK(!tokens.empty(), "a sequence without tokens");
  Sequence sequence{model, std::move(tokens), 0, {}};
  if (reuse && keeps_prefixes_ && model == ModelSlot::kMain) {
    const std::size_t most = (sequence.tokens.size() - 1) / static_cast<std::size_t>(page_tokens_);
    sequence.pages = prefixes_.find(sequence.tokens, most);
    for (PageId page : sequence.pages) allocator(model).share(page);
    sequence.done = static_cast<std::int32_t>(sequence.pages.size()) * page_tokens_;
  }
  sequences_.emplace(next_id_, std::move(sequence));
  return next_id_++;
}

SequenceId SequenceTable::fork(SequenceId from) {
  Sequence copy = at(from);
  for (PageId page : copy.pages) allocator(copy.model).share(page);
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
  const auto needed = static_cast<std::size_t>((sequence.done + page_tokens_ - 1) / page_tokens_);
  for (; sequence.pages.size() > needed; sequence.pages.pop_back())
    allocator(sequence.model).give_back(sequence.pages.back());
}

void SequenceTable::drop(SequenceId id) {
  Sequence& sequence = at(id);
  PageAllocator& pages = allocator(sequence.model);
  // Only at its end: a page that is kept while its holder has the same content elsewhere could not be given
  // up.
  if (keeps_prefixes_ && sequence.model == ModelSlot::kMain) {
    const auto whole = static_cast<std::size_t>(sequence.done / page_tokens_);
    for (PageId page : prefixes_.add(sequence.tokens, std::span(sequence.pages).first(whole)))
      pages.keep(page);
  }
  for (PageId page : sequence.pages) pages.give_back(page);
  sequences_.erase(id);
}

/// Kept pages that nobody holds make room: what running sequences may come to need is never more than what is
/// free and idle together.
PageId SequenceTable::take(ModelSlot model) {
  PageAllocator& pages = allocator(model);
  if (pages.free_pages() == 0 && model == ModelSlot::kMain)
    if (const auto page = prefixes_.evict([&](PageId p) { return pages.is_idle(p); })) pages.let_go(*page);
  return pages.take();
}

void SequenceTable::prepare(SequenceId id, std::int32_t rows, PageCopies& copies) {
  Sequence& sequence = at(id);
  PageAllocator& pages = allocator(sequence.model);
  // Only the page that is partly filled can hold positions of ours and of others and be written now.
  const auto first = static_cast<std::size_t>(sequence.done / page_tokens_);
  if (first < sequence.pages.size() && pages.is_shared(sequence.pages[first])) {
    const PageId own = take(sequence.model);
    copies.from.push_back(sequence.pages[first]);
    copies.to.push_back(own);
    pages.give_back(sequence.pages[first]);
    sequence.pages[first] = own;
  }
  const auto needed = static_cast<std::size_t>((sequence.done + rows + page_tokens_ - 1) / page_tokens_);
  while (sequence.pages.size() < needed) sequence.pages.push_back(take(sequence.model));
}

}  // namespace llm_tp
