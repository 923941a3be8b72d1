#pragma once
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <variant>
#include <vector>

#include "base/ids.h"
#include "decoding/embedding.h"
#include "schedule/request.h"
#include "serve/tools/tool.h"

namespace llm_tp {

enum class Endpoint { kCompletions, kChatCompletions, kEmbeddings };
/// "/v1/completions"
const char* path_of(Endpoint endpoint);

/// The body of a completion, chat completion or embedding, checked as far as that is possible without a
/// model. Pure: no socket, no tokenizer, no clock.
struct ApiRequest {
  Endpoint endpoint = Endpoint::kCompletions;
  std::optional<std::string> model;
  std::vector<std::variant<std::string, std::vector<TokenId>>>
      prompts;                     // completions and embeddings: at least one
  std::string messages;            // chat: a JSON list
  std::string template_variables;  // chat: a JSON object for the template, may be empty
  ToolRequest tools;               // chat

  std::optional<std::int64_t> max_tokens;
  std::int64_t min_tokens = 0;
  std::optional<double> temperature, top_p;
  std::optional<std::int64_t> top_k;
  std::optional<double> min_p, typical_p, repetition_penalty;
  std::optional<Request::Beams> beams;  // returned: n
  double penalty_alpha = 0;             // above 0: contrastive search among top_k
  double presence_penalty = 0, frequency_penalty = 0;
  std::vector<std::pair<TokenId, float>> logit_bias;
  std::optional<std::int64_t> seed;
  std::int64_t n = 1;        // choices a prompt that are answered
  std::int64_t best_of = 1;  // choices a prompt that are run
  std::vector<std::string> stop;
  std::vector<TokenId> stop_token_ids;
  bool ignore_eos = false, include_stop = false, echo = false;
  std::optional<std::int64_t> logprobs;  // likeliest tokens reported beside each
  enum class Form { kAny, kJsonSchema, kRegex, kGrammar, kChoice } form = Form::kAny;
  std::string form_text;                // the schema, the expression or the grammar
  std::vector<std::string> form_texts;  // the choices
  bool stream = false, include_usage = false;
  bool return_token_ids = false;
  std::optional<double> timeout;  // seconds
  std::int64_t priority = 0;      // lower ones go first
  // Embeddings alone:
  EmbeddingSettings embedding;
  bool base64 = false;                     // how vectors are written
  std::optional<std::int64_t> dimensions;  // wanted of a vector

  std::size_t prompt_count() const noexcept {
    return endpoint == Endpoint::kChatCompletions ? 1 : prompts.size();
  }
};

/// Errors: ApiError 400 that names the field: for a wrong type or range, a field that is unknown, and one
/// that this engine cannot honour.
ApiRequest parse_api_request(Endpoint endpoint, std::string_view body);

/// Of POST /tokenize: text or messages; of /detokenize: ids.
struct TokenizeBody {
  std::optional<std::string> text;
  std::string messages, template_variables;  // as of a chat
  bool add_special = true, add_generation_prompt = true;
};
TokenizeBody parse_tokenize_body(std::string_view body);
std::vector<TokenId> parse_detokenize_body(std::string_view body);

}  // namespace llm_tp
