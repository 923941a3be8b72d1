#include "schedule/page_allocator.h"

#include "base/error.h"

namespace llm_tp {

PageAllocator::PageAllocator(int pages)
    : holders_(static_cast<std::size_t>(pages), 0), kept_(static_cast<std::size_t>(pages), false) {
  for (PageId page = pages - 1; page >= 0; --page) free_.push_back(page);
}

std::int32_t& PageAllocator::holders_of(PageId page) {
  LLM_TP_CHECK(page >= 0 && page < total_pages() && holders_[static_cast<std::size_t>(page)] > 0,
               "a KV page that nobody holds was shared or given back");
  return holders_[static_cast<std::size_t>(page)];
}

PageId PageAllocator::take() {
  LLM_TP_CHECK(!free_.empty(), "no KV page is free");
  const PageId page = free_.back();
  free_.pop_back();
  holders_[static_cast<std::size_t>(page)] = 1;
  return page;
}

void PageAllocator::share(PageId page) {
  if (page >= 0 && page < total_pages() && is_idle(page)) {
    holders_[static_cast<std::size_t>(page)] = 1;
    --idle_;
    return;
  }
  ++holders_of(page);
}

void PageAllocator::give_back(PageId page) {
  if (--holders_of(page) > 0) return;
  if (kept_[static_cast<std::size_t>(page)])
    ++idle_;
  else
    free_.push_back(page);
}

void PageAllocator::keep(PageId page) {
  static_cast<void>(holders_of(page));
  LLM_TP_CHECK(!kept_[static_cast<std::size_t>(page)], "a KV page was kept twice");
  kept_[static_cast<std::size_t>(page)] = true;
}

void PageAllocator::let_go(PageId page) {
  LLM_TP_CHECK(is_idle(page), "a KV page that is in use was let go");
  kept_[static_cast<std::size_t>(page)] = false;
  --idle_;
  free_.push_back(page);
}

}  // namespace llm_tp
