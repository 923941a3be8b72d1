#pragma once
#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "base/ids.h"
#include "config/engine_config.h"
#include "decoding/settings.h"

namespace llm_tp {

/// What a model's generation_config.json recommends, in Hugging Face's names; empty where it says nothing.
struct GenerationDefaults {
  std::optional<bool> do_sample;
  std::optional<double> temperature, top_p, min_p, typical_p, epsilon_cutoff, eta_cutoff;
  std::optional<std::int64_t> top_k;
  std::optional<double> repetition_penalty;
  std::optional<std::int64_t> no_repeat_ngram_size, max_new_tokens;
  std::vector<TokenId> suppress_tokens, begin_suppress_tokens;
  std::vector<std::vector<TokenId>> bad_words_ids;
  std::vector<TokenId> eos_token_ids;
  std::vector<std::string> left_aside;  // keys that would change the output and are not applied

  /// Of the folder's file; of none, nothing. Errors: kBadData that names the key.
  static GenerationDefaults read(const std::string& folder);
};

/// Token ids under a key of a JSON file: one, a list, or none where the file or the key is absent. Errors:
/// kBadData.
std::vector<TokenId> token_ids_of(const std::string& file, const char* key);

/// The settings, with the model's where nobody set one. As in Hugging Face's generate(): what shapes sampling
/// acts where the model is said to sample or a temperature was asked for; searches do not draw. `used` gets
/// what was taken and what was left aside, for the log: "temperature 0.8, top_p 0.95".
GenerationConfig with_defaults(GenerationConfig settings, const GenerationDefaults& defaults,
                               std::string& used);

/// What shapes the draws of such settings; the seed is the caller's.
SamplingSettings sampling_of(const GenerationConfig& settings);

}  // namespace llm_tp
