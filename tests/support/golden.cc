#include "golden.h"

#include <algorithm>
#include <cmath>
#include <filesystem>
#include <fstream>
#include <limits>
#include <nlohmann/json.hpp>

#include "base/error.h"

namespace llm_tp {
namespace {

nlohmann::json read_json(const std::string& path) {
  std::ifstream in(path);
  if (!in) throw Error(ExitCode::kMissingFile, path + ": cannot be opened; the tests run in a whole clone");
  return nlohmann::json::parse(in);
}

void fill(GoldenCase& golden, const nlohmann::json& of_case) {
  golden.greedy = of_case.at("greedy").get<std::vector<std::vector<TokenId>>>();
  golden.max_abs_diff_hf_float32 = of_case.at("max_abs_diff_hf_float32").get<std::vector<double>>();
  golden.logits_std = of_case.at("logits_std").get<double>();
}

void fill_logits(GoldenCase& golden, const std::string& path, const std::string& prefix) {
  const auto arrays = read_npz(path);
  for (std::size_t i = 0; i < golden.prompts.size(); ++i) {
    const NpyArray& logits = arrays.at(prefix + "logits_" + std::to_string(i));
    LLM_TP_CHECK(logits.rows() == static_cast<std::int64_t>(golden.prompts[i].size()), path + ": rows");
    golden.logits.push_back(logits);
  }
}

}  // namespace

std::string repository_path(const std::string& relative) {
  return std::string(LLM_TP_SOURCE_DIR "/") + relative;
}
std::string golden_folder() { return repository_path("tests/golden"); }

namespace {

std::vector<std::string> folders_with_weights(const std::string& folder) {
  std::vector<std::string> names;
  for (const auto& entry : std::filesystem::directory_iterator(folder)) {
    if (!entry.is_directory()) continue;
    for (const char* file : {"model.safetensors", "model.safetensors.index.json"})
      if (std::filesystem::exists(entry.path() / file)) names.push_back(entry.path().filename().string());
  }
  std::sort(names.begin(), names.end());
  return names;
}

GoldenCase load_golden_folder(const std::string& folder, const std::string& name) {
  GoldenCase golden;
  golden.name = name;
  golden.model = folder + "/" + name;
  const nlohmann::json reference = read_json(golden.model + "/reference.json");
  golden.prompts = reference.at("prompts").get<std::vector<std::vector<TokenId>>>();
  fill(golden, reference);
  fill_logits(golden, golden.model + "/reference.npz", "");
  return golden;
}

}  // namespace

std::vector<std::string> golden_model_names() { return folders_with_weights(golden_folder() + "/models"); }
GoldenCase load_golden_model(const std::string& name) {
  return load_golden_folder(golden_folder() + "/models", name);
}
std::vector<std::string> golden_quantised_names() { return folders_with_weights(golden_folder() + "/quant"); }
GoldenCase load_golden_quantised(const std::string& name) {
  return load_golden_folder(golden_folder() + "/quant", name);
}

std::vector<std::string> golden_gguf_types() {
  return {"F32", "BF16", "Q8_0", "Q4_0", "Q4_1", "Q5_0", "Q5_1", "Q4_K_M", "OTHERS"};
}

GoldenCase load_golden_gguf(const std::string& type) {
  const bool k = type == "Q4_K_M" || type == "OTHERS";
  const std::string folder = golden_folder() + (k ? "/quant/gguf_k" : "/quant/gguf");
  const nlohmann::json reference = read_json(folder + "/reference.json");
  GoldenCase golden;
  golden.name = type;
  golden.model = folder + "/" + type + ".gguf";
  golden.prompts = reference.at("prompts").get<std::vector<std::vector<TokenId>>>();
  fill(golden, reference.at("files").at(type));
  fill_logits(golden, folder + "/reference.npz", type + "_");
  return golden;
}

std::vector<HarbourPrompt> load_harbour_prompts() {
  const nlohmann::json reference = read_json(repository_path("models/harbour/reference.json"));
  std::vector<HarbourPrompt> prompts;
  for (const auto& entry : reference.at("prompts")) {
    prompts.push_back({entry.at("name").get<std::string>(), entry.value("prompt", std::string()),
                       entry.at("prompt_ids").get<std::vector<TokenId>>(),
                       entry.at("greedy").at("ids").get<std::vector<TokenId>>(),
                       entry.at("greedy").at("text").get<std::string>()});
  }
  return prompts;
}

double max_abs_difference(const std::vector<float>& values, const NpyArray& reference) {
  if (values.size() != reference.values.size()) return std::numeric_limits<double>::infinity();
  double largest = 0.0;
  for (std::size_t i = 0; i < values.size(); ++i) {
    const double difference = std::fabs(double{values[i]} - double{reference.values[i]});
    // A comparison with NaN is false: it must not pass as a small distance.
    if (!std::isfinite(difference)) return std::numeric_limits<double>::infinity();
    largest = std::max(largest, difference);
  }
  return largest;
}

}  // namespace llm_tp
