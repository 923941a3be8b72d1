#pragma once
#include <memory>

#include "kernels/cpu/host_memory.h"
#include "kernels/cpu/thread_pool.h"
#include "kernels/device.h"

namespace llm_tp {

struct CpuOptions {
  int threads = 1;  // of this rank, the calling one among them
  ActivationKind activations = ActivationKind::kInt8;
  int local_rank = 0, local_ranks = 1;  // place among the ranks of this host: which cores to use
  bool oversubscribed = false;          // more threads than cores: never spin
};

/// DeviceBackend on the host's SIMD units. Every call has finished when it returns. One thread calls; the
/// backend's own threads share the work.
class CpuBackend : public DeviceBackend {
 public:
  /// Errors: kUnavailable on a processor without AVX2 and FMA (or NEON): its sums would round otherwise.
  explicit CpuBackend(const CpuOptions& options);
  ~CpuBackend() override;

  std::string description() const override;
  DeviceBuffer allocate(std::size_t bytes) override;
  int host_threads() const noexcept override { return pool_->threads(); }
  void run_on_host(int chunks, const std::function<void(int chunk, int thread)>& body) override {
    pool_->run(chunks, body);
  }

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

 private:
  CpuOptions options_;
  std::unique_ptr<ThreadPool> pool_;
  HostArena weights_memory_;
};

}  // namespace llm_tp
