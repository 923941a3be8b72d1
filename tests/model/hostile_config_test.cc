// Files that lie: whatever stands at a key of a config.json or of GGUF metadata, it is a shape that ranks can
// share, or refused with the key named.
#include <gtest/gtest.h>

#include <cmath>
#include <fstream>
#include <limits>
#include <nlohmann/json.hpp>
#include <set>

#include "base/json_file.h"
#include "model/families/family.h"
#include "model/shard_plan.h"
#include "tests/support/golden.h"
#include "tests/weights/test_files.h"
#include "weights/gguf.h"

namespace llm_tp {
namespace {

using nlohmann::json;

json golden_config(const std::string& name) {
  return json::parse(std::ifstream(golden_folder() + "/models/" + name + "/config.json"));
}

/// Keys of transformers that say nothing about what is computed here, or are read beside others alone.
const std::set<std::string> kNotRead{"_sliding_window_pattern",
                                     "attention_dropout",
                                     "bos_token_id",
                                     "embd_pdrop",
                                     "eos_token_id",
                                     "initializer_range",
                                     "max_window_layers",
                                     "model_type",
                                     "no_rope_layer_interval",
                                     "output_router_logits",
                                     "pad_token_id",
                                     "pretraining_tp",
                                     "resid_pdrop",
                                     "router_aux_loss_coef",
                                     "sliding_window_pattern",
                                     "transformers_version",
                                     "use_cache"};

/// A shape, out of which plans can be made, or kBadData.
void expect_shape_or_refusal(const json& config) {
  try {
    const ModelShape shape = ModelShape::from_config(config, "config.json");
    for (const int world : {1, 3}) ShardPlan::make(shape, world, {}, {}, true);
  } catch (const Error& error) {
    EXPECT_EQ(error.code(), ExitCode::kBadData) << error.what();
  }
}

TEST(HostileConfig, NumbersOfAnotherTypeAreRefusedByTheirKey) {
  for (const std::string& name : golden_model_names()) {
    const json config = golden_config(name);
    for (const auto& [key, value] : config.items()) {
      if (!value.is_number() || kNotRead.contains(key)) continue;
      if (key == "sliding_window" && config.contains("use_sliding_window")) continue;  // which is false
      for (const json& wrong : {json("64"), json(true), json::array({64}), json::object()}) {
        json changed = config;
        changed[key] = wrong;
        SCOPED_TRACE(name);
        expect_error(ExitCode::kBadData, {"config.json", key, wrong.dump()},
                     [&] { ModelShape::from_config(changed, "config.json"); });
      }
    }
  }
}

TEST(HostileConfig, AnyValueAtAnyKeyIsAShapeOrARefusal) {
  const std::vector<json> values{nullptr,
                                 true,
                                 "",
                                 -1,
                                 0,
                                 1,
                                 3,
                                 0.5,
                                 -0.5,
                                 1e300,
                                 1e-300,
                                 std::int64_t{1} << 31,
                                 std::numeric_limits<std::int64_t>::max(),
                                 std::numeric_limits<std::uint64_t>::max(),
                                 json::array(),
                                 json::array({-1, 0.5, "x"}),
                                 json::object(),
                                 {{"rope_type", "dynamic"}, {"factor", 1e300}},
                                 {{"rope_type", "yarn"}, {"factor", 1e300}},
                                 {{"full_attention", json::object()}, {"sliding_attention", 1}}};
  for (const std::string& name : golden_model_names()) {
    const json config = golden_config(name);
    std::set<std::string> keys{"head_dim",    "rope_parameters",       "partial_rotary_factor",
                               "layer_types", "query_pre_attn_scalar", "sliding_window_pattern"};
    for (const auto& [key, value] : config.items()) keys.insert(key);
    for (const std::string& key : keys) {
      for (const json& value : values) {
        json changed = config;
        changed[key] = value;
        SCOPED_TRACE(name + ", " + key + ": " + value.dump());
        expect_shape_or_refusal(changed);
      }
      json without = config;
      without.erase(key);
      SCOPED_TRACE(name + " without " + key);
      expect_shape_or_refusal(without);
    }
  }
}

struct Wrong {
  const char* model;
  json changes;                    // merged into its config
  std::vector<std::string> words;  // of the refusal
};

TEST(HostileConfig, ContradictionsAreRefusedByTheirKey) {
  const std::vector<Wrong> cases{
      {"qwen3_moe", {{"num_experts", 0}}, {"num_experts is 0"}},
      {"qwen3_moe", {{"num_experts", 5000}}, {"5000 experts"}},
      {"qwen3_moe", {{"num_experts_per_tok", 7}}, {"num_experts_per_tok is 7 of 6"}},
      {"qwen3_moe",
       {{"num_experts", 4096}, {"num_hidden_layers", 4096}, {"mlp_only_layers", json::array()}},
       {"4096 layers of 4096 experts"}},
      {"qwen3_moe", {{"moe_intermediate_size", 1 << 30}}, {"experts' width", "out of range"}},
      {"qwen3_moe", {{"mlp_only_layers", {0.5}}}, {"mlp_only_layers", "wanted an integer"}},
      {"qwen3_moe", {{"mlp_only_layers", {-1}}}, {"mlp_only_layers", "out of range"}},
      {"qwen3_moe", {{"mlp_only_layers", 1}}, {"mlp_only_layers", "wanted a list"}},
      {"qwen3_moe", {{"decoder_sparse_step", 0}}, {"decoder_sparse_step"}},
      {"qwen3_moe", {{"decoder_sparse_step", 2}, {"intermediate_size", nullptr}}, {"intermediate_size"}},
      {"qwen2_moe", {{"shared_expert_intermediate_size", 1 << 30}}, {"shared expert's width"}},
      {"smollm3", {{"no_rope_layers", {1, 1, 1, 2}}}, {"no_rope_layers holds 2"}},
      {"smollm3", {{"no_rope_layers", "all"}}, {"no_rope_layers", "wanted a list"}},
      {"smollm3", {{"no_rope_layers", nullptr}, {"no_rope_layer_interval", 0}}, {"no_rope_layer_interval"}},
      {"gemma2", {{"layer_types", {"full_attention"}}}, {"layer_types", "num_hidden_layers 3"}},
      {"gemma2", {{"layer_types", {"full_attention", "chunked_attention", 3}}}, {"chunked_attention"}},
      {"gemma2", {{"attn_logit_softcapping", 0}}, {"attn_logit_softcapping must be positive"}},
      {"gemma2", {{"query_pre_attn_scalar", 0}}, {"query_pre_attn_scalar must be positive"}},
      {"gemma2", {{"attention_bias", true}}, {"attention_bias"}},
      {"gemma2", {{"hidden_activation", "gelu"}}, {"hidden_activation", "gelu_pytorch_tanh"}},
      {"gemma3", {{"use_bidirectional_attention", true}}, {"use_bidirectional_attention"}},
      {"granite", {{"logits_scaling", 0}}, {"logits_scaling must be positive"}},
      {"granite", {{"attention_multiplier", -1}}, {"attention_multiplier must be positive"}},
      {"phi3_partial_longrope", {{"partial_rotary_factor", 0}}, {"partial_rotary_factor"}},
      {"phi3_partial_longrope", {{"partial_rotary_factor", 1.5}}, {"partial_rotary_factor"}},
      {"phi3_partial_longrope", {{"partial_rotary_factor", 0.01}}, {"partial_rotary_factor leaves nothing"}},
      {"phi3_partial_longrope",
       {{"original_max_position_embeddings", nullptr}},
       {"original_max_position_embeddings"}},
      {"llama2_mha", {{"num_attention_heads", 4096}, {"head_dim", 1024}}, {"num_attention_heads"}},
      {"llama2_mha", {{"rope_theta", 1}}, {"rope_theta"}},
      {"llama2_mha", {{"rope_scaling", {{"factor", 2.0}}}}, {"rope_scaling", "rope_type is missing"}},
      {"llama2_mha", {{"rope_scaling", {{"rope_type", 3}}}}, {"rope_type is 3", "wanted a string"}},
      {"llama2_mha",
       {{"rope_scaling", {{"rope_type", "yarn"}, {"factor", 2.0}, {"truncate", false}}}},
       {"rope_scaling", "truncate false"}},
      {"llama2_mha",
       {{"rope_scaling", {{"rope_type", "dynamic"}, {"factor", 2.0}}}, {"head_dim", 2}},
       {"rope_scaling dynamic"}},
  };
  for (const Wrong& wrong : cases) {
    json config = golden_config(wrong.model);
    config.update(wrong.changes);
    SCOPED_TRACE(std::string(wrong.model) + ": " + wrong.changes.dump());
    std::vector<std::string> words = wrong.words;
    words.emplace_back("config.json");
    expect_error(ExitCode::kBadData, words, [&] { ModelShape::from_config(config, "config.json"); });
  }
}

TEST(JsonObjects, AKeyThatStandsTwiceIsRefused) {
  const auto refused = [](const char* text, const char* key) {
    expect_error(ExitCode::kBadData, {"a.json", key, "twice"}, [&] { parse_json_object(text, "a.json"); });
  };
  refused(R"({"hidden_size": 1, "b": 2, "hidden_size": 1})", "hidden_size");
  refused(R"({"a": [{"b": 1}, {"c": 1, "c": 2}]})", "c");
  EXPECT_NO_THROW(parse_json_object(R"({"a": {"a": 1}, "b": [{"a": 1}, {"a": 2}]})", "a.json"));
}

/// Metadata that every family needs, but for one key.
ModelShape gguf_shape(const Family& family, const std::string& changed, const std::string& type_and_value) {
  GgufBuilder builder;
  const std::string architecture(family.gguf);
  builder.string("general.architecture", architecture);
  const auto add = [&](const std::string& name, std::uint32_t type, const std::string& value) {
    if (name == changed)
      builder.value(architecture + "." + name, static_cast<std::uint32_t>(type_and_value[0]),
                    type_and_value.substr(1));
    else if (type < 99)
      builder.value(architecture + "." + name, type, value);
  };
  for (const auto& [name, value] :
       std::vector<std::pair<const char*, std::uint32_t>>{{"embedding_length", 64},
                                                          {"block_count", 4},
                                                          {"attention.head_count", 4},
                                                          {"attention.head_count_kv", 2},
                                                          {"context_length", 128},
                                                          {"feed_forward_length", 96},
                                                          {"expert_count", family.has_experts ? 6U : 0U},
                                                          {"expert_used_count", 2},
                                                          {"expert_feed_forward_length", 32},
                                                          {"expert_shared_feed_forward_length", 32}})
    add(name, 4, raw(value));
  for (const char* name :
       {"attention.key_length", "attention.value_length", "attention.sliding_window", "rope.dimension_count",
        "rope.freq_base", "attention.layer_norm_rms_epsilon", "attention.scale", "embedding_scale",
        "residual_scale", "logit_scale", "attn_logit_softcapping", "final_logit_softcapping"})
    add(name, 99, "");
  builder.f32_tensor("token_embd.weight", {64, 10}, std::vector<float>(640));
  const std::string bytes = builder.file();
  return ModelShape::from_gguf(GgufFile::parse(bytes_of(bytes), "small.gguf"));
}

TEST(HostileGguf, AnyValueAtAnyKeyOfAnyFamilyIsAShapeOrARefusal) {
  constexpr float kInfinity = std::numeric_limits<float>::infinity();
  const auto typed = [](char type, const std::string& value) { return type + value; };
  const std::vector<std::string> values{typed(4, raw(std::uint32_t{0})),
                                        typed(4, raw(std::uint32_t{3})),
                                        typed(4, raw(~std::uint32_t{0})),
                                        typed(5, raw(std::int32_t{-1})),
                                        typed(6, raw(0.0F)),
                                        typed(6, raw(-1.0F)),
                                        typed(6, raw(kInfinity)),
                                        typed(6, raw(std::numeric_limits<float>::quiet_NaN())),
                                        typed(7, raw(true)),
                                        typed(8, GgufBuilder::text("x")),
                                        typed(10, raw(~std::uint64_t{0} >> 1)),
                                        typed(11, raw(std::numeric_limits<std::int64_t>::min())),
                                        typed(12, raw(1e300))};
  for (const Family* family : all_families()) {
    if (family->gguf.empty()) continue;
    EXPECT_NO_THROW(gguf_shape(*family, "", "")) << family->gguf;
    for (const char* key : {"embedding_length",
                            "block_count",
                            "attention.head_count",
                            "attention.head_count_kv",
                            "context_length",
                            "feed_forward_length",
                            "expert_count",
                            "expert_used_count",
                            "expert_feed_forward_length",
                            "expert_shared_feed_forward_length",
                            "attention.key_length",
                            "attention.value_length",
                            "attention.sliding_window",
                            "rope.dimension_count",
                            "rope.freq_base",
                            "attention.layer_norm_rms_epsilon",
                            "attention.scale",
                            "embedding_scale",
                            "residual_scale",
                            "logit_scale",
                            "attn_logit_softcapping",
                            "final_logit_softcapping"})
      for (const std::string& value : values) {
        SCOPED_TRACE(std::string(family->gguf) + "." + key + " of type " +
                     std::to_string(static_cast<int>(value[0])));
        try {
          const ModelShape shape = gguf_shape(*family, key, value);
          for (const double factor : {shape.embedding_scale, shape.residual_scale, shape.logit_scale,
                                      shape.attention_scale, shape.rope.theta})
            EXPECT_TRUE(std::isfinite(factor));
          ShardPlan::make(shape, 3, {}, {}, true);
        } catch (const Error& error) {
          EXPECT_EQ(error.code(), ExitCode::kBadData) << error.what();
        }
      }
  }
}

}  // namespace
}  // namespace llm_tp
