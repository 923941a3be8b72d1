#include "engine/kernel_bench.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <cstdint>

#include "kernels/cpu/cpu_backend.h"
#include "tests/support/golden.h"

namespace llm_tp {
namespace {

/// From the lowest to the highest address of some tensors.
struct Reach {
  std::uintptr_t begin = UINTPTR_MAX, end = 0;
  void take(TensorView t) {
    begin = std::min(begin, reinterpret_cast<std::uintptr_t>(t.data));
    end = std::max(end, reinterpret_cast<std::uintptr_t>(t.data) +
                            4 * static_cast<std::uintptr_t>(t.rows() * t.columns()));
  }
};

/// Notes what ops read and what they write.
class WatchedBackend final : public CpuBackend {
 public:
  WatchedBackend() : CpuBackend(CpuOptions{}) {}
  Reach read, written;

  void linear_roots(TensorView out, TensorView x, const PackedWeight& w) override {
    note(out, x), CpuBackend::linear_roots(out, x, w);
  }
  void rms_norm(TensorView out, TensorView x, TensorView weight, float eps) override {
    note(out, x), CpuBackend::rms_norm(out, x, weight, eps);
  }
  void silu_mul(TensorView out, TensorView gate_up) override {
    note(out, gate_up), CpuBackend::silu_mul(out, gate_up);
  }
  void add(TensorView h, TensorView x, TensorView bias, float factor) override {
    note(h, x), CpuBackend::add(h, x, bias, factor);
  }
  void rope(TensorView x, TensorView cos_sin, int head_dim) override {
    written.take(x), CpuBackend::rope(x, cos_sin, head_dim);
  }
  void write_kv(KvCache& cache, int layer, TensorView k, TensorView v, const Batch& batch) override {
    note({}, k), read.take(v), CpuBackend::write_kv(cache, layer, k, v, batch);
  }
  void attend(TensorView out, TensorView q, const KvCache& cache, int layer, const Batch& batch,
              const HeadMap& heads, const AttentionOptions& options) override {
    note(out, q), CpuBackend::attend(out, q, cache, layer, batch, heads, options);
  }

 private:
  void note(TensorView out, TensorView x) {
    if (!out.empty()) written.take(out);
    read.take(x);
  }
};

TEST(KernelBench, WhatAnOpMadeIsNoInputOfAnother) {
  const ModelShape shape = ModelShape::from_config(golden_folder() + "/models/heads_9_3/config.json");
  WatchedBackend ops;
  KernelBenchOptions options;
  options.tokens = 8;
  options.repetitions = 1;
  const KernelTimes times = time_kernels(ops, shape, 1, options);
  EXPECT_GE(times.kernels.size(), 12u);
  EXPECT_LE(ops.read.end, ops.written.begin);
}

}  // namespace
}  // namespace llm_tp
