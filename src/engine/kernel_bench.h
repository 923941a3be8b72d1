#pragma once
#include <string>
#include <vector>

#include "kernels/device.h"
#include "model/shard_plan.h"

namespace llm_tp {

/// What a kernel must move and compute, and the time it took.
struct KernelTime {
  std::string op, shape;
  std::int64_t bytes = 0;  // read and written once each
  double flop = 0;
  double seconds = 0;  // of a call; median of the repetitions
  double bytes_per_second() const noexcept { return static_cast<double>(bytes) / seconds; }
  double flop_per_second() const noexcept { return flop / seconds; }
};

struct KernelTimes {
  KernelTime copy;                  // of memory of the device into other memory of it
  double best_product_rate = 0;     // FLOP a second of the fastest product among the kernels
  std::int64_t bytes_in_turn = 0;   // that calls go through before they come back to the same memory
  std::vector<KernelTime> kernels;  // of a layer and of the LM head
};

struct KernelBenchOptions {
  DType weight_dtype = DType::kBF16, kv_dtype = DType::kF16;
  std::int64_t tokens = 512;  // of the prefill kernels, and the context of decoding ones
  std::int64_t repetitions = 5;
};

/// Times the kernels of one layer and of the LM head for 1 token, 16 and options.tokens of them, and what is
/// found in 1 and 64 rows of logits: those of
/// rank 0 of `world`. Weights and activations are random; every call takes other memory than the one before,
/// until more than the last-level cache holds was used. Errors: kUsage for rows that the dtype's blocks do
/// not divide; those of the backend.
KernelTimes time_kernels(DeviceBackend& ops, const ModelShape& shape, int world,
                         const KernelBenchOptions& options);

}  // namespace llm_tp
