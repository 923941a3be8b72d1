#include "model/model_shape.h"

#include <gtest/gtest.h>

#include <fstream>
#include <nlohmann/json.hpp>

#include "tests/support/golden.h"
#include "tests/weights/test_files.h"
#include "weights/gguf.h"

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

TEST(ModelShapeFromConfig, ReadsLlama3) {
  const ModelShape shape =
      ModelShape::from_config(golden_folder() + "/models/llama3_gqa_sharded/config.json");
  const json config = golden_config("llama3_gqa_sharded");
  EXPECT_EQ(shape.architecture, "LlamaForCausalLM");
  EXPECT_EQ(shape.hidden, config["hidden_size"]);
  EXPECT_EQ(shape.layers, config["num_hidden_layers"]);
  EXPECT_EQ(shape.query_heads, config["num_attention_heads"]);
  EXPECT_EQ(shape.kv_heads, config["num_key_value_heads"]);
  EXPECT_EQ(shape.mlp_columns, config["intermediate_size"]);
  EXPECT_EQ(shape.vocabulary, config["vocab_size"]);
  EXPECT_EQ(shape.context, config["max_position_embeddings"]);
  EXPECT_EQ(shape.rope.kind, RopeSettings::Kind::kLlama3);
  EXPECT_EQ(shape.rope.factor, config["rope_scaling"]["factor"]);
  EXPECT_EQ(shape.rope.original_context, config["rope_scaling"]["original_max_position_embeddings"]);
  EXPECT_FALSE(shape.qkv_bias || shape.output_bias || shape.mlp_bias);
}

TEST(ModelShapeFromConfig, ReadsBiasesOfLlamaAndQwen2) {
  const ModelShape llama = shape_of(golden_config("llama_biases"));
  EXPECT_TRUE(llama.qkv_bias && llama.output_bias && llama.mlp_bias);
  const ModelShape qwen = shape_of(golden_config("qwen2_tied"));
  EXPECT_TRUE(qwen.qkv_bias);  // config.json does not say so: the architecture does
  EXPECT_FALSE(qwen.output_bias || qwen.mlp_bias);
  EXPECT_TRUE(qwen.tied_embeddings);
}

TEST(ModelShapeFromConfig, KeysThatMayBeAbsentOrNullHaveHuggingFacesDefaults) {
  json config = golden_config("llama2_mha");
  for (const char* key :
       {"num_key_value_heads", "head_dim", "rms_norm_eps", "rope_theta", "rope_scaling",
        "tie_word_embeddings", "attention_bias", "mlp_bias", "torch_dtype", "max_position_embeddings"})
    config.erase(key);
  const ModelShape absent = shape_of(config);
  EXPECT_EQ(absent.kv_heads, absent.query_heads);
  EXPECT_EQ(absent.head_dim, absent.hidden / absent.query_heads);
  EXPECT_EQ(absent.norm_epsilon, 1e-6);
  EXPECT_EQ(absent.rope.theta, 10000);
  EXPECT_EQ(absent.rope.kind, RopeSettings::Kind::kPlain);
  EXPECT_EQ(absent.context, 2048);
  EXPECT_FALSE(absent.tied_embeddings);
  config["num_key_value_heads"] = nullptr;
  config["head_dim"] = nullptr;
  EXPECT_EQ(shape_of(config).kv_heads, absent.query_heads);
}

TEST(ModelShapeFromConfig, MistralsWindowIsItsOwn) {
  json config = golden_config("mistral_head_dim");
  config["sliding_window"] = 48;
  EXPECT_EQ(shape_of(config).layer(1).window, 48);
  config["sliding_window"] = nullptr;
  EXPECT_EQ(shape_of(config).layer(1).window, 0);
}

struct WrongKey {
  const char* key;
  json value;
  std::vector<std::string> words;  // of the message, besides the file's name and the key
};

