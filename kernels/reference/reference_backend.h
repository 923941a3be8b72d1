#pragma once
#include <memory>

#include "kernels/device.h"

namespace llm_tp {

/// The ops of kernels/device.h as their formulas read, naive and in double precision, rounded to f32 at the
/// end of each op: what the other backends are compared with. Weights are widened exactly, keys and values
/// rounded to the cache's dtype. Sums run in index order. For tests: slow, host memory, one thread.
class ReferenceBackend : public DeviceBackend {
 public:
  std::string description() const override { return "reference, double precision"; }
  DeviceBuffer allocate(std::size_t bytes) override;

  std::int64_t packed_bytes(const WeightSpec& spec) const override;
  std::unique_ptr<PackedWeight> pack(const WeightSpec& spec, const RowReader& read) override;
  std::int64_t kv_bytes(const KvShape& shape) const override;
  std::unique_ptr<KvCache> make_kv_cache(const KvShape& shape) override;

  void embed(TensorView out, std::span<const TokenId> tokens, const PackedWeight& table, Range rows) override;
  void rms_norm(TensorView out, TensorView x, TensorView weight, float eps) override;
  void norm_heads(TensorView x, TensorView weight, float eps) override;
  void head_squares(TensorView out, TensorView x) override;
  void norm_by_squares(TensorView x, TensorView squares, std::int64_t width, TensorView weight,
                       float eps) override;
  void linear(TensorView out, TensorView x, const PackedWeight& w, TensorView bias) override;
  void linear_roots(TensorView out, TensorView x, const PackedWeight& w) override;
  void rope(TensorView x, TensorView cos_sin, int head_dim) override;
  void write_kv(KvCache& cache, int layer, TensorView k, TensorView v, const Batch& batch) override;
  void attend(TensorView out, TensorView q, const KvCache& cache, int layer, const Batch& batch,
              const HeadMap& heads, const AttentionOptions& options) override;
  void silu_mul(TensorView out, TensorView gate_up) override;
  void gelu_mul(TensorView out, TensorView gate_up) override;
  void add(TensorView h, TensorView x, TensorView bias, float factor) override;
  void scale(TensorView x, float factor) override;
  void soft_cap(TensorView x, float cap) override;
  void clear(TensorView x) override;
  void add_rows(TensorView out, TensorView x, std::span<const std::int32_t> rows,
                std::span<const float> weights) override;
  void copy_pages(KvCache& cache, std::span<const PageId> from, std::span<const PageId> to) override;
};

}  // namespace llm_tp
