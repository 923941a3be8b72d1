#include "schedule/page_allocator.h"

#include <gtest/gtest.h>

#include "base/error.h"

namespace llm_tp {
namespace {

TEST(PageAllocator, TheLastHolderFreesAPage) {
  PageAllocator pages(3);
  const PageId page = pages.take();
  pages.share(page);
  EXPECT_TRUE(pages.is_shared(page));
  pages.give_back(page);
  EXPECT_FALSE(pages.is_shared(page));
  EXPECT_EQ(pages.free_pages(), 2);
  pages.give_back(page);
  EXPECT_EQ(pages.free_pages(), 3);
}

TEST(PageAllocator, TakesTheLowestOfAFreshSet) {
  PageAllocator pages(2);
  EXPECT_EQ(pages.take(), 0);
  EXPECT_EQ(pages.take(), 1);
  EXPECT_THROW(pages.take(), Error);
}

TEST(PageAllocator, APageNobodyHoldsIsABug) {
  PageAllocator pages(2);
  EXPECT_THROW(pages.give_back(0), Error);
  EXPECT_THROW(pages.share(1), Error);
  EXPECT_THROW(pages.give_back(2), Error);
  const PageId page = pages.take();
  pages.give_back(page);
  EXPECT_THROW(pages.give_back(page), Error);
}

}  // namespace
}  // namespace llm_tp
