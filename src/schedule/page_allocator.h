#pragma once
#include <cstdint>
#include <vector>

#include "base/ids.h"

namespace llm_tp {

/// Which KV pages of one model are free, and how many hold each of the others; the same ids on every rank.
/// A page that is kept stays as it is when its last holder leaves, until it is let go.
/// Rank 0 alone has one. Not thread-safe.
class PageAllocator {
 public:
  explicit PageAllocator(int pages);
  int free_pages() const noexcept { return static_cast<int>(free_.size()); }
  int total_pages() const noexcept { return static_cast<int>(holders_.size()); }
  /// A page for one holder. Errors: kBug when none is free: ask free_pages() first.
  PageId take();
  /// One holder more; a kept page may have had none. Errors: kBug for a page that is free.
  void share(PageId page);
  /// One holder less; the last one frees it. Errors: kBug for a page that is free.
  void give_back(PageId page);
  /// Errors: kBug for a page that is free, and for one that is kept already.
  void keep(PageId page);
  /// Errors: kBug for a page that is not idle.
  void let_go(PageId page);
  /// Whether more than one holds it, or it is kept: then it must not be written.
  bool is_shared(PageId page) const {
    return holders_.at(static_cast<std::size_t>(page)) > 1 || kept_.at(static_cast<std::size_t>(page));
  }
  /// Kept, and held by nobody.
  bool is_idle(PageId page) const {
    return holders_.at(static_cast<std::size_t>(page)) == 0 && kept_.at(static_cast<std::size_t>(page));
  }
  int idle_pages() const noexcept { return idle_; }
  int holders(PageId page) const { return holders_.at(static_cast<std::size_t>(page)); }
  bool is_kept(PageId page) const { return kept_.at(static_cast<std::size_t>(page)); }

 private:
  std::int32_t& holders_of(PageId page);
  std::vector<PageId> free_;  // lowest id last, so that it is taken first
  std::vector<std::int32_t> holders_;
  std::vector<bool> kept_;
  int idle_ = 0;
};

}  // namespace llm_tp
