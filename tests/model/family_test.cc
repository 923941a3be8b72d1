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

/// Of a config without these keys, and with these changes.
ModelShape shape_without(const std::string& model, const std::vector<const char*>& keys,
                         const json& changes = json::object()) {
  json config = golden_config(model);
  for (const char* key : keys) config.erase(key);
  config.update(changes);
  return shape_of(config);
}

TEST(Families, KeysThatAreAbsentStandForTheDefaultsOfTransformers) {
  const std::vector<const char*> common{"num_key_value_heads", "head_dim",   "max_position_embeddings",
                                        "rms_norm_eps",        "rope_theta", "tie_word_embeddings"};
  const auto expect = [&](const char* model, std::int64_t kv_heads, std::int64_t head_dim,
                          std::int64_t context, double epsilon, double theta, bool tied) {
    SCOPED_TRACE(model);
    // As many heads as let the default number of KV heads divide them.
    const ModelShape shape =
        shape_without(model, common, {{"num_attention_heads", 32}, {"hidden_size", 512}});
    EXPECT_EQ(shape.kv_heads, kv_heads);
    EXPECT_EQ(shape.head_dim, head_dim);
    EXPECT_EQ(shape.context, context);
    EXPECT_EQ(shape.norm_epsilon, epsilon);
    EXPECT_EQ(shape.rope.theta, theta);
    EXPECT_EQ(shape.tied_embeddings, tied);
  };
  expect("llama2_mha", 32, 16, 2048, 1e-6, 1e4, false);
  expect("mistral_head_dim", 8, 16, 131072, 1e-6, 1e4, false);
  expect("qwen2_tied", 32, 16, 32768, 1e-6, 1e4, false);
  expect("qwen2_moe", 16, 16, 32768, 1e-6, 1e4, false);
  expect("qwen3_moe", 4, 16, 32768, 1e-6, 1e4, false);
  expect("granite", 32, 16, 2048, 1e-6, 1e4, false);
  expect("olmo2", 32, 16, 2048, 1e-5, 1e4, false);
  expect("smollm3", 4, 16, 32768, 1e-6, 2e6, true);
  expect("gemma2", 4, 256, 8192, 1e-6, 1e4, true);
  expect("gemma3", 4, 256, 131072, 1e-6, 1e6, true);
  const ModelShape phi3 = shape_without("phi3_partial_longrope", {"rms_norm_eps", "tie_word_embeddings"});
  EXPECT_EQ(phi3.norm_epsilon, 1e-5);
  EXPECT_FALSE(phi3.tied_embeddings);
}

TEST(Families, AnAbsentWindowOfMistralIsThatOfItsFirstModelAndNullIsNone) {
  EXPECT_EQ(shape_without("mistral_head_dim", {"sliding_window"}).layer(0).window, 4096);
  EXPECT_EQ(shape_without("mistral_head_dim", {}, {{"sliding_window", nullptr}}).layer(0).window, 0);
}

TEST(Families, Gemma2sAbsentCapsAreThoseOfItsClassAndNullIsNone) {
  const std::vector<const char*> caps{"attn_logit_softcapping", "final_logit_softcapping",
                                      "query_pre_attn_scalar"};
  const ModelShape absent = shape_without("gemma2", caps);
  EXPECT_EQ(absent.attention_cap, 50);
  EXPECT_EQ(absent.logit_cap, 30);
  EXPECT_EQ(absent.attention_scale, 1 / 16.0);
  const ModelShape null = shape_without(
      "gemma2", {}, {{"attn_logit_softcapping", nullptr}, {"final_logit_softcapping", nullptr}});
  EXPECT_EQ(null.attention_cap, 0);
  EXPECT_EQ(null.logit_cap, 0);
  const ModelShape gemma3 = shape_without("gemma3", caps);
  EXPECT_EQ(gemma3.attention_cap, 0);
  EXPECT_EQ(gemma3.logit_cap, 0);
}

TEST(Families, SmolLm3sWindowsAreOfTheLayersThatDoNotRotate) {
  const json windowed{
      {"use_sliding_window", true}, {"sliding_window", 24}, {"no_rope_layers", json::array({1, 0, 1, 0})}};
  EXPECT_EQ(windows_of(shape_without("smollm3", {"layer_types"}, windowed)),
            (std::vector<std::int64_t>{0, 24, 0, 24}));
}

TEST(Families, Qwen3MixturesWindowAllLayersOrNone) {
  const json windowed{{"use_sliding_window", true}, {"sliding_window", 24}, {"max_window_layers", 2}};
  EXPECT_EQ(windows_of(shape_without("qwen3_moe", {}, windowed)), (std::vector<std::int64_t>{24, 24, 24}));
  EXPECT_EQ(windows_of(shape_without("qwen3_moe", {}, {{"sliding_window", 24}})),
            (std::vector<std::int64_t>{0, 0, 0}));
}

