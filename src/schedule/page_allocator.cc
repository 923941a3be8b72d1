#include "schedule/page_allocator.h"

#include "base/error.h"

namespace llm_tp {

PageAllocator::PageAllocator(int pages) : used_(static_cast<std::size_t>(pages), false) {
  for (PageId page = pages - 1; page >= 0; --page) free_.push_back(page);
}

PageId PageAllocator::take() {
  LLM_TP_CHECK(!free_.empty(), "no KV page is free");
  const PageId page = free_.back();
  free_.pop_back();
  used_[static_cast<std::size_t>(page)] = true;
  return page;
}

void PageAllocator::give_back(PageId page) {
  LLM_TP_CHECK(page >= 0 && page < total_pages() && used_[static_cast<std::size_t>(page)],
               "a KV page was given back twice");
  used_[static_cast<std::size_t>(page)] = false;
  free_.push_back(page);
}

}  // namespace llm_tp
