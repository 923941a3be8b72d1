#pragma once
#include <string>
#include <vector>

#include "base/ids.h"
#include "npz.h"

namespace llm_tp {

/// What Hugging Face transformers computes for one model: tests/golden/README.md.
struct GoldenCase {
  std::string name;
  std::string model;  // folder or .gguf file to load
  std::vector<std::vector<TokenId>> prompts;
  std::vector<std::vector<TokenId>> greedy;     // greedy[i]: the ids after prompts[i]
  std::vector<NpyArray> logits;                 // logits[i] [T, vocabulary]: every row of prompt i
  std::vector<double> max_abs_diff_hf_float32;  // of stock float32 transformers, per prompt
  double logits_std = 0.0;
};

/// Absolute bound for logits of an engine with f32 activations.
inline constexpr double kGoldenLogitTolerance = 5e-4;

/// tests/golden, and the folder of the repository with an ending: repository_path("models/harbour/hf").
std::string golden_folder();
std::string repository_path(const std::string& relative);

/// "llama2_mha", "heads_9_3"… in a fixed order: every folder of tests/golden/models.
std::vector<std::string> golden_model_names();
GoldenCase load_golden_model(const std::string& name);

/// "awq", "gptq"…: every folder of tests/golden/quant that is one checkpoint.
std::vector<std::string> golden_quantised_names();
GoldenCase load_golden_quantised(const std::string& name);

/// "F32", "Q8_0", "Q4_K_M"…: the .gguf files of tests/golden/quant/gguf and gguf_k.
std::vector<std::string> golden_gguf_types();
GoldenCase load_golden_gguf(const std::string& type);

/// One prompt of models/harbour/reference.json and the ids that follow it greedily.
struct HarbourPrompt {
  std::string name;
  std::string prompt;  // the text; empty where the reference has none
  std::vector<TokenId> prompt_ids, greedy;
  std::string text;  // of the greedy ids
};
std::vector<HarbourPrompt> load_harbour_prompts();

/// Largest distance of a [rows, columns] array to `reference`; infinity where a number is not finite or the
/// shapes differ.
double max_abs_difference(const std::vector<float>& values, const NpyArray& reference);

}  // namespace llm_tp
