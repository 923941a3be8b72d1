#pragma once
#include <memory>

#include "config/engine_config.h"
#include "decoding/guide.h"
#include "engine/model_files.h"

namespace llm_tp {

/// The automaton of --json-schema, --regex, --grammar or --choice over the model's vocabulary; nullptr where
/// none is asked for. Errors: kUsage for two of them, a model without a tokenizer, and what the grammar's
/// reader refuses; kMissingFile.
std::shared_ptr<Guide> make_guide(const GenerationConfig& generation, const ModelFiles& files,
                                  const std::vector<TokenId>& end_ids);

}  // namespace llm_tp
