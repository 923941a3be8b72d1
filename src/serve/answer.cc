#include "serve/answer.h"

#include <algorithm>

#include "serve/embedding_json.h"
#include "serve/logprobs_json.h"

namespace llm_tp {
namespace {

bool is_chat(const Call& call) { return call.request.endpoint == Endpoint::kChatCompletions; }

Json usage_json(const Usage& usage) {
  return {{"prompt_tokens", usage.prompt_tokens},
          {"completion_tokens", usage.completion_tokens},
          {"total_tokens", usage.prompt_tokens + usage.completion_tokens},
          {"prompt_tokens_details", {{"cached_tokens", usage.cached_tokens}}}};
}

Json head(const Call& call, const char* object) {
  return {{"id", call.id}, {"object", object}, {"created", call.created}, {"model", call.model}};
}

ScoredToken scored(const Completion::Token& token) { return {token.id, token.logprob, token.top}; }

Json ids_of(const std::vector<ScoredToken>& tokens) {
  Json ids = Json::array();
  for (const ScoredToken& token : tokens) ids.push_back(token.id);
  return ids;
}

/// A model without a tokenizer answers in ids alone.
bool shows_ids(const Call& call, const ServedModel& model) {
  return call.request.return_token_ids || model.tokenizer() == nullptr;
}

}  // namespace

Answer::Answer(const Call& call, const ServedModel& model)
    : call_(call), model_(model), prompts_(call.prompts.size()) {
  for (std::size_t i = 0; i < call.choices(); ++i) {
    choices_.push_back({Completion(model.tokenizer(), call.request.stop, call.request.include_stop,
                                   call.requests[i / call.choices_each()].min_tokens, call.reading.marks),
                        false,
                        {},
                        0,
                        {}});
    if (call.reading.style != ToolStyle::kNone)
      choices_.back().reply.emplace(call.reading.style, call.request.tools.tools);
  }
}

std::string Answer::Choice::finish_reason() const {
  const std::string reason = completion.finish_reason();
  return reason == "stop" && reply && reply->has_calls() ? "tool_calls" : reason;
}

AnswerPiece Answer::push(std::size_t request, const Progress& progress) {
  AnswerPiece piece;
  piece.choice = call_.choice_of(request, progress);
  Choice& choice = choices_[piece.choice];
  choice.cached_tokens = progress.cached_tokens;
  choice.embedding = progress.row.state;
  const Call::Prompt& prompt = call_.prompts[request];
  std::vector<ScoredToken>& scores = prompts_[request];
  // No row is scored against the first token.
  if (call_.request.echo && call_.request.logprobs && scores.empty())
    scores.push_back({prompt.tokens[0], std::nullopt, {}});
  if (!progress.new_token && progress.row.target_logprob) {
    ScoredToken token{
        prompt.tokens[static_cast<std::size_t>(progress.position) + 1], progress.row.target_logprob, {}};
    for (const Candidate& c : progress.row.best)
      token.top.emplace_back(c.id, c.logit - progress.row.log_sum_exp);
    // Choices that run in parts score it once each, to the same bits.
    if (scores.size() == static_cast<std::size_t>(progress.position) + 1) scores.push_back(std::move(token));
    if (!progress.finished) return piece;
  }
  if (call_.request.echo && !choice.echoed) {
    choice.echoed = true;
    piece.text = prompt.text;
    piece.tokens = scores;
  }
  piece.text += choice.completion.push(progress);
  if (choice.reply) {
    ReplyDelta delta = choice.reply->push(piece.text, choice.completion.finished());
    piece.text = std::move(delta.content);
    piece.calls = std::move(delta.calls);
  }
  if (progress.new_token) piece.tokens.push_back(scored(choice.completion.tokens().back()));
  if (choice.completion.finished()) piece.finish_reason = choice.finish_reason();
  return piece;
}

Usage Answer::usage() const {
  Usage usage;
  for (const Call::Prompt& prompt : call_.prompts)
    usage.prompt_tokens += static_cast<std::int64_t>(prompt.tokens.size());
  // A prompt counts once, however many choices it has.
  for (std::size_t i = 0; i < choices_.size(); i += call_.choices_each())
    usage.cached_tokens += choices_[i].cached_tokens;
  for (const Choice& choice : choices_)
    usage.completion_tokens += static_cast<std::int64_t>(choice.completion.tokens().size());
  return usage;
}

std::vector<std::size_t> Answer::answered() const {
  const std::size_t run = call_.choices_each(), kept = static_cast<std::size_t>(call_.request.n);
  const auto per_token = [&](std::size_t i) {
    const Completion& c = choices_[i].completion;
    return c.tokens().empty() ? 0.0 : c.cumulative_logprob() / static_cast<double>(c.tokens().size());
  };
  std::vector<std::size_t> answered;
  for (std::size_t first = 0; first < choices_.size(); first += run) {
    std::vector<std::size_t> mine;
    for (std::size_t i = first; i < first + run; ++i) mine.push_back(i);
    if (run > kept)
      std::stable_sort(mine.begin(), mine.end(),
                       [&](std::size_t a, std::size_t b) { return per_token(a) > per_token(b); });
    answered.insert(answered.end(), mine.begin(), mine.begin() + static_cast<std::ptrdiff_t>(kept));
  }
  return answered;
}

Json Answer::embeddings() const {
  Json data = Json::array();
  for (const Choice& choice : choices_)
    data.push_back({{"object", "embedding"},
                    {"index", data.size()},
                    {"embedding", call_.request.base64 ? Json(embedding_base64(choice.embedding))
                                                       : embedding_list(choice.embedding)}});
  const std::int64_t tokens = usage().prompt_tokens;
  return {{"object", "list"},
          {"data", std::move(data)},
          {"model", call_.model},
          {"usage", {{"prompt_tokens", tokens}, {"total_tokens", tokens}}}};
}

std::string Answer::body() const {
  if (call_.request.endpoint == Endpoint::kEmbeddings) return to_text(embeddings());
  Json choices = Json::array();
  for (const std::size_t i : answered()) {
    const Choice& choice = choices_[i];
    const Completion& completion = choice.completion;
    std::vector<ScoredToken> tokens = prompts_[i / call_.choices_each()];
    for (const Completion::Token& token : completion.tokens()) tokens.push_back(scored(token));
    Json rendered{{"index", choices.size()}};
    const Json text = completion.has_text() ? Json(completion.text()) : Json();
    std::int64_t offset = 0;
    if (is_chat(call_)) {
      rendered["message"] = choice.reply
                                ? choice.reply->message()
                                : Json{{"role", "assistant"}, {"content", text}, {"refusal", nullptr}};
      rendered["logprobs"] = call_.request.logprobs ? chat_logprobs(tokens, model_.tokenizer()) : Json();
    } else {
      const auto& prompt = call_.prompts[i / call_.choices_each()];
      rendered["text"] =
          completion.has_text() && call_.request.echo ? Json(prompt.text + completion.text()) : text;
      rendered["logprobs"] =
          call_.request.logprobs ? completion_logprobs(tokens, model_.tokenizer(), offset) : Json();
    }
    if (shows_ids(call_, model_)) rendered["token_ids"] = ids_of(tokens);
    rendered["finish_reason"] = choice.finish_reason();
    choices.push_back(std::move(rendered));
  }
  Json body = head(call_, is_chat(call_) ? "chat.completion" : "text_completion");
  body["choices"] = std::move(choices);
  body["usage"] = usage_json(usage());
  return to_text(body);
}

StreamRenderer::StreamRenderer(const Call& call, const ServedModel& model)
    : call_(call), model_(model), offsets_(call.choices(), 0) {}

std::vector<std::string> StreamRenderer::opening() const {
  std::vector<std::string> chunks;
  if (!is_chat(call_)) return chunks;
  for (std::size_t i = 0; i < offsets_.size(); ++i) {
    Json chunk = head(call_, "chat.completion.chunk");
    chunk["choices"] = Json::array({{{"index", i},
                                     {"delta", {{"role", "assistant"}, {"content", ""}}},
                                     {"logprobs", nullptr},
                                     {"finish_reason", nullptr}}});
    chunks.push_back(to_text(chunk));
  }
  return chunks;
}

std::optional<std::string> StreamRenderer::chunk(const AnswerPiece& piece) {
  const bool with_logprobs = call_.request.logprobs.has_value() && !piece.tokens.empty();
  const bool with_ids = shows_ids(call_, model_) && !piece.tokens.empty();
  if (piece.text.empty() && piece.calls.empty() && piece.finish_reason.empty() && !with_logprobs && !with_ids)
    return std::nullopt;
  Json choice{{"index", piece.choice}};
  if (is_chat(call_)) {
    choice["delta"] = piece.text.empty() ? Json::object() : Json{{"content", piece.text}};
    if (!piece.calls.empty()) choice["delta"]["tool_calls"] = calls_json(piece.calls);
    choice["logprobs"] = with_logprobs ? chat_logprobs(piece.tokens, model_.tokenizer()) : Json();
  } else {
    choice["text"] = piece.text;
    choice["logprobs"] = with_logprobs
                             ? completion_logprobs(piece.tokens, model_.tokenizer(), offsets_[piece.choice])
                             : Json();
  }
  if (with_ids) choice["token_ids"] = ids_of(piece.tokens);
  choice["finish_reason"] = piece.finish_reason.empty() ? Json() : Json(piece.finish_reason);
  Json chunk = head(call_, is_chat(call_) ? "chat.completion.chunk" : "text_completion");
  chunk["choices"] = Json::array({std::move(choice)});
  return to_text(chunk);
}

std::string StreamRenderer::usage(const Usage& usage) const {
  Json chunk = head(call_, is_chat(call_) ? "chat.completion.chunk" : "text_completion");
  chunk["choices"] = Json::array();
  chunk["usage"] = usage_json(usage);
  return to_text(chunk);
}

}  // namespace llm_tp
