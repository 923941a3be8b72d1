#pragma once
#include <string>
#include <vector>

#include "commands/command_line.h"
#include "engine/completion.h"
#include "engine/engine.h"
#include "text/chat_template.h"

namespace llm_tp {

/// A file's whole text. Errors: kMissingFile; kBadData for a folder; kIoError; kUsage where it is larger than
/// 64 MiB.
std::string read_text(const std::string& path);

/// What `generate` and `chat` ask for, with the model's own defaults filled in.
struct GenerationPlan {
  Request request;  // prompt left to the caller
  std::vector<std::string> stops;
  bool include_stop = false, echo = false;
  std::int64_t context = 0;   // positions a sequence may have
  std::string used_defaults;  // those of generation_config.json, for the log: "temperature 0.8, top_p 0.95"

  /// Errors: kUsage for values that do not go together.
  static GenerationPlan of(const EngineConfig& config, const ModelFiles& files);
  /// Puts the prompt in. Errors: kUsage for an empty prompt, ids outside the vocabulary, or one that fills
  /// the context.
  void set_prompt(std::vector<TokenId> prompt, std::int64_t vocabulary);
  /// Completions that come back.
  std::int32_t returned() const noexcept { return request.beams ? request.beams->returned : request.choices; }
  /// Room for all sequences of the request at once.
  LoadPlan room(const EngineConfig& config) const;
};

/// The ids of a conversation under the model's chat template. Errors: kUsage where it has none.
std::vector<TokenId> chat_tokens(const Tokenizer& tokenizer, const std::vector<ChatMessage>& messages,
                                 std::string* text = nullptr);

}  // namespace llm_tp