TEST(Families, Qwen2sFirstLayersSeeEverything) {
  json config = golden_config("qwen2_tied");
  config["use_sliding_window"] = true;
  config["sliding_window"] = 40;
  config["max_window_layers"] = 1;
  EXPECT_EQ(windows_of(shape_of(config)), (std::vector<std::int64_t>{0, 40, 40}));
  config.erase("max_window_layers");  // 28
  EXPECT_EQ(windows_of(shape_of(config)), (std::vector<std::int64_t>{0, 0, 0}));
  config["max_window_layers"] = 0;
  config.erase("sliding_window");
  EXPECT_EQ(windows_of(shape_of(config)), (std::vector<std::int64_t>{4096, 4096, 4096}));
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

TEST(RopeConfig, RopeParametersOfTransformers5SayWhatTheOldKeysSaid) {
  const auto moved = [](const std::string& model) {
    json config = golden_config(model);
    json all = config["rope_scaling"].is_object() ? config["rope_scaling"] : json::object();
    for (const char* key : {"rope_theta", "partial_rotary_factor", "original_max_position_embeddings"}) {
      if (config.contains(key)) all[key] = config[key];
      config.erase(key);
    }
    config.erase("rope_scaling");
    config["rope_parameters"] = all;
    config["dtype"] = config["torch_dtype"];
    config.erase("torch_dtype");
    return config;
  };
  for (const char* model :
       {"llama2_mha", "llama3_gqa_sharded", "llama_rope_yarn_mscale", "phi3_partial_longrope", "smollm3"}) {
    SCOPED_TRACE(model);
    const ModelShape old = shape_of(golden_config(model)), now = shape_of(moved(model));
    EXPECT_EQ(now.rope.kind, old.rope.kind);
    EXPECT_EQ(now.rope.theta, old.rope.theta);
    EXPECT_EQ(now.rope.rotary, old.rope.rotary);
    EXPECT_EQ(now.rope.factor, old.rope.factor);
    EXPECT_EQ(now.rope.original_context, old.rope.original_context);
    EXPECT_EQ(now.rope.attention_factor, old.rope.attention_factor);
    EXPECT_EQ(now.rope.long_divisors, old.rope.long_divisors);
    EXPECT_EQ(now.context, old.context);
    EXPECT_EQ(now.checkpoint_dtype, old.checkpoint_dtype);
  }
  json both = moved("llama3_gqa_sharded");
  both["rope_scaling"] = {{"rope_type", "linear"}, {"factor", 2.0}};
  expect_error(ExitCode::kBadData, {"rope_parameters and rope_scaling"}, [&] { shape_of(both); });
  json two = moved("llama2_mha");
  two["rope_theta"] = 3.0;
  expect_error(ExitCode::kBadData, {"rope_parameters", "rope_theta"}, [&] { shape_of(two); });
}

TEST(RopeConfig, RopeParametersByKindOfLayerAreGemma3s) {
  const json parameters{{"full_attention", {{"rope_type", "linear"}, {"factor", 8.0}, {"rope_theta", 1e6}}},
                        {"sliding_attention", {{"rope_type", "default"}, {"rope_theta", 700.0}}}};
  const std::vector<const char*> old{"rope_theta", "rope_scaling", "rope_local_base_freq"};
  const ModelShape shape = shape_without("gemma3", old, {{"rope_parameters", parameters}});
  EXPECT_EQ(shape.rope.kind, RopeSettings::Kind::kLinear);
  EXPECT_EQ(shape.rope.factor, 8);
  EXPECT_EQ(shape.rope.theta, 1e6);
  EXPECT_EQ(shape.local_rope.value().theta, 700);
  EXPECT_EQ(shape.layer(0).rope, LayerRope::kLocal);
  const auto refused = [&](const char* model, const json& changed, const std::vector<std::string>& words) {
    expect_error(ExitCode::kBadData, words, [&] {
      shape_without(model, old, {{"rope_parameters", changed}});
    });
  };
  json stretched = parameters;
  stretched["sliding_attention"]["rope_type"] = "linear";
  stretched["sliding_attention"]["factor"] = 2.0;
  refused("gemma3", stretched, {"sliding_attention", "rope_type"});
  json half = parameters;
  half.erase("full_attention");
  refused("gemma3", half, {"rope_parameters", "full_attention is missing"});
  refused("llama2_mha", parameters, {"rope_parameters", "LlamaForCausalLM"});
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
  config["rope_scaling"] = {{"rope_type", "dynamic"}, {"factor", 1e300}};
  EXPECT_EQ(shape_of(config).context, std::int64_t{1} << 30);
}

}  // namespace
}  // namespace llm_tp
