#include "model/families/family.h"

#include <gtest/gtest.h>

#include <fstream>
#include <nlohmann/json.hpp>
#include <set>

#include "tests/support/golden.h"
#include "tests/weights/test_files.h"

namespace llm_tp {
namespace {

using nlohmann::json;

json golden_config(const std::string& name) {
  return json::parse(std::ifstream(golden_folder() + "/models/" + name + "/config.json"));
}
ModelShape shape_of(const json& config) {
  const TemporaryFolder folder;
  return ModelShape::from_config(folder.write("config.json", config.dump()));
}
std::vector<std::int64_t> windows_of(const ModelShape& shape) {
  std::vector<std::int64_t> windows;
  for (std::int64_t i = 0; i < shape.layers; ++i) windows.push_back(shape.layer(i).window);
  return windows;
}

TEST(Families, EachNameBelongsToOne) {
  std::set<std::string_view> architectures;
  std::set<std::pair<std::string_view, bool>> gguf;
  for (const Family* family : all_families()) {
    EXPECT_TRUE(architectures.insert(family->architecture).second) << family->architecture;
    EXPECT_EQ(family_of_architecture(family->architecture), family);
    if (family->gguf.empty()) continue;
    EXPECT_TRUE(gguf.insert({family->gguf, family->has_experts}).second) << family->gguf;
    EXPECT_EQ(family_of_gguf(family->gguf, family->has_experts), family);
  }
}

TEST(Families, Gemma2ReadsItsScalarsAndAlternatesWindows) {
  json config = golden_config("gemma2");
  const auto expect = [&](const ModelShape& shape) {
    EXPECT_EQ(windows_of(shape), (std::vector<std::int64_t>{12, 0, 12}));
    EXPECT_EQ(shape.attention_cap, 4);
    EXPECT_EQ(shape.logit_cap, 9);
    EXPECT_NEAR(shape.embedding_scale * shape.embedding_scale, 56, 1e-12);
    EXPECT_NEAR(shape.attention_scale * shape.attention_scale, 1 / 20.0, 1e-12);
    EXPECT_TRUE(shape.tied_embeddings);
    EXPECT_TRUE(shape.style.norm_adds_one);
  };
  expect(shape_of(config));
  config.erase("layer_types");  // as in the files of the first versions
  expect(shape_of(config));
}

TEST(Families, Gemma3sWindowedLayersTurnByTheLocalBase) {
  json config = golden_config("gemma3");
  config.erase("layer_types");
  const ModelShape shape = shape_of(config);
  EXPECT_EQ(windows_of(shape), (std::vector<std::int64_t>{12, 12, 0}));
  EXPECT_EQ(shape.layer(0).rope, LayerRope::kLocal);
  EXPECT_EQ(shape.layer(2).rope, LayerRope::kMain);
  EXPECT_EQ(shape.local_rope.value().theta, 500);
  EXPECT_EQ(shape.local_rope.value().kind, RopeSettings::Kind::kPlain);
  EXPECT_EQ(shape.rope.kind, RopeSettings::Kind::kLinear);
}

TEST(Families, SmolLm3LeavesRopeOutWhereItsListSaysSo) {
  json config = golden_config("smollm3");
  config["no_rope_layers"] = json::array({0, 1, 1, 0});
  const ModelShape listed = shape_of(config);
  EXPECT_EQ(listed.layer(0).rope, LayerRope::kNone);
  EXPECT_EQ(listed.layer(1).rope, LayerRope::kMain);
  config.erase("no_rope_layers");
  const ModelShape every_second = shape_of(config);
  EXPECT_EQ(every_second.layer(0).rope, LayerRope::kMain);
  EXPECT_EQ(every_second.layer(1).rope, LayerRope::kNone);
  config["no_rope_layers"] = json::array({0, 1});
  expect_error(ExitCode::kBadData, {"no_rope_layers", "2 entries", "4 layers"}, [&] { shape_of(config); });
}

TEST(Families, Qwen2sFirstLayersSeeEverything) {
  json config = golden_config("qwen2_tied");
  config["use_sliding_window"] = true;
  config["sliding_window"] = 40;
  config["max_window_layers"] = 1;
  EXPECT_EQ(windows_of(shape_of(config)), (std::vector<std::int64_t>{0, 40, 40}));
  config["use_sliding_window"] = false;
  EXPECT_EQ(windows_of(shape_of(config)), (std::vector<std::int64_t>{0, 0, 0}));
}

TEST(Families, QwensMixturesHaveDenseLayersByListAndByPeriod) {
  json config = golden_config("qwen3_moe");
  const ModelShape listed = shape_of(config);
  EXPECT_TRUE(listed.layer(0).experts);
  EXPECT_FALSE(listed.layer(1).experts);
  config["mlp_only_layers"] = json::array();
  config["decoder_sparse_step"] = 3;
  const ModelShape period = shape_of(config);
  EXPECT_FALSE(period.layer(0).experts || period.layer(1).experts);
  EXPECT_TRUE(period.layer(2).experts);
  config["mlp_only_layers"] = json::array({3});
  expect_error(ExitCode::kBadData, {"mlp_only_layers"}, [&] { shape_of(config); });
  config["mlp_only_layers"] = json::array();
  config["num_experts_per_tok"] = 7;
  expect_error(ExitCode::kBadData, {"num_experts_per_tok", "7", "6"}, [&] { shape_of(config); });
}

TEST(Families, EveryTensorOfAGoldenModelIsThere) {
  for (const std::string& name : golden_model_names())
    EXPECT_GT(tensors_of(ModelShape::from_config(load_golden_model(name).model + "/config.json")).size(),
              10u);
}

TEST(RopeConfig, RefusesWhatContradictsItself) {
  const auto refused = [](const std::string& model, const char* key, json value,
                          std::vector<std::string> words) {
    json config = golden_config(model);
    config["rope_scaling"][key] = std::move(value);
    words.push_back("rope_scaling");
    expect_error(ExitCode::kBadData, words, [&] { shape_of(config); });
  };
  refused("phi3_partial_longrope", "short_factor", json::array({1, 2}), {"short_factor has 2", "12"});
  refused("phi3_partial_longrope", "long_factor", json::array({1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 0}),
          {"long_factor"});
  refused("llama_rope_yarn_mscale", "beta_fast", 0.5, {"beta_slow < beta_fast"});
  refused("llama_rope_yarn_mscale", "factor", 0.5, {"factor"});
  refused("llama_rope_yarn_mscale", "attention_factor", -1, {"attention_factor"});
}

TEST(RopeConfig, YarnAndDynamicReachFurtherThanTheContext) {
  json config = golden_config("llama2_mha");
  config["max_position_embeddings"] = 1000;
  config["rope_scaling"] = {{"rope_type", "yarn"}, {"factor", 4.0}};
  EXPECT_EQ(shape_of(config).context, 4000);
  config["rope_scaling"]["original_max_position_embeddings"] = 500;
  EXPECT_EQ(shape_of(config).context, 2000);
  config["rope_scaling"] = {{"rope_type", "linear"}, {"factor", 4.0}};
  EXPECT_EQ(shape_of(config).context, 1000);
  config["rope_scaling"] = {{"rope_type", "dynamic"}, {"factor", 2.0}};
  EXPECT_EQ(shape_of(config).context, 8000);
}

}  // namespace
}  // namespace llm_tp
