#include "kernels/cpu/host_memory.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <cstdint>
#include <optional>
#include <vector>

namespace llm_tp {
namespace {

TEST(HostArena, BuffersAreZeroAlignedAndApart) {
  HostArena arena;
  std::vector<DeviceBuffer> buffers;
  for (const std::size_t bytes : {std::size_t{100}, std::size_t{70} << 10, (std::size_t{1} << 20) + 1,
                                  std::size_t{65} << 20, std::size_t{3} << 20}) {
    buffers.push_back(arena.allocate(bytes));
    const DeviceBuffer& b = buffers.back();
    ASSERT_EQ(b.bytes(), bytes);
    EXPECT_EQ(reinterpret_cast<std::uintptr_t>(b.data()) % 64, 0u);
    EXPECT_TRUE(std::all_of(b.data(), b.data() + bytes, [](std::byte v) { return v == std::byte{0}; }));
    std::fill(b.data(), b.data() + bytes, std::byte(buffers.size()));
  }
  for (std::size_t i = 0; i < buffers.size(); ++i)
    EXPECT_TRUE(std::all_of(buffers[i].data(), buffers[i].data() + buffers[i].bytes(),
                            [&](std::byte v) { return v == std::byte(i + 1); }));
}

TEST(HostArena, ABufferOutlivesItsArenaAndItsNeighbours) {
  std::optional<HostArena> arena(std::in_place);
  DeviceBuffer first = arena->allocate(100 << 10), second = arena->allocate(100 << 10);
  second.data()[5] = std::byte{7};
  first = {};
  arena.reset();
  EXPECT_EQ(second.data()[5], std::byte{7});
}

}  // namespace
}  // namespace llm_tp
