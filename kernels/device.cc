#include "kernels/device.h"

#include <algorithm>
#include <cstring>

#include "kernels/model_needs.h"

namespace llm_tp {

void add_kind(std::vector<WeightSpec>& kinds, const WeightSpec& spec) {
  const auto like_it = [&spec](const WeightSpec& kind) { return are_alike(kind, spec); };
  if (std::none_of(kinds.begin(), kinds.end(), like_it)) kinds.push_back(spec);
}

MemoryUse DeviceBackend::own_memory(std::span<const ModelNeeds>) const { return {}; }

void DeviceBackend::prepare_heads(TensorView qkv, const HeadMap& heads, const HeadSteps& steps,
                                  KvCache& cache, int layer, const Batch& batch) {
  const std::int64_t queries = heads.query_heads.size() * heads.head_dim,
                     keys = queries + heads.kv_heads.size() * heads.head_dim;
  const TensorView q = qkv.column_range(0, queries), k = qkv.column_range(queries, keys),
                   v = qkv.column_range(keys, qkv.columns());
  if (!steps.query_norm.empty()) norm_heads(q, steps.query_norm, steps.norm_epsilon);
  if (!steps.key_norm.empty()) norm_heads(k, steps.key_norm, steps.norm_epsilon);
  if (!steps.cos_sin.empty()) rope(qkv.column_range(0, keys), steps.cos_sin, heads.head_dim);
  write_kv(cache, layer, k, v, batch);
}

void DeviceBackend::linear_heads(TensorView qkv, TensorView x, const PackedWeight& w, TensorView bias,
                                 const HeadMap& heads, const HeadSteps& steps, KvCache& cache, int layer,
                                 const Batch& batch) {
  linear(qkv, x, w, bias);
  prepare_heads(qkv, heads, steps, cache, layer, batch);
}

void DeviceBackend::add_norm(const ResidualNorm& norm, TensorView x) {
  add(norm.h, x, norm.bias, norm.factor);
  rms_norm(norm.out, norm.h, norm.weight, norm.epsilon);
}

void DeviceBackend::activate(TensorView out, TensorView gate_up, Activation activation) {
  if (activation == Activation::kSilu) silu_mul(out, gate_up);
  if (activation == Activation::kGelu) gelu_mul(out, gate_up);
}

void DeviceBackend::linear_gated(TensorView out, TensorView gate_up, TensorView x, const PackedWeight& w,
                                 TensorView bias, Activation activation) {
  linear(gate_up, x, w, bias);
  activate(out, gate_up, activation);
}

// What holds wherever a device's memory is the host's.

void DeviceBackend::upload(std::byte* to, std::span<const std::byte> from) {
  if (!from.empty()) std::memcpy(to, from.data(), from.size());
}

void DeviceBackend::copy(std::byte* to, std::span<const std::byte> from) {
  constexpr std::size_t kChunk = std::size_t{1} << 20;
  run_on_host(static_cast<int>((from.size() + kChunk - 1) / kChunk), [&](int chunk, int) {
    const auto part = from.subspan(static_cast<std::size_t>(chunk) * kChunk);
    std::memcpy(to + static_cast<std::size_t>(chunk) * kChunk, part.data(), std::min(part.size(), kChunk));
  });
}

TensorView DeviceBackend::on_host(TensorView tensor) {
  synchronize();
  return tensor;
}

void DeviceBackend::gather_rows(TensorView out, TensorView x, std::span<const std::int32_t> rows) {
  LLM_TP_CHECK(out.rows() == static_cast<std::int64_t>(rows.size()) && out.columns() == x.columns(),
               "gather_rows: shapes");
  for (std::int64_t i = 0; i < out.rows(); ++i)
    std::memcpy(out.row(i), x.row(rows[static_cast<std::size_t>(i)]),
                static_cast<std::size_t>(x.columns()) * sizeof(float));
}

void DeviceBackend::run_repeated(std::span<const CacheBatch>, const std::function<void()>& body) { body(); }

void DeviceBackend::run_on_host(int chunks, const std::function<void(int chunk, int thread)>& body) {
  for (int chunk = 0; chunk < chunks; ++chunk) body(chunk, 0);
}

}  // namespace llm_tp
