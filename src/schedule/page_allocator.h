#pragma once
#include <cstdint>
#include <vector>

#include "base/ids.h"

namespace llm_tp {

/// Which KV pages of one model are free, and how many hold each of the others; the same ids on every rank.
/// Rank 0 alone has one. Not thread-safe.
class PageAllocator {
 public:
  explicit PageAllocator(int pages);
  int free_pages() const noexcept { return static_cast<int>(free_.size()); }
  int total_pages() const noexcept { return static_cast<int>(holders_.size()); }
  /// A page for one holder. Errors: kBug when none is free: ask free_pages() first.
  PageId take();
  /// One holder more. Errors: kBug for a page that is free.
  void share(PageId page);
  /// One holder less; the last one frees it. Errors: kBug for a page that is free.
  void give_back(PageId page);
  /// Whether more than one holds it: then it must not be written.
  bool is_shared(PageId page) const { return holders_.at(static_cast<std::size_t>(page)) > 1; }

 private:
  std::int32_t& holders_of(PageId page);
  std::vector<PageId> free_;  // lowest id last, so that it is taken first
  std::vector<std::int32_t> holders_;
};

}  // namespace llm_tp
