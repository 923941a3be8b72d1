#pragma once
#include <cstddef>
#include <cstdint>
#include <span>
#include <vector>

#include "base/byte_stream.h"
#include "base/philox.h"
#include "base/scores.h"
#include "decoding/settings.h"

namespace llm_tp {

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
  DrawStream draws() const noexcept { return {sampling.seed, sequence, position}; }
  /// Of the sums of processed scores, where such are needed and are not the logits' own; else 0.
  float score_sum_scale() const noexcept {
    const float scale = sampling.samples() ? 1.0f / sampling.temperature : 1.0f;
    const bool needed =
        sampling.samples() || sampling.renormalise != 0 || (candidates > 0 && normalised == 0);
    return needed && !samples_freely() && (adjusts() || scale != 1.0f) ? scale : 0.0f;
  }
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
