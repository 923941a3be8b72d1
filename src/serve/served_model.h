#pragma once
#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "decoding/guide.h"
#include "engine/model_files.h"
#include "schedule/request.h"
#include "schedule/scheduler.h"
#include "serve/openai_request.h"
#include "serve/tools/tool_reply.h"
#include "text/chat_template.h"

namespace llm_tp {

/// One API request, ready to run.
struct Call {
  struct Prompt {
    std::vector<TokenId> tokens;
    std::string text;  // where it came as text or messages
  };
  ApiRequest request;
  std::string model;  // as the answer names it: the model, or one of its adapters
  std::vector<Prompt> prompts;
  std::vector<Request> requests;  // one a prompt, with all its choices
  std::string id;                 // "cmpl-…"
  std::int64_t created = 0;       // Unix time
  ToolReading reading;

  /// Of each prompt; they are numbered prompt by prompt.
  std::size_t choices_each() const noexcept { return static_cast<std::size_t>(request.best_of); }
  std::size_t choices() const noexcept { return requests.size() * choices_each(); }
  std::size_t choice_of(std::size_t of_request, const Progress& progress) const noexcept {
    return of_request * choices_each() + static_cast<std::size_t>(progress.choice);
  }
};

/// What turning API requests into sequences needs of a model. Immutable; any thread may use it. Borrows the
/// files.
class ServedModel {
 public:
  /// most_positions: of one sequence, as the KV cache was made. Without a name it is the last part of the
  /// model's path.
  ServedModel(const ModelFiles& files, std::int64_t most_positions,
              ToolFormat tool_format = ToolFormat::kAuto, std::string name = {});

  /// As clients name it.
  const std::string& name() const noexcept { return name_; }
  /// Names that a request's `model` may have: name(), then those of the adapters.
  std::vector<std::string> names() const;
  const Tokenizer* tokenizer() const noexcept { return files_.tokenizer.get(); }
  bool has_chat_template() const noexcept { return template_ != nullptr && template_error_.empty(); }
  std::int64_t vocabulary() const noexcept { return files_.shape.vocabulary; }
  std::int64_t most_positions() const noexcept { return most_positions_; }

  /// Where the request names no seed, its draws start from `seed`. Errors: ApiError: 404 for another model's
  /// name; 400 for what this model cannot do, a prompt that is too long, ids outside the vocabulary, a
  /// template's refusal.
  Call prepare(ApiRequest request, std::uint64_t seed) const;
  /// Errors: as prepare.
  std::vector<TokenId> encode(const std::string& text, bool add_special, const char* field = "prompt") const;
  std::vector<TokenId> encode_chat(const std::string& messages, const std::string& variables, bool generate,
                                   std::string* text = nullptr) const;
  std::string decode(const std::vector<TokenId>& ids) const;

 private:
  Call::Prompt chat_prompt(const ApiRequest& request) const;
  std::shared_ptr<Guide> guide_of(const ApiRequest& request, const std::vector<TokenId>& end_ids) const;
  ToolReading reading_of(const ToolRequest& tools) const;
  void check_ids(const std::vector<TokenId>& ids, const char* field) const;
  const Tokenizer& tokenizer_for(const char* field) const;
  void check_length(Endpoint endpoint, std::int64_t length, bool goes_on) const;
  AdapterId adapter_for(const ApiRequest& request) const;
  Request request_of(const ApiRequest& request, std::int64_t prompt_length, std::uint64_t seed) const;

  const ModelFiles& files_;
  std::string name_;
  std::int64_t most_positions_;
  std::unique_ptr<ChatTemplate> template_;  // null: the model has none
  std::string template_error_;              // why it cannot be used
  ChatOptions template_options_;
  ToolFormat tool_format_;
  ToolReading reading_;  // of requests with tools
};

}  // namespace llm_tp
