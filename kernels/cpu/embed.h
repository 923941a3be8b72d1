#pragma once
#include <span>

#include "kernels/cpu/thread_pool.h"
#include "kernels/device.h"

namespace llm_tp {

/// DeviceBackend::embed; `table` is a weight of this backend.
void embed(ThreadPool& pool, TensorView out, std::span<const TokenId> tokens, const PackedWeight& table,
           Range rows);

}  // namespace llm_tp
