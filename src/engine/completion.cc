#include "engine/completion.h"

#include <algorithm>
#include <utility>

namespace llm_tp {

std::string StopMatcher::push(const std::string& piece) {
  if (matched_) return {};
  held_ += piece;
  std::size_t first = std::string::npos, length = 0;
  for (const std::string& stop : stops_)
    if (const std::size_t at = held_.find(stop); at < first) first = at, length = stop.size();
  if (first != std::string::npos) {
    matched_ = true;
    return held_.substr(0, first + (include_stop_ ? length : 0));
  }
  // The longest end of the text that is the beginning of a stop string may still become one.
  std::size_t keep = 0;
  for (const std::string& stop : stops_)
    for (std::size_t n = std::min(stop.size() - 1, held_.size()); n > keep; --n)
      if (held_.compare(held_.size() - n, n, stop, 0, n) == 0) keep = n;
  std::string sure = held_.substr(0, held_.size() - keep);
  held_.erase(0, sure.size());
  return sure;
}

std::string StopMatcher::finish() { return matched_ ? std::string() : std::exchange(held_, {}); }

Completion::Completion(const Tokenizer* tokenizer, std::vector<std::string> stops, bool include_stop,
                       std::int32_t min_tokens, std::vector<TokenId> shown)
    : tokenizer_(tokenizer),
      matcher_(std::move(stops), include_stop),
      min_tokens_(static_cast<std::size_t>(min_tokens)) {
  if (tokenizer != nullptr) decoder_.emplace(*tokenizer, std::move(shown));
}

std::string Completion::push(const Progress& progress) {
  std::string sure;
  if (finish_) return sure;  // tokens of the same step, behind the stop string
  if (progress.new_token) {
    Token token{progress.row.token, progress.row.logprob, {}};
    for (const Candidate& c : progress.row.best)
      token.top.emplace_back(c.id, c.logit - progress.row.log_sum_exp);
    cumulative_ += token.logprob;
    tokens_.push_back(std::move(token));
    // The end id belongs to the tokens, not to the text.
    const bool ends = progress.finished == FinishReason::kStop;
    if (decoder_ && !ends) {
      const std::string piece = decoder_->push(progress.row.token);
      sure = tokens_.size() <= min_tokens_ ? piece : matcher_.push(piece);
    }
  }
  finish_ = progress.finished;
  score_ = progress.score;
  if (matcher_.matched()) finish_ = FinishReason::kStop;
  if (finish_ && decoder_) {
    sure += matcher_.push(decoder_->finish());
    sure += matcher_.finish();
  }
  text_ += sure;
  return sure;
}

const char* Completion::finish_reason() const noexcept {
  if (finish_ == FinishReason::kError) return "error";
  return finish_ == FinishReason::kLength ? "length" : "stop";
}

}  // namespace llm_tp
