#pragma once
#include "config/engine_config.h"
#include "engine/model_files.h"
#include "schedule/request.h"

namespace llm_tp {

/// Puts what the configuration says of processors, search and speculation into the request; end ids and
/// max_tokens are there already. Errors: kUsage for ids outside the vocabulary, texts that cannot be read,
/// and settings that do not go together, which names both.
void set_decoding_options(const GenerationConfig& generation, const ModelFiles& files, Request& request);

}  // namespace llm_tp
