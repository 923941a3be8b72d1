#include "kernels/checking_backend.h"

#include <cmath>

#include "base/error.h"

namespace llm_tp {

void CheckingBackend::refuse(const char* op, std::int64_t row, std::int64_t column, float value) const {
  const std::string place = attended_ < 0 ? "before the attention of layer 0"
                                          : "after the attention of layer " + std::to_string(attended_);
  throw Error(ExitCode::kBadData,
              "check_numerics: " + std::string(op) + ", result " + std::to_string(ops_since_) + " " + place +
                  ", has " +
                  (std::isnan(value) ? "NaN"
                   : value > 0       ? "inf"
                                     : "-inf") +
                  " in row " + std::to_string(row) + ", column " + std::to_string(column) +
                  ": look at the weights of that layer, or use --dtype f32 and --kv-dtype f32");
}

void CheckingBackend::look_at(const char* op, TensorView result) {
  ++ops_since_;
  if (result.empty() || result.rows() == 0 || result.columns() == 0) return;
  const TensorView host = ops_.on_host(result);
  for (std::int64_t row = 0; row < host.rows(); ++row)
    for (std::int64_t column = 0; column < host.columns(); ++column)
      if (const float value = host.row(row)[column]; !std::isfinite(value)) refuse(op, row, column, value);
}

void CheckingBackend::gather_rows(TensorView out, TensorView x, std::span<const std::int32_t> rows) {
  ops_.gather_rows(out, x, rows);
  look_at("gather_rows", out);
}
void CheckingBackend::embed(TensorView out, std::span<const TokenId> tokens, const PackedWeight& table,
                            Range rows) {
  attended_ = -1;
  ops_since_ = 0;
  ops_.embed(out, tokens, table, rows);
  look_at("embed", out);
}
void CheckingBackend::rms_norm(TensorView out, TensorView x, TensorView weight, float eps) {
  ops_.rms_norm(out, x, weight, eps);
  look_at("rms_norm", out);
}
void CheckingBackend::norm_heads(TensorView x, TensorView weight, float eps) {
  ops_.norm_heads(x, weight, eps);
  look_at("norm_heads", x);
}
void CheckingBackend::head_squares(TensorView out, TensorView x) {
  ops_.head_squares(out, x);
  look_at("head_squares", out);
}
void CheckingBackend::norm_by_squares(TensorView x, TensorView squares, std::int64_t width, TensorView weight,
                                      float eps) {
  ops_.norm_by_squares(x, squares, width, weight, eps);
  look_at("norm_by_squares", x);
}
void CheckingBackend::linear(TensorView out, TensorView x, const PackedWeight& w, TensorView bias) {
  ops_.linear(out, x, w, bias);
  look_at("linear", out);
}
void CheckingBackend::linear_roots(TensorView out, TensorView x, const PackedWeight& w) {
  ops_.linear_roots(out, x, w);
  // Planes may have more rows than x, which hold anything.
  const std::int64_t plane = out.rank == 3 ? out.shape[1] * out.row_stride : 0;
  const auto roots = static_cast<std::int64_t>(w.roots().size());
  for (std::int64_t i = 0; i < roots && !x.empty(); ++i)
    look_at("linear_roots", TensorView::matrix(reinterpret_cast<float*>(out.data) + i * plane, DType::kF32,
                                               x.rows(), out.columns(), out.row_stride));
}
void CheckingBackend::rope(TensorView x, TensorView cos_sin, int head_dim) {
  ops_.rope(x, cos_sin, head_dim);
  look_at("rope", x);
}
void CheckingBackend::write_kv(KvCache& cache, int layer, TensorView k, TensorView v, const Batch& batch) {
  look_at("the key to be stored", k);
  look_at("the value to be stored", v);
  ops_.write_kv(cache, layer, k, v, batch);
}
void CheckingBackend::attend(TensorView out, TensorView q, const KvCache& cache, int layer,
                             const Batch& batch, const HeadMap& heads, const AttentionOptions& options) {
  ops_.attend(out, q, cache, layer, batch, heads, options);
  ++attended_;  // `layer` counts within its cache
  ops_since_ = -1;
  look_at("attend", out);
}
void CheckingBackend::silu_mul(TensorView out, TensorView gate_up) {
  ops_.silu_mul(out, gate_up);
  look_at("silu_mul", out);
}
void CheckingBackend::gelu_mul(TensorView out, TensorView gate_up) {
  ops_.gelu_mul(out, gate_up);
  look_at("gelu_mul", out);
}
void CheckingBackend::add(TensorView h, TensorView x, TensorView bias, float factor) {
  ops_.add(h, x, bias, factor);
  look_at("add", h);
}
void CheckingBackend::scale(TensorView x, float factor) {
  ops_.scale(x, factor);
  look_at("scale", x);
}
void CheckingBackend::soft_cap(TensorView x, float cap) {
  ops_.soft_cap(x, cap);
  look_at("soft_cap", x);
}
void CheckingBackend::add_rows(TensorView out, TensorView x, std::span<const std::int32_t> rows,
                               std::span<const float> weights) {
  ops_.add_rows(out, x, rows, weights);
  look_at("add_rows", out);
}

}  // namespace llm_tp
