#include "kernels/stacked_weight.h"

namespace llm_tp {

void StackedWeight::append(std::unique_ptr<PackedWeight> rows) {
  rows_ += rows->spec().rows;
  pieces_.push_back(std::move(rows));
}

void StackedWeight::linear(DeviceBackend& ops, TensorView out, TensorView x, TensorView bias) const {
  std::int64_t first = 0;
  for (const auto& piece : pieces_) {
    const std::int64_t end = first + piece->spec().rows;
    const TensorView own_bias =
        bias.empty() ? TensorView{} : TensorView::vector(bias.row(0) + first, end - first);
    ops.linear(out.column_range(first, end), x, *piece, own_bias);
    first = end;
  }
}

void StackedWeight::linear_gated(DeviceBackend& ops, TensorView out, TensorView gate_up, TensorView x,
                                 TensorView bias, Activation activation) const {
  if (pieces_.size() == 1) return ops.linear_gated(out, gate_up, x, *pieces_.front(), bias, activation);
  linear(ops, gate_up, x, bias);
  ops.activate(out, gate_up, activation);
}

void StackedWeight::linear_heads(DeviceBackend& ops, TensorView qkv, TensorView x, TensorView bias,
                                 const HeadMap& heads, const HeadSteps& steps, KvCache& cache, int layer,
                                 const Batch& batch) const {
  if (pieces_.size() == 1)
    return ops.linear_heads(qkv, x, *pieces_.front(), bias, heads, steps, cache, layer, batch);
  linear(ops, qkv, x, bias);
  ops.prepare_heads(qkv, heads, steps, cache, layer, batch);
}

}  // namespace llm_tp
