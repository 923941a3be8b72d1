#pragma once
#include <cstddef>
#include <cstdint>
#include <span>
#include <vector>

#include "base/byte_stream.h"
#include "base/ids.h"
#include "decoding/settings.h"

namespace llm_tp {

/// One step of the processors on the score of one token. Applied in the order of the list by the rank that
/// owns the token, so the result does not depend on how the vocabulary is spread.
struct Adjustment {
  enum class Op : std::int32_t {
    kAdd,        // score + value
    kPenalise,   // score < 0 ? score * value : score / value
    kSet,        // value
    kGrow,       // score + |score| * value
    kForbidAll,  // every token: minus infinity; id is not read
  };
  TokenId id = 0;
  Op op = Op::kAdd;
  float value = 0;
};

/// Which tokens a grammar allows.
enum class MaskKind : std::int32_t {
  kNone,
  kBits,       // bit id % 32 of word id / 32: 1 is allowed
  kAllowed,    // ascending ids
  kForbidden,  // ascending ids
};

enum class WholeKind : std::int32_t { kNone, kLogits, kScores };

/// How one row of the step is to be looked at; sent to every rank with the step plan.
struct RowRequest {
  std::int32_t row = 0;       // of the step's batch; several requests may look at one row
  std::int32_t sequence = 0;  // stream of random draws
  std::int32_t position = 0;  // of the token to be chosen
  SamplingSettings sampling;
  std::int32_t best = 0;        // so many best tokens by logit are reported
  std::int32_t candidates = 0;  // > 0: so many best by processed score are wanted, and none is chosen
  TokenId target = -1;          // >= 0: this token's log-probability is wanted
  WholeKind whole = WholeKind::kNone;
  std::int32_t normalised = 0;  // 1: processors work on log-probabilities instead of logits
  std::int32_t state = 0;       // 1: the last hidden state is wanted
  std::int32_t scored = 1;      // 0: the hidden state alone
  std::int32_t first_adjustment = 0, adjustments = 0;  // run of ScoreList::adjustments
  MaskKind mask = MaskKind::kNone;
  std::int32_t first_mask_word = 0, mask_words = 0;  // run of ScoreList::mask_words

  /// Sampling without truncation: each rank's Gumbel maximum is enough.
  bool samples_freely() const noexcept {
    return candidates == 0 && sampling.samples() && !sampling.truncates() && whole != WholeKind::kScores;
  }
  bool adjusts() const noexcept { return adjustments > 0 || mask != MaskKind::kNone || normalised != 0; }
};

/// The rows of a step that are scored, ascending by row, and what is done to their scores.
struct ScoreList {
  std::vector<RowRequest> rows;
  std::vector<Adjustment> adjustments;
  std::vector<std::uint32_t> mask_words;

  std::span<const Adjustment> adjustments_of(const RowRequest& row) const {
    return std::span(adjustments)
        .subspan(static_cast<std::size_t>(row.first_adjustment), static_cast<std::size_t>(row.adjustments));
  }
  std::span<const std::uint32_t> mask_of(const RowRequest& row) const {
    return std::span(mask_words)
        .subspan(static_cast<std::size_t>(row.first_mask_word), static_cast<std::size_t>(row.mask_words));
  }
  void write(ByteWriter& out) const;
  /// Errors: kBug for a list that does not fit `step_rows` rows.
  static ScoreList read(ByteReader& in, std::size_t step_rows);
};

}  // namespace llm_tp
