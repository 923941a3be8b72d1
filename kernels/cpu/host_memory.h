#pragma once
#include <cstddef>

#include "kernels/device.h"

namespace llm_tp {

/// Zeroed host memory, 64-byte aligned. Large buffers come as untouched pages, huge ones where the system has
/// them, so that a page takes memory only once it is written. Errors: kOutOfMemory. Any thread.
DeviceBuffer allocate_host(std::size_t bytes);

}  // namespace llm_tp