TEST(ModelShapeFromConfig, RefusesWhatIsWrongAndNamesTheFileAndTheKey) {
  const json rope = {{"rope_type", "llama3"},
                     {"factor", 8.0},
                     {"low_freq_factor", 1.0},
                     {"high_freq_factor", 4.0},
                     {"original_max_position_embeddings", 8192}};
  const auto rope_with = [&](const char* key, json value) {
    json changed = rope;
    changed[key] = std::move(value);
    return changed;
  };
  const std::vector<WrongKey> cases{
      {"hidden_size", nullptr, {"missing"}},
      {"hidden_size", "64", {"\"64\"", "wanted an integer"}},
      {"hidden_size", 64.5, {"64.5", "wanted an integer"}},
      {"hidden_size", 0, {"at least 1"}},
      {"hidden_size", -64, {"out of range"}},
      {"hidden_size", std::uint64_t{1} << 63, {"out of range"}},
      {"num_hidden_layers", nullptr, {"missing"}},
      {"num_hidden_layers", 5000, {"5000", "4096"}},
      {"num_attention_heads", 5000, {"5000", "4096"}},
      {"num_attention_heads", 0, {"at least 1"}},
      {"num_attention_heads", nullptr, {"missing"}},
      {"num_key_value_heads", 3, {"do not divide"}},
      {"num_key_value_heads", 0, {"at least 1"}},
      {"head_dim", 15, {"even"}},
      {"head_dim", 2048, {"1024"}},
      {"intermediate_size", nullptr, {"missing"}},
      {"vocab_size", nullptr, {"missing"}},
      {"vocab_size", std::int64_t{1} << 40, {"out of range"}},
      {"max_position_embeddings", 0, {"at least 1"}},
      {"rms_norm_eps", "small", {"wanted a number"}},
      {"rms_norm_eps", 0, {"out of range"}},
      {"rms_norm_eps", -1e-5, {"out of range"}},
      {"rope_theta", -1, {"out of range"}},
      {"rope_theta", true, {"wanted a number"}},
      {"tie_word_embeddings", 1, {"wanted true or false"}},
      {"attention_bias", "no", {"wanted true or false"}},
      {"hidden_act", "nosuch", {"nosuch", "silu"}},
      {"hidden_act", 3, {"wanted a string"}},
      {"torch_dtype", "nosuch", {"nosuch", "bfloat16"}},
      {"architectures", json::array({"NoSuchForCausalLM"}), {"NoSuchForCausalLM", "LlamaForCausalLM"}},
      {"architectures", json::array(), {"supported are"}},
      {"architectures", "LlamaForCausalLM", {"supported are"}},
      {"rope_scaling", 3, {"wanted an object"}},
      {"rope_scaling", {{"rope_type", "nosuch"}, {"factor", 2.0}}, {"nosuch"}},
      {"rope_scaling", {{"rope_type", "linear"}}, {"factor"}},
      {"rope_scaling", {{"rope_type", "linear"}, {"factor", 0.5}}, {"factor"}},
      {"rope_scaling", rope_with("low_freq_factor", 0), {"low_freq_factor"}},
      {"rope_scaling", rope_with("high_freq_factor", 1.0), {"high_freq_factor"}},
      {"rope_scaling",
       rope_with("original_max_position_embeddings", nullptr),
       {"original_max_position_embeddings"}},
  };
  for (const WrongKey& wrong : cases) {
    json config = golden_config("llama2_mha");
    config[wrong.key] = wrong.value;
    SCOPED_TRACE(std::string(wrong.key) + ": " + wrong.value.dump());
    std::vector<std::string> words = wrong.words;
    words.insert(words.end(), {"config.json", wrong.key});
    expect_error(ExitCode::kBadData, words, [&] { shape_of(config); });
  }
}

TEST(ModelShapeFromConfig, RefusesAHiddenSizeThatDoesNotDivideByTheHeadsWithoutAHeadDim) {
  json config = golden_config("llama2_mha");
  config.erase("head_dim");
  config["hidden_size"] = 65;
  expect_error(ExitCode::kBadData, {"hidden_size 65", "num_attention_heads 4"}, [&] { shape_of(config); });
}

TEST(ModelShapeFromConfig, RefusesAFileThatIsNoJsonObject) {
  const TemporaryFolder folder;
  for (const char* text : {"", "{]", "[]", "3", "{\"a\":1} x"})
    expect_error(ExitCode::kBadData, {"config.json"},
                 [&] { ModelShape::from_config(folder.write("config.json", text)); });
  expect_error(ExitCode::kBadData, {"config.json"},
               [&] { ModelShape::from_config(folder.write("config.json", std::string(1000000, '['))); });
  expect_error(ExitCode::kMissingFile, {"nosuch"},
               [&] { ModelShape::from_config(folder.path() / "nosuch" / "config.json"); });
}

/// What a small llama file holds; drop or change a key before making the shape.
struct GgufHeader {
  std::string architecture = "llama";
  std::map<std::string, std::uint32_t> integers{{"embedding_length", 64},    {"block_count", 2},
                                                {"attention.head_count", 4}, {"attention.head_count_kv", 2},
                                                {"context_length", 128},     {"feed_forward_length", 96}};
  std::map<std::string, float> reals{{"attention.layer_norm_rms_epsilon", 1e-5F}};
  std::map<std::string, std::string> strings;
  std::map<std::string, std::vector<float>> vectors;
  bool embedding = true;

  ModelShape shape() const {
    GgufBuilder builder;
    builder.string("general.architecture", architecture);
    for (const auto& [key, value] : integers) builder.u32(architecture + "." + key, value);
    for (const auto& [key, value] : reals) builder.value(architecture + "." + key, 6, raw(value));
    for (const auto& [key, value] : strings) builder.string(architecture + "." + key, value);
    if (embedding) builder.f32_tensor("token_embd.weight", {64, 10}, std::vector<float>(640));
    for (const auto& [name, numbers] : vectors) builder.f32_tensor(name, {numbers.size()}, numbers);
    const std::string bytes = builder.file();
    return ModelShape::from_gguf(GgufFile::parse(bytes_of(bytes), "small.gguf"));
  }
};

