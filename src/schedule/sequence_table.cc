#include "schedule/sequence_table.h"

#include <algorithm>
#include <utility>

#include "base/error.h"

namespace llm_tp {

SequenceTable::SequenceTable(std::int32_t page_tokens, std::int32_t main_pages, std::int32_t draft_pages)
    : page_tokens_(page_tokens), allocators_{PageAllocator(main_pages), PageAllocator(draft_pages)} {}

SequenceId SequenceTable::start(ModelSlot model, std::vector<TokenId> tokens) {
  LLM_TP_CHECK(!tokens.empty(), "a sequence without tokens");
  sequences_.emplace(next_id_, Sequence{model, std::move(tokens), 0, {}});
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
  for (PageId page : sequence.pages) allocator(sequence.model).give_back(page);
  sequences_.erase(id);
}

void SequenceTable::prepare(SequenceId id, std::int32_t rows, PageCopies& copies) {
  Sequence& sequence = at(id);
  PageAllocator& pages = allocator(sequence.model);
  // Only the page that is partly filled can hold positions of ours and of others and be written now.
  const auto first = static_cast<std::size_t>(sequence.done / page_tokens_);
  if (first < sequence.pages.size() && pages.is_shared(sequence.pages[first])) {
    const PageId own = pages.take();
    copies.from.push_back(sequence.pages[first]);
    copies.to.push_back(own);
    pages.give_back(sequence.pages[first]);
    sequence.pages[first] = own;
  }
  const auto needed = static_cast<std::size_t>((sequence.done + rows + page_tokens_ - 1) / page_tokens_);
  while (sequence.pages.size() < needed) sequence.pages.push_back(pages.take());
}

}  // namespace llm_tp
