#pragma once
#include <string>

#include "kernels/device.h"

namespace llm_tp {

/// Looks at every result of another backend's ops, by way of the host, and throws Error(kBadData) at the
/// first number that is not finite: it names the op, its place after the attention of which layer, row,
/// column and value. For finding where a model goes wrong; slow. One thread.
class CheckingBackend : public DeviceBackend {
 public:
  /// ops must outlive this.
  explicit CheckingBackend(DeviceBackend& ops) : ops_(ops) {}

  std::string description() const override { return ops_.description() + ", every result checked"; }
  DeviceBuffer allocate(std::size_t bytes) override { return ops_.allocate(bytes); }
  std::optional<std::int64_t> free_bytes() const override { return ops_.free_bytes(); }
  MemoryUse memory_in_use() const override { return ops_.memory_in_use(); }
  MemoryUse own_memory(std::span<const ModelNeeds> models) const override { return ops_.own_memory(models); }
  void reserve(const StepLimits& limits, std::span<const CacheBatch> caches) override {
    ops_.reserve(limits, caches);
  }
  void synchronize() override { ops_.synchronize(); }
  void upload(std::byte* to, std::span<const std::byte> from) override { ops_.upload(to, from); }
  TensorView on_host(TensorView tensor) override { return ops_.on_host(tensor); }
  void gather_rows(TensorView out, TensorView x, std::span<const std::int32_t> rows) override;

  int host_threads() const noexcept override { return ops_.host_threads(); }
  void run_on_host(int chunks, const std::function<void(int chunk, int thread)>& body) override {
    ops_.run_on_host(chunks, body);
  }

  std::int64_t packed_bytes(const WeightSpec& spec) const override { return ops_.packed_bytes(spec); }
  std::unique_ptr<PackedWeight> pack(const WeightSpec& spec, const RowReader& read) override {
    return ops_.pack(spec, read);
  }
  std::int64_t kv_bytes(const KvShape& shape) const override { return ops_.kv_bytes(shape); }
  std::unique_ptr<KvCache> make_kv_cache(const KvShape& shape) override { return ops_.make_kv_cache(shape); }

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
  void clear(TensorView x) override { ops_.clear(x); }
  void add_rows(TensorView out, TensorView x, std::span<const std::int32_t> rows,
                std::span<const float> weights) override;
  void copy_pages(KvCache& cache, std::span<const PageId> from, std::span<const PageId> to) override {
    ops_.copy_pages(cache, from, to);
  }
  ScoreReader* score_reader() noexcept override { return ops_.score_reader(); }

 private:
  void look_at(const char* op, TensorView result);
  [[noreturn]] void refuse(const char* op, std::int64_t row, std::int64_t column, float value) const;

  DeviceBackend& ops_;
  int attended_ = -1;  // the layer whose attention came last; -1 before the first of a step
  int ops_since_ = 0;  // that were looked at since
};

}  // namespace llm_tp
