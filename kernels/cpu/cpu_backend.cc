#include "kernels/cpu/cpu_backend.h"

#include <algorithm>

#include "kernels/cpu/attention.h"
#include "kernels/cpu/elementwise.h"
#include "kernels/cpu/embed.h"
#include "kernels/cpu/instruction_set.h"
#include "kernels/cpu/kv_cache.h"
#include "kernels/cpu/linear.h"
#include "kernels/cpu/norm.h"
#include "kernels/cpu/packed_weight.h"
#include "kernels/cpu/rope.h"
#include "kernels/cpu/row_sums.h"

namespace llm_tp {
namespace {

// Each class makes its own weights and caches, so these casts cannot meet another's.
const CpuPackedWeight& own(const PackedWeight& w) { return static_cast<const CpuPackedWeight&>(w); }
CpuKvCache& own(KvCache& cache) { return static_cast<CpuKvCache&>(cache); }
const CpuKvCache& own(const KvCache& cache) { return static_cast<const CpuKvCache&>(cache); }

}  // namespace

CpuBackend::CpuBackend(const CpuOptions& options) : options_(options) {
  instruction_set();  // throws where there is none
  pool_ = std::make_unique<ThreadPool>(
      options.threads, ThreadPlaces{options.local_rank, options.local_ranks, options.oversubscribed});
}
CpuBackend::~CpuBackend() = default;

std::string CpuBackend::description() const {
  const int threads = pool_->threads();
  return "cpu " + std::string(name_of(instruction_set())) + ", " + std::to_string(threads) +
         (threads == 1 ? " thread" : " threads");
}
DeviceBuffer CpuBackend::allocate(std::size_t bytes) { return allocate_host(bytes); }

std::int64_t CpuBackend::packed_bytes(const WeightSpec& spec) const { return llm_tp::packed_bytes(spec); }
std::unique_ptr<PackedWeight> CpuBackend::pack(const WeightSpec& spec, const RowReader& read) {
  return pack_weight(*pool_, weights_memory_, spec, read);
}
std::int64_t CpuBackend::kv_bytes(const KvShape& shape) const { return CpuKvCache::bytes_of(shape); }
std::unique_ptr<KvCache> CpuBackend::make_kv_cache(const KvShape& shape) {
  return std::make_unique<CpuKvCache>(shape);
}

void CpuBackend::embed(TensorView out, std::span<const TokenId> tokens, const PackedWeight& table,
                       Range rows) {
  llm_tp::embed(*pool_, out, tokens, table, rows);
}
void CpuBackend::rms_norm(TensorView out, TensorView x, TensorView weight, float eps) {
  llm_tp::rms_norm(*pool_, out, x, weight, eps);
}
void CpuBackend::norm_heads(TensorView x, TensorView weight, float eps) {
  llm_tp::norm_heads(*pool_, x, weight, eps);
}
void CpuBackend::head_squares(TensorView out, TensorView x) { llm_tp::head_squares(*pool_, out, x); }
void CpuBackend::norm_by_squares(TensorView x, TensorView squares, std::int64_t width, TensorView weight,
                                 float eps) {
  llm_tp::norm_by_squares(*pool_, x, squares, width, weight, eps);
}
void CpuBackend::linear(TensorView out, TensorView x, const PackedWeight& w, TensorView bias) {
  LLM_TP_CHECK(bias.empty() || bias.columns() == w.spec().rows, "linear: bias is not [N]");
  llm_tp::linear(*pool_, out, x, own(w), bias.empty() ? nullptr : bias.row(0), options_.activations);
}
void CpuBackend::linear_roots(TensorView out, TensorView x, const PackedWeight& w) {
  llm_tp::linear(*pool_, out, x, own(w), nullptr, options_.activations);
}
void CpuBackend::rope(TensorView x, TensorView cos_sin, int head_dim) {
  llm_tp::rope(*pool_, x, cos_sin, head_dim);
}
void CpuBackend::write_kv(KvCache& cache, int layer, TensorView k, TensorView v, const Batch& batch) {
  llm_tp::write_kv(*pool_, own(cache), layer, k, v, batch);
}
void CpuBackend::attend(TensorView out, TensorView q, const KvCache& cache, int layer, const Batch& batch,
                        const HeadMap& heads, const AttentionOptions& options) {
  llm_tp::attend(*pool_, out, q, own(cache), layer, batch, heads, options);
}
void CpuBackend::silu_mul(TensorView out, TensorView gate_up) { llm_tp::silu_mul(*pool_, out, gate_up); }
void CpuBackend::gelu_mul(TensorView out, TensorView gate_up) { llm_tp::gelu_mul(*pool_, out, gate_up); }
void CpuBackend::add(TensorView h, TensorView x, TensorView bias, float factor) {
  llm_tp::add(*pool_, h, x, bias, factor);
}
void CpuBackend::scale(TensorView x, float factor) { llm_tp::scale(*pool_, x, factor); }
void CpuBackend::soft_cap(TensorView x, float cap) { llm_tp::soft_cap(*pool_, x, cap); }
void CpuBackend::clear(TensorView x) { llm_tp::clear(*pool_, x); }
void CpuBackend::add_rows(TensorView out, TensorView x, std::span<const std::int32_t> rows,
                          std::span<const float> weights) {
  llm_tp::add_rows(*pool_, out, x, rows, weights);
}
void CpuBackend::copy_pages(KvCache& cache, std::span<const PageId> from, std::span<const PageId> to) {
  llm_tp::copy_pages(own(cache), from, to);
}

}  // namespace llm_tp
