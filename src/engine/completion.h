#pragma once
#include <optional>
#include <string>
#include <vector>

#include "decoding/sampler.h"
#include "schedule/scheduler.h"
#include "text/stream_decoder.h"
#include "text/tokenizer.h"

namespace llm_tp {

/// Finds the first of several stop strings in text that comes in pieces; text that may still become one is
/// held back.
class StopMatcher {
 public:
  StopMatcher(std::vector<std::string> stops, bool include_stop)
      : stops_(std::move(stops)), include_stop_(include_stop) {}
  /// Text that is sure to belong to the answer. After a match: empty.
  std::string push(const std::string& piece);
  /// What was held back, at the end of the stream.
  std::string finish();
  bool matched() const noexcept { return matched_; }

 private:
  std::vector<std::string> stops_;
  bool include_stop_;
  bool matched_ = false;
  std::string held_;
};

/// The answer to one request as it grows: ids, text, log-probabilities.
class Completion {
 public:
  struct Token {
    TokenId id;
    double logprob;
    std::vector<std::pair<TokenId, double>> top;
  };
  /// tokenizer may be null: then there is no text and no stop string. Stop strings are looked for in the text
  /// of the tokens after the first min_tokens. The control tokens `shown` have a text.
  Completion(const Tokenizer* tokenizer, std::vector<std::string> stops, bool include_stop,
             std::int32_t min_tokens = 0, std::vector<TokenId> shown = {});
  /// Takes one new token; after a stop string or the end it is passed over. Returns the text that became
  /// sure. stopped() may be true afterwards: cancel the choice then.
  std::string push(const Progress& progress);
  bool stopped() const noexcept { return matcher_.matched(); }
  bool finished() const noexcept { return finish_.has_value(); }

  const std::vector<Token>& tokens() const noexcept { return tokens_; }
  const std::string& text() const noexcept { return text_; }
  bool has_text() const noexcept { return tokenizer_ != nullptr; }
  double cumulative_logprob() const noexcept { return cumulative_; }
  /// Of a beam.
  std::optional<double> score() const noexcept { return score_; }
  /// "stop", "length", or "error" where no token was allowed
  const char* finish_reason() const noexcept;

 private:
  const Tokenizer* tokenizer_;
  std::optional<StreamDecoder> decoder_;
  StopMatcher matcher_;
  std::size_t min_tokens_;
  std::vector<Token> tokens_;
  std::string text_;
  double cumulative_ = 0;
  std::optional<double> score_;
  std::optional<FinishReason> finish_;
};

}  // namespace llm_tp
