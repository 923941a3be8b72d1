#include "model/rank_layout.h"

namespace llm_tp {
namespace {

Range shifted(Range range, std::int64_t by) { return {range.begin + by, range.end + by}; }

}  // namespace

WeightSpec Packing::spec() const {
  WeightSpec spec{dtype, 0, cut, leaves};
  spec.gated = gated;
  for (const TensorPart& part : parts) spec.rows += part.rows.size();
  return spec;
}

RankLayout::RankLayout(const ModelShape& shape, const ShardPlan& plan, int rank,
                       const std::function<DType(WeightKey)>& dtype_of)
    : shape_(shape), plan_(plan), share_(plan.ranks[static_cast<std::size_t>(rank)]), dtype_of_(dtype_of) {}

std::vector<Packing> RankLayout::column_parallel(const std::vector<TensorPart>& parts) const {
  std::vector<Packing> packings;
  for (const TensorPart& part : parts) {
    const DType dtype = dtype_of_(part.key);
    // Each tensor whose columns have scales of their own has its own groups of them.
    const bool apart =
        !packings.empty() && has_column_scales(dtype) && packings.back().parts.back().key != part.key;
    if (packings.empty() || packings.back().dtype != dtype || apart) {
      const LeafCut cut = LeafCut::whole(shape_.hidden, is_quantised(dtype) ? block_elements(dtype) : 16);
      packings.push_back({dtype, cut, {0, cut.leaves}, {}});
    }
    packings.back().parts.push_back(part);
  }
  return packings;
}

Packing RankLayout::router(WeightKey key, std::int64_t rows) const {
  const LeafCut cut = LeafCut::whole(shape_.hidden, 16);
  return {DType::kF32, cut, {0, cut.leaves}, {{key, {0, rows}}}};
}

std::vector<TensorPart> RankLayout::qkv_parts(int layer) const {
  const Range queries = rows_of(share_.query_heads), kv = rows_of(share_.kv_heads);
  if (!shape_.style.fused_tensors)
    return {{{WeightRole::kQuery, layer}, queries},
            {{WeightRole::kKey, layer}, kv},
            {{WeightRole::kValue, layer}, kv}};
  const WeightKey fused{WeightRole::kQkv, layer};
  const std::int64_t q = shape_.query_heads * shape_.head_dim, k = shape_.kv_heads * shape_.head_dim;
  return {{fused, queries}, {fused, shifted(kv, q)}, {fused, shifted(kv, q + k)}};
}

void RankLayout::walk(RankWeights& weights, WeightVisitor& visitor) const {
  const Range hidden{0, shape_.hidden};
  visitor.matrix(weights.embedding, column_parallel({{{WeightRole::kEmbedding}, share_.vocab_rows}}).front());
  weights.layers.resize(static_cast<std::size_t>(shape_.layers));
  for (int layer = 0; layer < shape_.layers; ++layer)
    walk_layer(weights.layers[static_cast<std::size_t>(layer)], layer, visitor);
  visitor.vector(weights.final_norm, {{{WeightRole::kFinalNorm}, hidden}},
                 shape_.style.norm_adds_one ? 1.0f : 0.0f);
  if (!shape_.tied_embeddings)
    visitor.matrix(weights.lm_head, column_parallel({{{WeightRole::kLmHead}, share_.vocab_rows}}).front());
}

void RankLayout::walk_layer(LayerWeights& layer, int number, WeightVisitor& visitor) const {
  const Range hidden{0, shape_.hidden};
  const LayerStyle& style = shape_.style;
  const auto norm = [&](DeviceBuffer& slot, WeightRole role, Range elements) {
    visitor.vector(slot, {{{role, number}, elements}}, style.norm_adds_one ? 1.0f : 0.0f);
  };
  if (style.before()) norm(layer.attention_norm, WeightRole::kAttentionNorm, hidden);
  if (style.query_key_norm == QueryKeyNorm::kHeads) {
    norm(layer.query_norm, WeightRole::kQueryNorm, {0, shape_.head_dim});
    norm(layer.key_norm, WeightRole::kKeyNorm, {0, shape_.head_dim});
  }
  if (style.query_key_norm == QueryKeyNorm::kWhole) {
    norm(layer.query_norm, WeightRole::kQueryNorm, rows_of(share_.query_heads));
    norm(layer.key_norm, WeightRole::kKeyNorm, rows_of(share_.kv_heads));
  }
  walk_attention(layer, number, visitor);
  if (style.after()) norm(layer.attention_post_norm, WeightRole::kAttentionPostNorm, hidden);
  if (style.before()) norm(layer.mlp_norm, WeightRole::kMlpNorm, hidden);
  if (shape_.layer(number).experts) {
    walk_experts(layer, number, visitor);
  } else {
    const Range columns = share_.mlp_columns;
    const WeightKey fused{WeightRole::kGateUp, number};
    const std::vector<TensorPart> gate_up =
        style.fused_tensors
            ? std::vector<TensorPart>{{fused, columns}, {fused, shifted(columns, shape_.mlp_columns)}}
            : std::vector<TensorPart>{{{WeightRole::kGate, number}, columns},
                                      {{WeightRole::kUp, number}, columns}};
    walk_mlp(layer.mlp, gate_up, {WeightRole::kDown, number}, plan_.down_cut, share_.down_leaves, visitor);
    if (shape_.mlp_bias) {
      visitor.vector(layer.mlp.gate_up_bias,
                     {{{WeightRole::kGateBias, number}, columns}, {{WeightRole::kUpBias, number}, columns}},
                     0);
      visitor.vector(layer.mlp.down_bias, {{{WeightRole::kDownBias, number}, hidden}}, 0);
    }
  }
  if (style.after()) norm(layer.mlp_post_norm, WeightRole::kMlpPostNorm, hidden);
}

void RankLayout::walk_attention(LayerWeights& layer, int number, WeightVisitor& visitor) const {
  const Range hidden{0, shape_.hidden};
  visitor.stacked(layer.qkv, column_parallel(qkv_parts(number)));
  const WeightKey output{WeightRole::kOutput, number};
  visitor.matrix(layer.output,
                 {dtype_of_(output), plan_.output_cut, share_.output_leaves, {{output, hidden}}});
  if (shape_.qkv_bias) {
    const Range kv = rows_of(share_.kv_heads);
    visitor.vector(layer.qkv_bias,
                   {{{WeightRole::kQueryBias, number}, rows_of(share_.query_heads)},
                    {{WeightRole::kKeyBias, number}, kv},
                    {{WeightRole::kValueBias, number}, kv}},
                   0);
  }
  if (shape_.output_bias) visitor.vector(layer.output_bias, {{{WeightRole::kOutputBias, number}, hidden}}, 0);
}

void RankLayout::walk_mlp(MlpWeights& mlp, const std::vector<TensorPart>& gate_up, WeightKey down,
                          const LeafCut& cut, Range leaves, WeightVisitor& visitor) const {
  std::vector<Packing> packings = column_parallel(gate_up);
  packings.front().gated = packings.size() == 1;
  visitor.stacked(mlp.gate_up, packings);
  visitor.matrix(mlp.down, {dtype_of_(down), cut, leaves, {{down, {0, shape_.hidden}}}});
}

void RankLayout::walk_experts(LayerWeights& layer, int number, WeightVisitor& visitor) const {
  const ExpertShape& experts = shape_.experts;
  visitor.matrix(layer.router, router({WeightRole::kRouter, number}, experts.count));
  layer.experts.resize(static_cast<std::size_t>(share_.experts.size()));
  for (auto e = static_cast<int>(share_.experts.begin); e < share_.experts.end; ++e) {
    const Range columns = share_.expert_columns;
    walk_mlp(layer.experts[static_cast<std::size_t>(e - share_.experts.begin)],
             {{{WeightRole::kExpertGate, number, e}, columns}, {{WeightRole::kExpertUp, number, e}, columns}},
             {WeightRole::kExpertDown, number, e}, plan_.expert_cut, share_.expert_leaves, visitor);
  }
  if (experts.shared_columns == 0) return;
  const Range columns = share_.shared_columns;
  visitor.matrix(layer.shared_router, router({WeightRole::kSharedRouter, number}, 1));
  walk_mlp(layer.shared,
           {{{WeightRole::kSharedGate, number}, columns}, {{WeightRole::kSharedUp, number}, columns}},
           {WeightRole::kSharedDown, number}, plan_.shared_cut, share_.shared_leaves, visitor);
}

}  // namespace llm_tp
