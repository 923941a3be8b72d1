// LoRA adapters: the mathematics of W + scale * B A, and the same bits however they are run.
#include <gtest/gtest.h>

#include <cmath>
#include <filesystem>
#include <map>
#include <span>

#include "base/mapped_file.h"
#include "comm/local_group.h"
#include "engine/engine.h"
#include "tests/support/golden.h"
#include "tests/support/peft_folder.h"
#include "tests/weights/test_files.h"
#include "weights/safetensors_header.h"

namespace llm_tp {
namespace {

using Logits = std::vector<float>;  // of every row of a prompt
const std::vector<std::string> kLlamaTargets{"q_proj",    "k_proj",  "v_proj",   "o_proj",
                                             "gate_proj", "up_proj", "down_proj"};

ModelShape shape_of(const std::string& model) { return ModelShape::from_config(model + "/config.json"); }

EngineConfig exact(const std::string& model) {
  EngineConfig config;
  config.model = model;
  config.threads = 1;
  config.kv_dtype = KvDType::kF32;
  config.activations = Activations::kF32;
  return config;
}

struct Asked {
  std::vector<TokenId> prompt;
  AdapterId adapter = kNoAdapter;
};
struct Way {
  int world = 1;
  std::int64_t rows = 512;  // of a step
};

/// Logits of every row of every prompt, all at once.
std::vector<Logits> run(const EngineConfig& config, const std::vector<Asked>& asked, const Way& way) {
  LoadPlan load;
  load.sequences = std::ssize(asked);
  load.most_rows = way.rows;
  for (const Asked& one : asked) load.kv_tokens += std::ssize(one.prompt);
  std::vector<Logits> all(asked.size());
  LocalGroup(way.world).run([&](Communicator& ranks, ControlChannel& control) {
    const Group group{ranks, control, ranks.rank(), way.world, "host"};
    run_engine(
        group, config, [&](ModelFiles&) { return load; },
        [&](Leader& leader, const ModelFiles&, double) {
          std::map<RequestId, std::size_t> index;
          for (std::size_t i = 0; i < asked.size(); ++i) {
            Request request;
            request.prompt = asked[i].prompt;
            request.adapter = asked[i].adapter;
            request.max_tokens = 0;
            request.score_prompt = request.whole_logits = true;
            index[leader.scheduler().add(request)] = i;
          }
          leader.run([&](const Progress& p) {
            Logits& logits = all[index.at(p.request)];
            logits.insert(logits.end(), p.row.whole.begin(), p.row.whole.end());
          });
        });
  });
  return all;
}

double largest_difference(const Logits& a, const Logits& b) {
  EXPECT_EQ(a.size(), b.size());
  double most = 0;
  for (std::size_t i = 0; i < std::min(a.size(), b.size()); ++i)
    most = std::max(most, std::abs(static_cast<double>(a[i]) - static_cast<double>(b[i])));
  return most;
}

/// A copy of an f32 checkpoint whose weights have the adapter in them, worked out here in double.
void write_merged(const std::string& model, const PeftFolder& adapter, double scale,
                  const std::filesystem::path& to) {
  std::filesystem::copy(model, to);
  std::string bytes;
  {
    const MappedFile file(to / "model.safetensors");
    bytes.assign(reinterpret_cast<const char*>(file.bytes().data()), file.bytes().size());
  }
  for (const SafetensorsTensor& tensor : parse_safetensors_header(bytes_of(bytes), "copy")) {
    const std::string module = "base_model.model." + tensor.name.substr(0, tensor.name.rfind('.'));
    const auto a = adapter.tensors.find(module + ".lora_A.weight");
    if (a == adapter.tensors.end()) continue;
    ASSERT_EQ(tensor.dtype, "F32");
    const auto& b = adapter.tensors.at(module + ".lora_B.weight");
    const auto rows = static_cast<std::size_t>(tensor.shape[0]),
               columns = static_cast<std::size_t>(tensor.shape[1]),
               rank = static_cast<std::size_t>(b.shape[1]);
    for (std::size_t r = 0; r < rows; ++r)
      for (std::size_t c = 0; c < columns; ++c) {
        double sum = 0;
        for (std::size_t k = 0; k < rank; ++k)
          sum += static_cast<double>(b.values[r * rank + k]) *
                 static_cast<double>(a->second.values[k * columns + c]);
        char* const at =
            bytes.data() + static_cast<std::size_t>(tensor.begin) + (r * columns + c) * sizeof(float);
        float value = 0;
        std::memcpy(&value, at, sizeof value);
        value = static_cast<float>(static_cast<double>(value) + scale * sum);
        std::memcpy(at, &value, sizeof value);
      }
  }
  std::ofstream(to / "model.safetensors", std::ios::binary) << bytes;
}

TEST(Adapters, GiveTheLogitsOfMergedWeights) {
  const TemporaryFolder folder;
  const GoldenCase golden = load_golden_model("llama2_mha");
  PeftFolder adapter(shape_of(golden.model), kLlamaTargets, 5, 1);
  double scale = 2;
  std::vector<Asked> asked, plain;
  for (const auto& prompt : golden.prompts) {
    asked.push_back({prompt, 0});
    plain.push_back({prompt});
  }
  const std::vector<Logits> base = run(exact(golden.model), plain, {});
  for (const bool stabilised : {false, true}) {
    adapter.config["use_rslora"] = stabilised;
    if (stabilised) scale = static_cast<double>(static_cast<float>(10 / std::sqrt(5.0)));
    const std::string name = stabilised ? "rs" : "lora";
    adapter.write(folder.path() / name);
    write_merged(golden.model, adapter, scale, folder.path() / (name + "-merged"));
    const auto wanted = run(exact(folder.path() / (name + "-merged")), plain, {});
    EngineConfig config = exact(golden.model);
    config.adapters = {"poet=" + (folder.path() / name).string()};
    const auto beside = run(config, asked, {});
    config.merge_adapter = "poet";
    const auto merged = run(config, plain, {2, 512});
    for (std::size_t i = 0; i < wanted.size(); ++i) {
      EXPECT_GT(largest_difference(wanted[i], base[i]), 0.1) << "the adapter does nothing";
      EXPECT_LT(largest_difference(beside[i], wanted[i]), kGoldenLogitTolerance) << name;
      EXPECT_EQ(merged[i], wanted[i]) << name;
    }
  }
}

TEST(Adapters, SideBySideEachHasTheBitsItHasAloneOnAnyRanksAndChunks) {
  const TemporaryFolder folder;
  const GoldenCase golden = load_golden_model("heads_9_3");
  const ModelShape shape = shape_of(golden.model);
  PeftFolder(shape, kLlamaTargets, 4, 1).write(folder.path() / "all");
  PeftFolder few(shape, {"v_proj", "down_proj"}, 8, 2);
  few.config["alpha_pattern"] = {{"layers.0.self_attn.v_proj", 3}};
  few.write(folder.path() / "few");
  EngineConfig config = exact(golden.model);
  config.adapters = {"all=" + (folder.path() / "all").string(), "few=" + (folder.path() / "few").string()};
  std::vector<Asked> asked;
  for (const auto& prompt : golden.prompts)
    for (const AdapterId adapter : {1, kNoAdapter, 0}) asked.push_back({prompt, adapter});
  std::vector<Logits> alone;
  for (const Asked& one : asked) alone.push_back(run(config, {one}, {}).front());
  const EngineConfig plain = exact(golden.model);
  for (std::size_t i = 0; i < golden.prompts.size(); ++i) {
    EXPECT_EQ(run(plain, {{golden.prompts[i]}}, {}).front(), alone[3 * i + 1]) << "the base has other bits";
    EXPECT_NE(alone[3 * i], alone[3 * i + 1]);
    EXPECT_NE(alone[3 * i], alone[3 * i + 2]);
  }
  for (const Way way : {Way{1, 11}, Way{2, 512}, Way{3, 40}, Way{5, 33}, Way{12, 512}})
    EXPECT_EQ(run(config, asked, way), alone) << way.world << " ranks, " << way.rows << " rows";
}

TEST(Adapters, RowsOfFusedTensorsAreCutAsTheBaseIs) {
  const TemporaryFolder folder;
  const GoldenCase golden = load_golden_model("phi3_partial_longrope");
  PeftFolder(shape_of(golden.model), {"qkv_proj", "o_proj", "gate_up_proj", "down_proj"}, 6, 3)
      .write(folder.path());
  EngineConfig config = exact(golden.model);
  config.adapters = {"poet=" + folder.path().string()};
  const std::vector<TokenId>& prompt = golden.prompts[1];
  const Logits alone = run(config, {{prompt, 0}}, {}).front();
  for (const Way way : {Way{2, 512}, Way{3, 5}, Way{5, 512}})
    EXPECT_EQ(run(config, {{prompt, 0}}, way).front(), alone) << way.world;
  config.merge_adapter = "poet";
  config.dtype = DType::kF32;
  EXPECT_LT(largest_difference(run(config, {{prompt}}, {}).front(), alone), 0.05 * golden.logits_std);
}

TEST(Adapters, PagesOfOneAreNoPrefixOfAnother) {
  const TemporaryFolder folder;
  const GoldenCase golden = load_golden_model("heads_9_3");
  PeftFolder(shape_of(golden.model), kLlamaTargets, 4, 1).write(folder.path());
  EngineConfig config = exact(golden.model);
  config.adapters = {"poet=" + folder.path().string()};
  const std::vector<TokenId>& prompt = golden.prompts[2];
  const auto embedding = [&](Leader& leader, AdapterId adapter, std::int32_t& cached) {
    Request request;
    request.prompt = prompt;
    request.adapter = adapter;
    request.max_tokens = 0;
    request.embedding = EmbeddingSettings{Pooling::kLast, false};
    std::vector<float> state;
    leader.scheduler().add(request);
    leader.run([&](const Progress& p) { state = p.row.state, cached = p.cached_tokens; });
    return state;
  };
  LocalGroup(2).run([&](Communicator& ranks, ControlChannel& control) {
    const Group group{ranks, control, ranks.rank(), 2, "host"};
    LoadPlan load{4096, 512, 1};
    load.prefix_cache = true;
    run_engine(
        group, config, [&](ModelFiles&) { return load; },
        [&](Leader& leader, const ModelFiles&, double) {
          std::int32_t cached = 0;
          const auto base = embedding(leader, kNoAdapter, cached);
          const auto adapted = embedding(leader, 0, cached);
          EXPECT_EQ(cached, 0);
          EXPECT_NE(base, adapted);
          EXPECT_EQ(embedding(leader, 0, cached), adapted);
          EXPECT_GT(cached, 0);
          EXPECT_EQ(embedding(leader, kNoAdapter, cached), base);
          EXPECT_GT(cached, 0);
        });
  });
}

/// What opening the folder says.
void refused(const ModelShape& shape, const PeftFolder& adapter, const std::vector<std::string>& words) {
  const TemporaryFolder folder;
  adapter.write(folder.path());
  expect_error(ExitCode::kBadData, words, [&] { AdapterFiles(folder.path(), shape); });
}

TEST(AdapterFiles, RefuseWhatIsNotThereByItsKey) {
  const ModelShape shape = shape_of(golden_folder() + "/models/heads_9_3");
  const PeftFolder good(shape, {"q_proj", "down_proj"}, 4, 1);
  const std::vector<std::pair<std::string, nlohmann::json>> spoilt{
      {"peft_type", "IA3"},
      {"peft_type", nullptr},
      {"task_type", "SEQ_CLS"},
      {"use_dora", true},
      {"bias", "all"},
      {"lora_bias", true},
      {"modules_to_save", {"lm_head"}},
      {"fan_in_fan_out", true},
      {"layer_replication", {{0, 2}}},
      {"init_lora_weights", "pissa_niter_4"},
      {"r", 0},
      {"r", nullptr},
      {"r", "four"},
      {"r", 70000},
      {"lora_alpha", nullptr},
      {"lora_alpha", 1e300},
      {"use_rslora", "yes"},
      {"rank_pattern", {{"q_proj", 0}}},
      {"rank_pattern", {{"^q.*", 4}}},
      {"alpha_pattern", {{"q_proj", "x"}}},
      {"target_modules", nullptr},
      {"target_modules", nlohmann::json::array()},
      {"target_modules", {"q_proj", "down_proj", "w1"}},
      {"target_modules", {"q_proj"}}};
  for (const auto& [key, value] : spoilt) {
    PeftFolder adapter = good;
    adapter.config[key] = value;
    refused(shape, adapter, {key});
  }
  const TemporaryFolder folder;
  good.write(folder.path());
  EXPECT_EQ(AdapterFiles(folder.path(), shape).modules().size(), static_cast<std::size_t>(2 * shape.layers));
}

TEST(AdapterFiles, RefuseTensorsOfAnotherBaseByTheirNames) {
  const ModelShape shape = shape_of(golden_folder() + "/models/heads_9_3");
  const PeftFolder good(shape, {"q_proj", "down_proj"}, 4, 1);
  const std::string q = "base_model.model.model.layers.0.self_attn.q_proj";
  const auto renamed = [&](const std::string& from, const std::string& to) {
    PeftFolder adapter = good;
    adapter.tensors[to] = adapter.tensors.at(from);
    adapter.tensors.erase(from);
    return adapter;
  };
  refused(shape, renamed(q + ".lora_A.weight", q + ".lora_magnitude_vector"), {"lora_magnitude_vector"});
  refused(shape, renamed(q + ".lora_A.weight", "model.norm.weight"), {"model.norm.weight"});
  const auto with = [&](const std::string& module) {
    PeftFolder adapter = good;
    for (const char* part : {".lora_A.weight", ".lora_B.weight"})
      adapter.tensors["base_model.model." + module + part] = adapter.tensors.at(q + part);
    return adapter;
  };
  refused(shape, with("model.layers.99.self_attn.q_proj"), {"layers.99.self_attn.q_proj", "another base"});
  refused(shape, with("model.embed_tokens"), {"adapts model.embed_tokens"});
  refused(shape, with("lm_head"), {"adapts lm_head"});
  PeftFolder lonely = good;
  lonely.tensors.erase(q + ".lora_B.weight");
  refused(shape, lonely, {"q_proj", "no lora_B"});
  PeftFolder ranks = good;
  ranks.config["rank_pattern"] = {{"layers.0.self_attn.q_proj", 3}};
  refused(shape, ranks, {q + ".lora_A.weight", "3 x"});
  refused(shape_of(golden_folder() + "/models/llama2_mha"), good, {".weight has shape", "another base"});
  const ModelShape experts = shape_of(golden_folder() + "/models/qwen2_moe");
  refused(experts, PeftFolder(experts, {"down_proj"}, 4, 1), {"experts.0.down_proj", "only attention's"});
  PeftFolder empty = good;
  empty.tensors.clear();
  refused(shape, empty, {"no tensors"});
}

TEST(Adapters, AreRefusedBeforeAnythingIsLoaded) {
  const TemporaryFolder folder;
  const GoldenCase golden = load_golden_gguf("Q4_0");
  const ModelFiles files = ModelFiles::open(golden.model, false);
  PeftFolder(files.shape, {"q_proj"}, 4, 1).write(folder.path() / "poet");
  const AdapterChoice poet{"poet", folder.path() / "poet"};
  const auto open = [&](const std::vector<AdapterChoice>& choices, const std::string& merged) {
    ModelFiles::open(golden.model, false).open_adapters(choices, merged);
  };
  expect_error(ExitCode::kBadData, {"attn_q", "quantised", "--use-adapter"}, [&] { open({poet}, "poet"); });
  expect_error(ExitCode::kUsage, {"bard", "--adapter"}, [&] { open({poet}, "bard"); });
  expect_error(ExitCode::kUsage, {"two are called poet"}, [&] { open({poet, poet}, ""); });
  expect_error(ExitCode::kMissingFile, {"nowhere"}, [&] { open({{"x", "/nowhere"}}, ""); });
  expect_error(ExitCode::kUsage, {"bard"}, [&] { files.adapter_called("bard"); });
  // On quantised weights it runs beside them.
  EngineConfig config = exact(golden.model);
  config.adapters = {"poet=" + poet.folder};
  const auto alone = run(config, {{golden.prompts[1], 0}}, {});
  EXPECT_EQ(run(config, {{golden.prompts[1], 0}}, {3, 7}), alone);
  EXPECT_NE(run(config, {{golden.prompts[1]}}, {}), alone);
}

}  // namespace
}  // namespace llm_tp
