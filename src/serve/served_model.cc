#include "serve/served_model.h"

#include <algorithm>
#include <ctime>

#include "base/error.h"
#include "decoding/grammar/frontends.h"
#include "decoding/grammar/grammar_guide.h"
#include "serve/api_error.h"
#include "serve/random_id.h"
#include "serve/tools/tool_grammar.h"

namespace llm_tp {

namespace {

/// The field of a body that holds what the model reads.
const char* prompt_field(Endpoint endpoint) {
  if (endpoint == Endpoint::kChatCompletions) return "messages";
  return endpoint == Endpoint::kEmbeddings ? "input" : "prompt";
}

const char* id_prefix(Endpoint endpoint) {
  if (endpoint == Endpoint::kChatCompletions) return "chatcmpl-";
  return endpoint == Endpoint::kEmbeddings ? "embd-" : "cmpl-";
}

bool contains(const std::vector<TokenId>& ids, TokenId id) {
  return std::find(ids.begin(), ids.end(), id) != ids.end();
}

/// The marks of a style that this tokenizer has as control tokens, which have no text unless asked for.
ToolReading reading_in(const Tokenizer& tokenizer, ToolStyle style) {
  ToolReading reading{style, {}};
  for (const std::string_view mark : tool_marks(style))
    if (const auto id = tokenizer.id_of(mark); id && tokenizer.piece(*id).empty())
      reading.marks.push_back(*id);
  return reading;
}

Grammar form_grammar(const ApiRequest& request) {
  using Form = ApiRequest::Form;
  return request.form == Form::kJsonSchema ? grammar_of_json_schema(request.form_text, "json_schema")
         : request.form == Form::kRegex    ? grammar_of_regex(request.form_text)
         : request.form == Form::kGrammar  ? grammar_of_ebnf(request.form_text, "grammar")
                                           : grammar_of_choices(request.form_texts);
}

/// "/models/llama/" and "dummy:/models/llama" are both "llama".
std::string last_part(std::string path) {
  while (path.size() > 1 && path.back() == '/') path.pop_back();
  return path.substr(path.find_last_of("/:") + 1);
}

}  // namespace

ServedModel::ServedModel(const ModelFiles& files, std::int64_t most_positions, ToolFormat tool_format,
                         std::string name)
    : files_(files),
      name_(name.empty() ? last_part(files.name) : std::move(name)),
      most_positions_(most_positions),
      tool_format_(tool_format) {
  if (!files.tokenizer) return;
  const Tokenizer& tokenizer = *files.tokenizer;
  if (const auto id = tokenizer.begin_id()) template_options_.bos_token = tokenizer.piece(*id, true);
  if (const auto ids = tokenizer.end_ids(); !ids.empty())
    template_options_.eos_token = tokenizer.piece(ids[0], true);
  const auto source = tokenizer.chat_template();
  try {
    if (source) template_ = std::make_unique<ChatTemplate>(*source);
  } catch (const Error& error) {
    template_error_ = std::string("the model's chat template cannot be used: ") + error.what();
  }
  if (template_) reading_ = reading_in(tokenizer, tool_style_of(tool_format, *source));
}

const Tokenizer& ServedModel::tokenizer_for(const char* field) const {
  if (files_.tokenizer) return *files_.tokenizer;
  throw ApiError(400, std::string(field) + ": this model has no tokenizer; send token ids", field);
}

void ServedModel::check_ids(const std::vector<TokenId>& ids, const char* field) const {
  for (TokenId id : ids)
    if (id < 0 || id >= vocabulary())
      throw ApiError(400,
                     std::string(field) + ": token id " + std::to_string(id) +
                         " is outside the vocabulary: wanted 0 to " + std::to_string(vocabulary() - 1),
                     field);
}

std::vector<TokenId> ServedModel::encode(const std::string& text, bool add_special, const char* field) const {
  return tokenizer_for(field).encode(text, add_special);
}

std::string ServedModel::decode(const std::vector<TokenId>& ids) const {
  const Tokenizer& tokenizer = tokenizer_for("tokens");
  check_ids(ids, "tokens");
  return tokenizer.decode(ids);
}

std::vector<TokenId> ServedModel::encode_chat(const std::string& messages, const std::string& variables,
                                              bool generate, std::string* text) const {
  const Tokenizer& tokenizer = tokenizer_for("messages");
  if (!template_)
    throw ApiError(
        400,
        template_error_.empty() ? "this model has no chat template; use /v1/completions" : template_error_,
        "messages");
  ChatOptions options = template_options_;
  options.add_generation_prompt = generate;
  try {
    const std::string rendered = template_->render(messages, options, variables);
    if (text != nullptr) *text = rendered;
    return tokenizer.encode(rendered, false);  // the template writes the begin token itself
  } catch (const Error& error) {
    throw ApiError(400, std::string("messages: the chat template refuses them: ") + error.what(), "messages");
  }
}

void ServedModel::check_length(Endpoint endpoint, std::int64_t length, bool goes_on) const {
  const std::int64_t room = most_positions_ - length;
  if (room < 0 || (room == 0 && goes_on))
    throw ApiError(400,
                   "the prompt has " + std::to_string(length) + " tokens, the context " +
                       std::to_string(most_positions_) + ": shorten the prompt",
                   prompt_field(endpoint), "context_length_exceeded");
}

Request ServedModel::request_of(const ApiRequest& request, std::int64_t prompt_length,
                                std::uint64_t seed) const {
  Request made;
  if (request.endpoint == Endpoint::kEmbeddings) {
    check_length(request.endpoint, prompt_length, false);
    made.max_tokens = 0;
    made.embedding = request.embedding;
    return made;
  }
  const GenerationDefaults& defaults = files_.generation;
  GenerationConfig wanted;
  wanted.temperature = request.temperature;
  // As OpenAI's API says: 1 unless asked for. What the model's files recommend comes before that.
  if (!wanted.temperature && !defaults.do_sample.value_or(false)) wanted.temperature = 1;
  // Searches compare; they do not draw.
  if (request.beams) wanted.num_beams = request.beams->beams, wanted.temperature = 0;
  if (request.penalty_alpha > 0) wanted.penalty_alpha = request.penalty_alpha, wanted.temperature = 0;
  wanted.top_k = request.top_k;
  wanted.top_p = request.top_p;
  wanted.min_p = request.min_p;
  wanted.typical_p = request.typical_p;
  wanted.repetition_penalty = request.repetition_penalty;
  std::string unused;
  const GenerationConfig settings = with_defaults(wanted, defaults, unused);

  made.sampling = sampling_of(settings);
  made.sampling.seed = request.seed ? static_cast<std::uint64_t>(*request.seed) : seed;
  ProcessorSettings& processors = made.processors;
  processors.presence_penalty = static_cast<float>(request.presence_penalty);
  processors.frequency_penalty = static_cast<float>(request.frequency_penalty);
  processors.repetition_penalty = static_cast<float>(settings.repetition_penalty.value_or(1));
  processors.no_repeat_ngram_size = static_cast<std::int32_t>(settings.no_repeat_ngram_size.value_or(0));
  processors.suppress = settings.suppress_tokens;
  processors.begin_suppress = settings.begin_suppress_tokens;
  processors.bad_words = defaults.bad_words_ids;
  for (const auto& [id, bias] : request.logit_bias) processors.sequence_bias.push_back({{id}, bias});

  check_length(request.endpoint, prompt_length, request.max_tokens.value_or(1) > 0);
  const std::int64_t room = most_positions_ - prompt_length;
  made.max_tokens = static_cast<std::int32_t>(std::min(room, request.max_tokens.value_or(room)));
  made.min_tokens = static_cast<std::int32_t>(std::min<std::int64_t>(request.min_tokens, made.max_tokens));
  if (!request.ignore_eos) made.end_ids = files_.end_ids;
  made.end_ids.insert(made.end_ids.end(), request.stop_token_ids.begin(), request.stop_token_ids.end());
  made.choices = request.beams ? 1 : static_cast<std::int32_t>(request.best_of);
  made.beams = request.beams;
  if (request.penalty_alpha > 0)
    made.contrastive =
        Request::ContrastiveSearch{request.penalty_alpha, static_cast<std::int32_t>(*request.top_k)};
  made.best = static_cast<std::int32_t>(request.logprobs.value_or(0));
  made.prompt_best = made.best;
  made.score_prompt = request.echo && request.logprobs.has_value();
  return made;
}

std::shared_ptr<Guide> ServedModel::guide_of(const ApiRequest& request,
                                             const std::vector<TokenId>& end_ids) const {
  const bool for_tools = needs_tool_grammar(request.tools);
  if (request.form == ApiRequest::Form::kAny && !for_tools) return nullptr;
  const char* const field = for_tools ? "tools" : "response_format";
  const Tokenizer& tokenizer = tokenizer_for(field);
  try {
    const Grammar grammar = for_tools ? tool_grammar(request.tools, reading_.style) : form_grammar(request);
    // Control tokens and ids that the tokenizer does not have stand for no text.
    std::vector<std::string> pieces(static_cast<std::size_t>(vocabulary()));
    for (TokenId id = 0; id < std::min<std::int64_t>(tokenizer.vocabulary_size(), vocabulary()); ++id)
      pieces[static_cast<std::size_t>(id)] = tokenizer.piece(id, for_tools && contains(reading_.marks, id));
    return make_guide(grammar, field, pieces, end_ids);
  } catch (const Error& error) {
    if (error.code() == ExitCode::kBug) throw;
    throw ApiError(400, error.what(), field);
  }
}

ToolReading ServedModel::reading_of(const ToolRequest& tools) const {
  if (!tools.in_use()) return {};
  if (reading_.style != ToolStyle::kNone) return reading_;
  const char* const why =
      tool_format_ == ToolFormat::kNone ? "are off here (tool_format: none)"
      : !template_
          ? "need a chat template, and this model has none that can be used"
          : "this model's chat template takes none, or has its calls in a form that is not known here";
  throw ApiError(400, std::string("tools: ") + why + "; leave them out", "tools");
}

std::vector<std::string> ServedModel::names() const {
  std::vector<std::string> names{name_};
  for (const ModelFiles::Adapter& adapter : files_.adapters) names.push_back(adapter.name);
  return names;
}

AdapterId ServedModel::adapter_for(const ApiRequest& request) const {
  if (!request.model || *request.model == name()) return kNoAdapter;
  const std::vector<std::string> all = names();
  const auto at = std::find(all.begin() + 1, all.end(), *request.model);
  if (at != all.end()) return static_cast<AdapterId>(at - all.begin() - 1);
  std::string served;
  for (const std::string& known : all) served += (served.empty() ? "\"" : ", \"") + known + "\"";
  throw ApiError(404, "the model \"" + *request.model + "\" is not served here; served: " + served, "model",
                 "model_not_found");
}

Call ServedModel::prepare(ApiRequest request, std::uint64_t seed) const {
  const AdapterId adapter = adapter_for(request);
  check_ids(request.stop_token_ids, "stop_token_ids");
  for (const auto& [id, bias] : request.logit_bias) check_ids({id}, "logit_bias");
  if (!request.stop.empty()) tokenizer_for("stop");
  if (request.dimensions && *request.dimensions != files_.shape.hidden)
    throw ApiError(400,
                   "dimensions: this model's embeddings have " + std::to_string(files_.shape.hidden) +
                       ", found " + std::to_string(*request.dimensions),
                   "dimensions");
  const char* const field = prompt_field(request.endpoint);
  Call call;
  if (request.endpoint == Endpoint::kChatCompletions) {
    call.reading = reading_of(request.tools);
    Call::Prompt prompt;
    prompt.tokens = encode_chat(request.messages, request.template_variables, true, &prompt.text);
    call.prompts.push_back(std::move(prompt));
  }
  for (auto& given : request.prompts) {
    Call::Prompt prompt;
    if (auto* text = std::get_if<std::string>(&given)) {
      prompt.tokens = encode(*text, true, field);
      prompt.text = std::move(*text);
    } else {
      prompt.tokens = std::move(std::get<std::vector<TokenId>>(given));
      check_ids(prompt.tokens, field);
      if (request.echo && files_.tokenizer) prompt.text = files_.tokenizer->decode(prompt.tokens);
    }
    if (prompt.tokens.empty())
      throw ApiError(400, std::string(field) + ": has no tokens; give some text", field);
    call.prompts.push_back(std::move(prompt));
  }
  std::shared_ptr<Guide> guide;  // one for all: the engine's thread alone uses it from then on
  for (const Call::Prompt& prompt : call.prompts) {
    // Choices of one prompt draw differently; a prompt draws the same whatever stands beside it.
    Request one = request_of(request, static_cast<std::int64_t>(prompt.tokens.size()), seed);
    one.prompt = prompt.tokens;
    one.adapter = adapter;
    one.priority = static_cast<std::int32_t>(request.priority);
    if (!guide) guide = guide_of(request, one.end_ids);
    one.guide = guide;
    call.requests.push_back(std::move(one));
  }
  call.id = random_id(id_prefix(request.endpoint));
  call.model = request.model.value_or(name());
  call.created = std::time(nullptr);
  call.request = std::move(request);
  return call;
}

}  // namespace llm_tp
