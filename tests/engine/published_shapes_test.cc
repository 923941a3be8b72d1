// Large models as published: what `inspect --ranks 8` says is added up here from the shares alone.
#include <gtest/gtest.h>

#include "engine/engine.h"
#include "tests/support/golden.h"

namespace llm_tp {
namespace {

struct Published {
  const char* name;
  std::int64_t parameters;  // of the checkpoint on the Hub, every number counted
};
constexpr Published kPublished[] = {
    {"llama-3.1-70b", 70553706496}, {"mixtral-8x7b", 46702792704}, {"qwen3-30b-a3b", 30532122624},
    {"qwen2.5-72b", 72706203648},   {"phi-3-medium", 13960238080}, {"gemma-2-27b", 27227128320},
    {"mistral-nemo", 12247782400},
};
constexpr int kRanks = 8;

/// bfloat16 panels of 16 rows, and what lies behind every packed weight.
struct Adder {
  std::int64_t behind = 0, bytes = 0;
  void matrix(std::int64_t rows, std::int64_t columns, std::int64_t number_bytes = 2) {
    bytes += (rows + 15) / 16 * 16 * columns * number_bytes + behind;
  }
  void vector(std::int64_t numbers) { bytes += 4 * numbers; }
};

std::int64_t bytes_of_rank(const ModelShape& shape, const RankShare& share, std::int64_t behind) {
  Adder all{behind};
  const std::int64_t q = share.query_heads.size() * shape.head_dim,
                     kv = share.kv_heads.size() * shape.head_dim;
  const auto mlp = [&](std::int64_t columns) {
    all.matrix(2 * columns, shape.hidden);
    all.matrix(shape.hidden, columns);
  };
  all.matrix(share.vocab_rows.size(), shape.hidden);
  if (!shape.tied_embeddings) all.matrix(share.vocab_rows.size(), shape.hidden);
  all.vector(shape.hidden);
  for (std::int64_t layer = 0; layer < shape.layers; ++layer) {
    all.matrix(q + 2 * kv, shape.hidden);
    all.matrix(shape.hidden, q);
    if (shape.qkv_bias) all.vector(q + 2 * kv);
    if (shape.style.query_key_norm == QueryKeyNorm::kHeads) all.vector(2 * shape.head_dim);
    all.vector((shape.style.norms == NormPlaces::kAround ? 4 : 2) * shape.hidden);
    if (!shape.layer(layer).experts) {
      mlp(share.mlp_columns.size());
      continue;
    }
    all.matrix(shape.experts.count, shape.hidden, 4);  // the router is f32
    for (std::int64_t e = 0; e < share.experts.size(); ++e) mlp(share.expert_columns.size());
  }
  return all.bytes;
}

class PublishedShapes : public testing::TestWithParam<Published> {};

TEST_P(PublishedShapes, ThePlanOfEightRanksAddsUp) {
  const ModelFiles files =
      ModelFiles::open("dummy:" + repository_path("tests/engine/shapes/") + GetParam().name, false);
  const ModelShape& shape = files.shape;
  EXPECT_EQ(files.weights->parameters(), GetParam().parameters);
  const WeightLoader loader(shape, *files.weights, std::nullopt);
  const auto ops = make_sizing_device();
  const std::int64_t behind =
      ops->packed_bytes({DType::kBF16, 16, LeafCut::whole(16, 16), {0, 1}}) - std::int64_t{16} * 16 * 2;
  for (const bool whole_experts : {false, true}) {
    const ShardPlan plan = ShardPlan::make(shape, kRanks, loader.units(), {}, whole_experts);
    const auto memory = plan_memory(shape, loader, plan, *ops, DType::kBF16, 512);
    std::int64_t heads = 0, rows = 0, parameters = 0;
    for (std::size_t r = 0; r < kRanks; ++r) {
      const RankShare& share = plan.ranks[r];
      EXPECT_EQ(memory[r].weights, bytes_of_rank(shape, share, behind)) << "rank " << r;
      EXPECT_EQ(memory[r].kv_per_token_of_all(),
                2 * 2 * shape.layers * share.kv_heads.size() * shape.head_dim);
      heads += share.query_heads.size(), rows += share.vocab_rows.size();
      parameters += memory[r].weights / 2;
    }
    EXPECT_EQ(heads, shape.query_heads);
    EXPECT_EQ(rows, shape.vocabulary);
    // Nothing but norms, routers and KV heads of two ranks is held twice: a twentieth at most.
    EXPECT_GE(parameters, GetParam().parameters);
    EXPECT_LT(parameters, GetParam().parameters / 20 * 21);
  }
}

INSTANTIATE_TEST_SUITE_P(All, PublishedShapes, testing::ValuesIn(kPublished),
                         [](const testing::TestParamInfo<Published>& parameter) {
                           std::string name = parameter.param.name;
                           for (char& c : name)
                             if (c == '-' || c == '.') c = '_';
                           return name;
                         });

}  // namespace
}  // namespace llm_tp
