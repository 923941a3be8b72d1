#include "serve/openai_request.h"

#include <charconv>
#include <cmath>

#include "serve/api_error.h"
#include "serve/body_reader.h"
#include "serve/tools/chat_messages.h"
#include "serve/tools/read_tools.h"

namespace llm_tp {
namespace {

constexpr std::size_t kMostStopIds = 64;   // each is looked for among all candidates
constexpr std::size_t kMostInputs = 2048;  // texts of one request for embeddings

void read_prompts(BodyReader& body, const char* name, ApiRequest& request) {
  const Json* prompt = body.find(name);
  if (prompt == nullptr) body.fail(name, "is missing; wanted a text, token ids, or a list of either");
  if (prompt->is_string()) {
    request.prompts.emplace_back(prompt->get<std::string>());
  } else if (prompt->is_array() && !prompt->empty() && prompt->front().is_number()) {
    request.prompts.emplace_back(token_ids_of(*prompt, name));
  } else if (prompt->is_array() && !prompt->empty()) {
    for (const Json& item : *prompt) {
      if (item.is_string())
        request.prompts.emplace_back(item.get<std::string>());
      else
        request.prompts.emplace_back(token_ids_of(item, name));
    }
  } else {
    body.fail(name, "wanted a text, token ids, or a list of either that is not empty");
  }
}

void read_stream_options(BodyReader& body, ApiRequest& request) {
  request.stream = body.boolean("stream").value_or(false);
  const Json* options = body.find("stream_options");
  if (options == nullptr) return;
  if (!request.stream) body.fail("stream_options", "goes with stream: true alone");
  BodyReader reader(*options, "stream_options.");
  request.include_usage = reader.boolean("include_usage").value_or(false);
  reader.ignore({"include_obfuscation"});
  reader.finish();
}

void read_logit_bias(BodyReader& body, ApiRequest& request) {
  const Json* bias = body.find("logit_bias");
  if (bias == nullptr) return;
  if (!bias->is_object()) body.fail("logit_bias", "wanted an object of token ids and numbers");
  for (const auto& [id, value] : bias->items()) {
    TokenId token = 0;
    const auto [end, error] = std::from_chars(id.data(), id.data() + id.size(), token);
    if (error != std::errc() || end != id.data() + id.size() || token < 0)
      body.fail("logit_bias", "wanted token ids as names");
    if (!value.is_number() || !(std::abs(value.get<double>()) <= fields::kMostBias))
      body.fail("logit_bias", "wanted numbers from -100 to 100");
    request.logit_bias.emplace_back(token, value.get<float>());
  }
}

/// What the text must look like: extras by the names of the flags, and OpenAI's response_format.
void read_form(BodyReader& body, ApiRequest& request) {
  using Form = ApiRequest::Form;
  const auto set = [&](const char* name, Form form, std::string text) {
    if (request.form != Form::kAny) body.fail(name, "a completion fits one grammar; leave the other out");
    request.form = form;
    request.form_text = std::move(text);
  };
  if (const Json* schema = body.find("json_schema")) {
    if (!schema->is_object()) body.fail("json_schema", "wanted an object");
    set("json_schema", Form::kJsonSchema, to_text(*schema));
  }
  if (auto text = body.text("regex")) set("regex", Form::kRegex, std::move(*text));
  if (auto text = body.text("grammar")) set("grammar", Form::kGrammar, std::move(*text));
  if (body.find("choice") != nullptr) {
    set("choice", Form::kChoice, {});
    request.form_texts = body.texts("choice", 1024);
    if (request.form_texts.empty()) body.fail("choice", "wanted at least one text");
  }
  const Json* format = body.find("response_format");
  if (format == nullptr) return;
  BodyReader reader(*format, "response_format.");
  const std::string type = reader.text("type").value_or("");
  if (type == "json_object") {
    set("response_format", Form::kJsonSchema, R"({"type":"object"})");
  } else if (type == "json_schema") {
    const Json* named = reader.find("json_schema");
    if (named == nullptr) reader.fail("json_schema", "is missing");
    BodyReader inner(*named, "response_format.json_schema.");
    const Json* schema = inner.find("schema");
    if (schema == nullptr || !schema->is_object()) inner.fail("schema", "wanted an object");
    set("response_format", Form::kJsonSchema, to_text(*schema));
  } else if (type != "text") {
    reader.fail("type", "wanted text, json_object or json_schema");
  }
}

void read_sampling(BodyReader& body, ApiRequest& request) {
  request.temperature = body.number(fields::kTemperature);
  request.top_p = body.number(fields::kTopP);
  request.top_k = body.integer(fields::kTopK);
  if (request.top_k == -1) request.top_k = 0;  // other servers' way to say: all
  request.seed = body.integer(fields::kSeed);
  request.n = body.integer(fields::kN).value_or(1);
  request.stop = body.texts("stop", fields::kMostStopTexts);
  request.stop_token_ids = body.token_ids("stop_token_ids");
  if (request.stop_token_ids.size() > kMostStopIds)
    body.fail("stop_token_ids", "wanted at most " + std::to_string(kMostStopIds) + " ids");
  request.ignore_eos = body.boolean("ignore_eos").value_or(false);
  request.include_stop = body.boolean("include_stop_str_in_output").value_or(false);
  request.min_tokens = body.integer(fields::kMinTokens).value_or(0);
  request.return_token_ids = body.boolean("return_token_ids").value_or(false);
  request.timeout = body.number(fields::kTimeout);
  request.min_p = body.number(fields::kMinP);
  request.typical_p = body.number(fields::kTypicalP);
  if (request.typical_p == 0) body.fail("typical_p", "wanted a number above 0");
  request.presence_penalty = body.number(fields::kPresencePenalty).value_or(0);
  request.frequency_penalty = body.number(fields::kFrequencyPenalty).value_or(0);
  request.repetition_penalty = body.number(fields::kRepetitionPenalty);
  read_logit_bias(body, request);
  read_form(body, request);
}

void read_completion(BodyReader& body, ApiRequest& request) {
  read_prompts(body, "prompt", request);
  request.max_tokens = body.integer(fields::kMaxTokens).value_or(16);
  request.echo = body.boolean("echo").value_or(false);
  request.logprobs = body.integer(fields::kLogprobs);
  request.best_of = body.integer(fields::kBestOf).value_or(request.n);
  if (request.best_of < request.n) body.fail("best_of", "must be at least n");
  if (request.best_of > request.n && request.stream)
    body.fail("best_of", "cannot be streamed: the best is known last");
  body.refuse_unless("suffix", "", "is not supported: this model completes at the end alone");
}

/// What the chat template gets besides the messages.
std::string read_template_variables(BodyReader& body, const ToolRequest& tools) {
  const Json* const given = body.find("chat_template_kwargs");
  if (given != nullptr && !given->is_object()) body.fail("chat_template_kwargs", "wanted an object");
  if (!tools.in_use()) return given == nullptr ? std::string() : to_text(*given);
  Json variables = given == nullptr ? Json::object() : *given;
  if (variables.contains("tools")) body.fail("chat_template_kwargs", "tools are a field of their own");
  variables["tools"] = Json::parse(tools.json);
  return to_text(variables);
}

void read_chat(BodyReader& body, ApiRequest& request) {
  request.messages = read_messages(body);
  const auto older = body.integer(fields::kMaxTokens);
  request.max_tokens = body.integer(fields::kMaxCompletionTokens);
  if (!request.max_tokens) request.max_tokens = older;
  const bool logprobs = body.boolean("logprobs").value_or(false);
  const auto top = body.integer(fields::kTopLogprobs);
  if (top && !logprobs) body.fail("top_logprobs", "goes with logprobs: true alone");
  if (logprobs) request.logprobs = top.value_or(0);
  request.best_of = request.n;
  request.tools = read_tools(body);
  request.template_variables = read_template_variables(body, request.tools);
  if (request.tools.in_use() && request.form != ApiRequest::Form::kAny)
    body.fail("tools", "a completion fits one grammar: leave the other out, or set tool_choice to none");
  body.refuse_unless("modalities", Json::array({"text"}), "only text is supported");
  body.ignore({"reasoning_effort", "prediction"});
}

void read_embedding(BodyReader& body, ApiRequest& request) {
  read_prompts(body, "input", request);
  if (request.prompts.size() > kMostInputs)
    body.fail("input", "wanted at most " + std::to_string(kMostInputs) + " texts");
  const std::string format = body.text("encoding_format").value_or("float");
  if (format != "float" && format != "base64") body.fail("encoding_format", "wanted float or base64");
  request.base64 = format == "base64";
  request.dimensions = body.integer(fields::kDimensions);
  const std::string pooling = body.text("pooling").value_or("mean");
  if (pooling != "mean" && pooling != "last") body.fail("pooling", "wanted mean or last");
  request.embedding.pooling = pooling == "mean" ? Pooling::kMean : Pooling::kLast;
  request.embedding.normalised = body.boolean("normalize").value_or(true);
  request.timeout = body.number(fields::kTimeout);
}

/// Beams and contrastive search, by the names of the flags.
void read_search(BodyReader& body, ApiRequest& request) {
  const std::int64_t beams = body.integer(fields::kBeams).value_or(1);
  request.penalty_alpha = body.number(fields::kPenaltyAlpha).value_or(0);
  const char* const search = beams > 1 ? "num_beams" : request.penalty_alpha > 0 ? "penalty_alpha" : nullptr;
  Request::Beams settings{static_cast<std::int32_t>(beams), static_cast<std::int32_t>(request.n)};
  const auto length_penalty = body.number(fields::kLengthPenalty);
  settings.length_penalty = length_penalty.value_or(1);
  const Json* const early = body.find("early_stopping");
  if (early != nullptr && *early == "never")
    settings.early_stopping = EarlyStopping::kNever;
  else if (early != nullptr && !early->is_boolean())
    body.fail("early_stopping", "wanted true, false or \"never\"");
  else if (early != nullptr && early->get<bool>())
    settings.early_stopping = EarlyStopping::kTrue;
  if (beams == 1 && length_penalty) body.fail("length_penalty", "goes with num_beams above 1 alone");
  if (beams == 1 && early != nullptr) body.fail("early_stopping", "goes with num_beams above 1 alone");
  if (search == nullptr) return;
  if (request.temperature.value_or(0) > 0) body.fail("temperature", std::string("goes not with ") + search);
  if (request.best_of > request.n) body.fail("best_of", std::string("goes not with ") + search);
  if (request.max_tokens == 0) body.fail("max_tokens", std::string("0 leaves nothing to do for ") + search);
  if (request.echo && request.logprobs)
    body.fail("echo", std::string("with logprobs goes not with ") + search);
  if (beams > 1) {
    if (request.penalty_alpha > 0) body.fail("penalty_alpha", "goes not with num_beams: two searches");
    if (request.n > beams) body.fail("n", "of beams is at most num_beams");
    if (!request.stop.empty()) body.fail("stop", "goes not with num_beams: a beam ends at an end id alone");
    request.beams = settings;
  } else {
    if (request.n > 1) body.fail("n", "goes not with penalty_alpha: there is one best sequence");
    if (request.top_k.value_or(0) < 2 || *request.top_k > fields::kMostChoices)
      body.fail("top_k",
                "wanted 2 to " + std::to_string(fields::kMostChoices) + " candidates beside penalty_alpha");
  }
}

void read_any_completion(BodyReader& body, ApiRequest& request) {
  read_stream_options(body, request);
  read_sampling(body, request);
  if (request.endpoint == Endpoint::kCompletions)
    read_completion(body, request);
  else
    read_chat(body, request);
  read_search(body, request);
  if (request.max_tokens && request.min_tokens > *request.max_tokens)
    body.fail("min_tokens", "is above max_tokens " + std::to_string(*request.max_tokens));
  const std::int64_t each = request.beams ? request.beams->beams : request.best_of;
  if (static_cast<std::int64_t>(request.prompt_count()) * each > fields::kMostChoices)
    body.fail(request.beams ? "num_beams" : "n",
              "prompts times choices or beams must be at most " + std::to_string(fields::kMostChoices));
}

}  // namespace

const char* path_of(Endpoint endpoint) {
  switch (endpoint) {
    case Endpoint::kCompletions:
      return "/v1/completions";
    case Endpoint::kChatCompletions:
      return "/v1/chat/completions";
    case Endpoint::kEmbeddings:
      break;
  }
  return "/v1/embeddings";
}

ApiRequest parse_api_request(Endpoint endpoint, std::string_view text) {
  const Json json = parse_body(text);
  BodyReader body(json);
  ApiRequest request;
  request.endpoint = endpoint;
  request.model = body.text("model");
  request.priority = body.integer(fields::kPriority).value_or(0);
  if (endpoint == Endpoint::kEmbeddings)
    read_embedding(body, request);
  else
    read_any_completion(body, request);
  body.ignore({"user", "metadata", "store", "service_tier", "safety_identifier", "prompt_cache_key"});
  body.finish();
  return request;
}

TokenizeBody parse_tokenize_body(std::string_view text) {
  const Json json = parse_body(text);
  BodyReader body(json);
  TokenizeBody wanted;
  if (body.find("messages") != nullptr) {
    wanted.messages = read_messages(body);
    wanted.template_variables = read_template_variables(body, read_tool_list(body));
    wanted.add_generation_prompt = body.boolean("add_generation_prompt").value_or(true);
  } else {
    wanted.text = body.text("prompt");
    if (!wanted.text) body.fail("prompt", "is missing; wanted a text, or messages");
    wanted.add_special = body.boolean("add_special_tokens").value_or(true);
  }
  body.ignore({"model"});
  body.finish();
  return wanted;
}

std::vector<TokenId> parse_detokenize_body(std::string_view text) {
  const Json json = parse_body(text);
  BodyReader body(json);
  if (body.find("tokens") == nullptr) body.fail("tokens", "is missing; wanted token ids");
  std::vector<TokenId> ids = body.token_ids("tokens");
  body.ignore({"model"});
  body.finish();
  return ids;
}

}  // namespace llm_tp