TEST(ModelShapeFromGguf, ReadsALlamaFile) {
  GgufHeader header;
  header.reals["rope.freq_base"] = 50000;
  header.strings["rope.scaling.type"] = "linear";
  header.reals["rope.scaling.factor"] = 4;
  header.vectors["rope_freqs.weight"] = {1, 1, 2, 2, 4, 4, 8, 8};
  const ModelShape shape = header.shape();
  EXPECT_EQ(shape.hidden, 64);
  EXPECT_EQ(shape.layers, 2);
  EXPECT_EQ(shape.query_heads, 4);
  EXPECT_EQ(shape.kv_heads, 2);
  EXPECT_EQ(shape.head_dim, 16);
  EXPECT_EQ(shape.mlp_columns, 96);
  EXPECT_EQ(shape.vocabulary, 10);
  EXPECT_EQ(shape.context, 128);
  EXPECT_TRUE(shape.tied_embeddings);  // no tensor output.weight
  EXPECT_EQ(shape.rope.theta, 50000);
  EXPECT_EQ(shape.rope.kind, RopeSettings::Kind::kLinear);
  EXPECT_EQ(shape.rope.factor, 4);
  EXPECT_EQ(shape.rope.divisors, (std::vector<double>{1, 1, 2, 2, 4, 4, 8, 8}));
}

TEST(ModelShapeFromGguf, BiasesAreSeenByTheirTensors) {
  GgufHeader header;
  header.architecture = "qwen2";
  EXPECT_FALSE(header.shape().qkv_bias);
  header.vectors["blk.0.attn_q.bias"] = std::vector<float>(64);
  EXPECT_TRUE(header.shape().qkv_bias);
}

TEST(ModelShapeFromGguf, RefusesWhatIsWrongAndNamesTheFileAndTheKey) {
  const auto refused = [](const std::function<void(GgufHeader&)>& change, std::vector<std::string> words) {
    GgufHeader header;
    change(header);
    words.push_back("small.gguf");
    expect_error(ExitCode::kBadData, words, [&] { header.shape(); });
  };
  for (const char* key :
       {"embedding_length", "block_count", "attention.head_count", "context_length", "feed_forward_length"})
    refused([&](GgufHeader& h) { h.integers.erase(key); }, {std::string("llama.") + key, "missing"});
  refused([](GgufHeader& h) { h.architecture = "nosuch"; }, {"general.architecture", "nosuch", "llama"});
  refused([](GgufHeader& h) { h.integers["attention.head_count"] = 0; },
          {"llama.attention.head_count", "at least 1"});
  refused([](GgufHeader& h) { h.integers["attention.head_count"] = 4097; }, {"llama.attention.head_count"});
  refused([](GgufHeader& h) { h.integers["attention.head_count_kv"] = 3; }, {"do not divide"});
  refused([](GgufHeader& h) { h.integers["attention.head_count_kv"] = 0; }, {"key/value heads"});
  refused([](GgufHeader& h) { h.integers["attention.key_length"] = 15; }, {"head_dim", "even"});
  refused([](GgufHeader& h) { h.integers["attention.value_length"] = 8; }, {"llama.attention.value_length"});
  refused([](GgufHeader& h) { h.integers["block_count"] = 0; }, {"llama.block_count"});
  refused([](GgufHeader& h) { h.integers["block_count"] = 4294967295; }, {"llama.block_count"});
  refused([](GgufHeader& h) { h.integers["context_length"] = 0; }, {"context"});
  refused([](GgufHeader& h) { h.embedding = false; }, {"token_embd.weight"});
  refused([](GgufHeader& h) { h.reals["attention.layer_norm_rms_epsilon"] = 0; }, {"epsilon"});
  refused([](GgufHeader& h) { h.reals["rope.freq_base"] = 0; }, {"rope_theta"});
  refused([](GgufHeader& h) { h.strings["rope.scaling.type"] = "nosuch"; },
          {"llama.rope.scaling.type", "nosuch"});
  refused(
      [](GgufHeader& h) {
        h.strings["rope.scaling.type"] = "linear";
        h.reals["rope.scaling.factor"] = 0.5F;
      },
      {"llama.rope.scaling.factor"});
  refused([](GgufHeader& h) { h.vectors["rope_freqs.weight"] = {1, 2, 3}; }, {"rope_freqs.weight"});
  refused([](GgufHeader& h) { h.vectors["rope_freqs.weight"] = std::vector<float>(8, 0.0F); },
          {"rope_freqs.weight", "positive"});
}

}  // namespace
}  // namespace llm_tp
