#pragma once
#include <cstdint>
#include <span>

#include "base/tensor.h"
#include "kernels/cpu/thread_pool.h"

namespace llm_tp {

/// DeviceBackend::clear.
void clear(ThreadPool& pool, TensorView x);

/// DeviceBackend::add_rows; the work is shared out by column, so that the additions to a row keep their
/// order.
void add_rows(ThreadPool& pool, TensorView out, TensorView x, std::span<const std::int32_t> rows,
              std::span<const float> weights);

}  // namespace llm_tp
