#pragma once
#include <cstdint>
#include <optional>
#include <span>
#include <vector>

#include "base/ids.h"
#include "decoding/sampler.h"
#include "decoding/score_list.h"

namespace llm_tp {

using SequenceId = std::int64_t;

/// kStop: the last token is an end id. kComplete: nothing may follow the last token in the grammar. kError:
/// no token was allowed (processors or a grammar forbade all of them).
enum class FinishReason { kStop, kLength, kCancelled, kComplete, kError };

/// Which of the group's models a sequence belongs to; each has its own KV pages.
enum class ModelSlot : std::int32_t { kMain, kDraft };

/// The sequences of one request, as its strategy sees them; the scheduler keeps the KV pages behind. Tokens
/// that were appended are run in the following steps.
class SequenceSet {
 public:
  virtual ~SequenceSet() = default;
  virtual SequenceId start(ModelSlot model, std::vector<TokenId> tokens) = 0;
  /// A sequence with the same tokens and the same pages; what either writes later is its own.
  virtual SequenceId fork(SequenceId from) = 0;
  virtual void append(SequenceId id, std::span<const TokenId> tokens) = 0;
  /// Forgets all tokens but the first `length`, and their keys and values.
  virtual void cut(SequenceId id, std::int32_t length) = 0;
  virtual void drop(SequenceId id) = 0;
  virtual const std::vector<TokenId>& tokens(SequenceId id) const = 0;
};

/// What a strategy tells whoever asked, in order: one token of one choice, or one scored prompt row.
struct Output {
  std::int32_t choice = 0;
  std::int32_t position = 0;  // of the row that was scored
  RowResult row;
  bool new_token = false;                // row.token was appended to the choice
  std::optional<FinishReason> finished;  // with the last one
  std::optional<double> score;           // beams: of the whole sequence, with the last one
};

/// What decoding cost and gained, summed up over requests.
struct StrategyFigures {
  std::int64_t drafted = 0, accepted = 0;  // speculation: tokens proposed, and right
  std::int64_t verifications = 0;          // rows whose drafts were looked at: tokens per step follow
  std::int64_t verified_tokens = 0;        // tokens those gave
  void add(const StrategyFigures& other) noexcept {
    drafted += other.drafted, accepted += other.accepted;
    verifications += other.verifications, verified_tokens += other.verified_tokens;
  }
};

/// Decides how a request's sequences go on. One object a request. Called on rank 0 by one thread, in this
/// order: begin; then for each step want() for every row of its sequences, take() for every request that
/// want() appended, in the same order, and advance() once none of its sequences has tokens left to run.
class Strategy {
 public:
  virtual ~Strategy() = default;
  virtual void begin(SequenceSet& sequences) = 0;
  /// Appends the requests for one row of the next step: `position` of sequence `id` is row `row`.
  virtual void want(const SequenceSet& sequences, SequenceId id, std::int32_t position, std::int32_t row,
                    ScoreList& list) = 0;
  virtual void take(SequenceId id, std::int32_t position, RowResult result, std::vector<Output>& out) = 0;
  virtual void advance(SequenceSet& sequences, std::vector<Output>& out) = 0;
  /// The caller wants no more of one choice.
  virtual void stop(SequenceSet& sequences, std::int32_t choice) = 0;
  virtual bool finished() const = 0;
  /// Sequences of the main model that it may still have at the same time.
  virtual std::int32_t most_sequences() const = 0;
  virtual StrategyFigures figures() const { return {}; }
};

}  // namespace llm_tp
