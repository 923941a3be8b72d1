#pragma once
#include <cstddef>
#include <memory>

#include "kernels/device.h"

namespace llm_tp {

/// Zeroed host memory, 64-byte aligned. Large buffers come as untouched pages, huge ones where the system has
/// them, so that a page takes memory only once it is written. Errors: kOutOfMemory. Any thread.
DeviceBuffer allocate_host(std::size_t bytes);

/// Memory for buffers that live about as long as each other, such as a model's weights, side by side in huge
/// pages: most weights are smaller than a huge page or end in the middle of one, and walking 4 KiB pages
/// costs a third of the bandwidth. A region goes back to the system when the last of its buffers is freed.
/// One thread allocates, any thread frees.
class HostArena {
 public:
  /// As allocate_host, which serves small buffers.
  DeviceBuffer allocate(std::size_t bytes);

 private:
  struct Region;
  std::shared_ptr<Region> region_;
  std::size_t used_ = 0;  // bytes of region_
};

}  // namespace llm_tp
