#include "serve/logprobs_json.h"

#include <algorithm>

#include "text/utf8.h"

namespace llm_tp {
namespace {

std::string bytes_of(TokenId id, const Tokenizer* tokenizer) {
  return tokenizer != nullptr ? tokenizer->piece(id, true) : "token_id:" + std::to_string(id);
}

std::int64_t characters(const std::string& text) {
  return std::count_if(text.begin(), text.end(),
                       [](char c) { return (static_cast<unsigned char>(c) & 0xC0) != 0x80; });
}

Json chat_token(TokenId id, double logprob, const Tokenizer* tokenizer) {
  const std::string bytes = bytes_of(id, tokenizer);
  Json list = Json::array();
  for (const char c : bytes) list.push_back(static_cast<unsigned char>(c));
  return {{"token", repaired_utf8(bytes)}, {"logprob", logprob}, {"bytes", std::move(list)}};
}

}  // namespace

Json completion_logprobs(const std::vector<ScoredToken>& tokens, const Tokenizer* tokenizer,
                         std::int64_t& offset) {
  Json texts = Json::array(), logprobs = Json::array(), tops = Json::array(), offsets = Json::array();
  for (const ScoredToken& token : tokens) {
    const std::string text = repaired_utf8(bytes_of(token.id, tokenizer));
    texts.push_back(text);
    offsets.push_back(offset);
    offset += characters(text);
    if (!token.logprob) {
      logprobs.push_back(nullptr);
      tops.push_back(nullptr);
      continue;
    }
    logprobs.push_back(*token.logprob);
    // Tokens whose bytes are part of a character may share a text: the likeliest of them stays.
    Json top = Json::object();
    for (const auto& [id, logprob] : token.top) top.emplace(repaired_utf8(bytes_of(id, tokenizer)), logprob);
    top.emplace(text, *token.logprob);
    tops.push_back(std::move(top));
  }
  return {{"tokens", std::move(texts)},
          {"token_logprobs", std::move(logprobs)},
          {"top_logprobs", std::move(tops)},
          {"text_offset", std::move(offsets)}};
}

Json chat_logprobs(const std::vector<ScoredToken>& tokens, const Tokenizer* tokenizer) {
  Json content = Json::array();
  for (const ScoredToken& token : tokens) {
    Json entry = chat_token(token.id, token.logprob.value_or(0), tokenizer);
    Json top = Json::array();
    for (const auto& [id, logprob] : token.top) top.push_back(chat_token(id, logprob, tokenizer));
    entry["top_logprobs"] = std::move(top);
    content.push_back(std::move(entry));
  }
  return {{"content", std::move(content)}, {"refusal", nullptr}};
}

}  // namespace llm_tp
