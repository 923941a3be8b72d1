#include "serve/api.h"
#include "serve/json_text.h"
#include "serve/request_fields.h"
#include "serve/tools/read_tools.h"

namespace llm_tp {
namespace {

Json of_type(const char* type) { return {{"type", type}}; }
Json list_of(Json items) { return {{"type", "array"}, {"items", std::move(items)}}; }
Json whole(std::int64_t low, std::int64_t high) {
  return {{"type", "integer"}, {"minimum", low}, {"maximum", high}};
}

void add(Json& fields, std::initializer_list<IntegerField> numbers) {
  for (const IntegerField& field : numbers) fields[field.name] = whole(field.low, field.high);
}
void add(Json& fields, std::initializer_list<NumberField> numbers) {
  for (const auto& [name, low, high] : numbers)
    fields[name] = {{"type", "number"}, {"minimum", low}, {"maximum", high}};
}

/// What the text must look like.
void add_form_fields(Json& fields) {
  const Json object = of_type("object"), text = of_type("string");
  fields["json_schema"] = object;
  fields["regex"] = text;
  fields["grammar"] = text;
  fields["choice"] = list_of(text);
  fields["response_format"] = {
      {"type", "object"},
      {"properties",
       {{"type", {{"enum", Json::array({"text", "json_object", "json_schema"})}}},
        {"json_schema",
         {{"type", "object"}, {"properties", {{"schema", object}}}, {"required", Json::array({"schema"})}}}}},
      {"required", Json::array({"type"})}};
}

/// Fields that change nothing here.
void add_ignored_fields(Json& fields) {
  for (const char* name : {"user", "service_tier", "safety_identifier", "prompt_cache_key"})
    fields[name] = of_type("string");
  fields["metadata"] = of_type("object");
  fields["store"] = of_type("boolean");
}

/// Fields that both kinds of completion take.
Json common_fields() {
  using namespace fields;
  const Json flag = of_type("boolean"), text = of_type("string");
  Json stop = list_of(text), bias = of_type("object");
  stop["maxItems"] = kMostStopTexts;
  bias["propertyNames"] = {{"pattern", "^[0-9]+$"}};
  bias["additionalProperties"] = {{"type", "number"}, {"minimum", -kMostBias}, {"maximum", kMostBias}};
  Json common{{"model", text},
              {"stop", {{"oneOf", Json::array({text, std::move(stop)})}}},
              {"stop_token_ids", list_of(whole(0, 2147483647))},
              {"logit_bias", std::move(bias)},
              {"ignore_eos", flag},
              {"include_stop_str_in_output", flag},
              {"return_token_ids", flag},
              {"early_stopping", {{"enum", Json::array({true, false, "never"})}}},
              {"stream", flag},
              {"stream_options", {{"type", "object"}, {"properties", {{"include_usage", flag}}}}}};
  add(common, {kMaxTokens, kMinTokens, kTopK, kSeed, kN, kBeams, kPriority});
  add(common, {kTemperature, kTopP, kMinP, kTypicalP, kPresencePenalty, kFrequencyPenalty, kRepetitionPenalty,
               kLengthPenalty, kPenaltyAlpha, kTimeout});
  add_form_fields(common);
  add_ignored_fields(common);
  return common;
}

/// The tools that a chat offers, and which of them may be called.
void add_tool_fields(Json& chat) {
  const Json function{{"type", "object"},
                      {"properties",
                       {{"name", {{"type", "string"}, {"pattern", "^[a-zA-Z0-9_-]{1,64}$"}}},
                        {"description", of_type("string")},
                        {"parameters", of_type("object")},
                        {"strict", of_type("boolean")}}},
                      {"required", Json::array({"name"})}};
  const Json kind{{"const", "function"}};
  Json tools = list_of({{"type", "object"},
                        {"properties", {{"type", kind}, {"function", function}}},
                        {"required", Json::array({"type", "function"})}});
  tools["maxItems"] = kMostTools;
  const Json named{{"type", "object"},
                   {"properties",
                    {{"type", kind},
                     {"function",
                      {{"type", "object"},
                       {"properties", {{"name", of_type("string")}}},
                       {"required", Json::array({"name"})}}}}},
                   {"required", Json::array({"type", "function"})}};
  chat["tools"] = std::move(tools);
  chat["tool_choice"] = {
      {"oneOf", Json::array({Json{{"enum", Json::array({"none", "auto", "required"})}}, named})}};
  chat["parallel_tool_calls"] = of_type("boolean");
}

Json body_of(Json fields, Json required) {
  const Json schema{{"type", "object"}, {"properties", std::move(fields)}, {"required", std::move(required)}};
  return {{"required", true}, {"content", {{"application/json", {{"schema", schema}}}}}};
}

Json operation(const char* summary, const Json& body = nullptr) {
  const Json json{{"application/json", {{"schema", of_type("object")}}}};
  Json responses{{"200", {{"description", "done"}, {"content", json}}},
                 {"503", {{"description", "loading or shutting down"}, {"content", json}}}};
  if (!body.is_null()) {
    responses["400"] = {{"description", "refused"}, {"content", json}};
    responses["404"] = {{"description", "no such model"}, {"content", json}};
    responses["408"] = {{"description", "the request's own timeout is over"}, {"content", json}};
    responses["413"] = {{"description", "the body is too large"}, {"content", json}};
    responses["429"] = {{"description", "too many requests wait"}, {"content", json}};
  }
  Json operation{{"summary", summary}, {"responses", std::move(responses)}};
  if (!body.is_null()) operation["requestBody"] = body;
  return operation;
}

}  // namespace

std::string openapi_document() {
  Json completion = common_fields();
  const Json ids = list_of(whole(0, 2147483647));
  completion["prompt"] = {
      {"oneOf", Json::array({of_type("string"), ids, list_of(of_type("string")), list_of(ids)})}};
  completion["echo"] = of_type("boolean");
  add(completion, {fields::kLogprobs, fields::kBestOf});
  Json chat = common_fields();
  const Json message{{"type", "object"},
                     {"properties", {{"role", of_type("string")}, {"content", of_type("string")}}},
                     {"required", Json::array({"role", "content"})}};
  add_tool_fields(chat);
  chat["messages"] = list_of(message);
  chat["logprobs"] = of_type("boolean");
  chat["chat_template_kwargs"] = of_type("object");
  add(chat, {fields::kMaxCompletionTokens, fields::kTopLogprobs});
  Json embedding{{"model", of_type("string")},
                 {"input", completion["prompt"]},
                 {"encoding_format", {{"enum", Json::array({"float", "base64"})}}},
                 {"pooling", {{"enum", Json::array({"mean", "last"})}}},
                 {"normalize", of_type("boolean")}};
  add(embedding, {fields::kDimensions, fields::kPriority});
  add(embedding, {fields::kTimeout});
  add_ignored_fields(embedding);
  const Json paths{
      {"/v1/completions",
       {{"post", operation("Completes prompts", body_of(std::move(completion), Json::array({"prompt"})))}}},
      {"/v1/chat/completions",
       {{"post", operation("Answers a conversation", body_of(std::move(chat), Json::array({"messages"})))}}},
      {"/v1/embeddings",
       {{"post", operation("A vector for each text", body_of(embedding, Json::array({"input"})))}}},
      {"/v1/models", {{"get", operation("The model that is served")}}},
      {"/tokenize",
       {{"post", operation("Text to token ids", body_of({{"prompt", of_type("string")},
                                                         {"add_special_tokens", of_type("boolean")}},
                                                        Json::array({"prompt"})))}}},
      {"/detokenize",
       {{"post", operation("Token ids to text", body_of({{"tokens", ids}}, Json::array({"tokens"})))}}},
      {"/tokenizer_info", {{"get", operation("Begin and end tokens, and the chat template")}}},
      {"/group", {{"get", operation("The ranks, their memory and time, pages, queue, tokens a second")}}},
      {"/health", {{"get", operation("200 once requests are taken")}}},
      {"/ready", {{"get", operation("The same as /health")}}},
      {"/version", {{"get", operation("The server's version")}}}};
  return to_text(
      {{"openapi", "3.1.0"}, {"info", {{"title", "llm-tp"}, {"version", LLM_TP_VERSION}}}, {"paths", paths}});
}

}  // namespace llm_tp
