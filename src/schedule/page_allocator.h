#pragma once
#include <vector>

#include "base/ids.h"

namespace llm_tp {

/// Which KV pages are free; the same ids on every rank. Rank 0 alone has one. Not thread-safe.
class PageAllocator {
 public:
  explicit PageAllocator(int pages);
  int free_pages() const noexcept { return static_cast<int>(free_.size()); }
  int total_pages() const noexcept { return static_cast<int>(used_.size()); }
  /// A page for one owner. Errors: kBug when none is free: ask free_pages() first.
  PageId take();
  /// Errors: kBug for a page that is not in use.
  void give_back(PageId page);

 private:
  std::vector<PageId> free_;  // lowest id last, so that it is taken first
  std::vector<bool> used_;
};

}  // namespace llm_tp
