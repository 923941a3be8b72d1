#pragma once
#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "engine/completion.h"
#include "serve/json_text.h"
#include "serve/served_model.h"

namespace llm_tp {

/// A token as log-probabilities report it.
struct ScoredToken {
  TokenId id = 0;
  std::optional<double> logprob;  // none for the first of a prompt
  std::vector<std::pair<TokenId, double>> top;
};

/// What one step added to one choice.
struct AnswerPiece {
  std::size_t choice = 0;
  std::string text;
  std::vector<ToolCallDelta> calls;  // of tools
  std::vector<ScoredToken> tokens;
  std::string finish_reason;  // empty: it goes on
};

struct Usage {
  std::int64_t prompt_tokens = 0, completion_tokens = 0, cached_tokens = 0;
};

/// Collects the choices of one call. One thread at a time: the engine's while it runs, then the one that
/// renders.
class Answer {
 public:
  Answer(const Call& call, const ServedModel& model);
  /// What the progress of one of the call's requests added; its text may be empty. finished(piece.choice) may
  /// be true afterwards: that choice needs no more progress.
  AnswerPiece push(std::size_t request, const Progress& progress);
  bool finished(std::size_t choice) const { return choices_[choice].completion.finished(); }
  Usage usage() const;
  /// The whole answer as HTTP gives it, once every choice is finished.
  std::string body() const;

 private:
  struct Choice {
    Completion completion;
    bool echoed = false;
    std::vector<float> embedding;
    std::int64_t cached_tokens = 0;
    std::optional<ToolReply> reply;  // where calls of tools are read

    std::string finish_reason() const;
  };
  Json embeddings() const;
  /// The choices that are answered, in order: the best n of each prompt.
  std::vector<std::size_t> answered() const;

  const Call& call_;
  const ServedModel& model_;
  std::vector<std::vector<ScoredToken>> prompts_;  // where they are echoed with log-probabilities
  std::vector<Choice> choices_;                    // of the first prompt, then of the next
};

/// Renders a stream of one call: the data of server-sent events.
class StreamRenderer {
 public:
  StreamRenderer(const Call& call, const ServedModel& model);
  /// Chunks that stand before the first piece: the role of each choice of a chat.
  std::vector<std::string> opening() const;
  /// Nothing for a piece that says nothing.
  std::optional<std::string> chunk(const AnswerPiece& piece);
  std::string usage(const Usage& usage) const;

 private:
  const Call& call_;
  const ServedModel& model_;
  std::vector<std::int64_t> offsets_;  // characters of each choice's text so far, for text_offset
};

}  // namespace llm_tp
