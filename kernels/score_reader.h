#pragma once
#include <cstdint>
#include <optional>
#include <span>
#include <vector>

#include "base/philox.h"
#include "base/scores.h"
#include "base/tensor.h"

namespace llm_tp {

/// What is to be found in one row of logits and in its scores, which are the logits after these changes, in
/// this order: the normaliser is taken from each (in double, rounded once), the adjustments, the mask. Ids
/// are the vocabulary's; those of other ranks are passed over. What the spans point to outlives the call.
struct RowQuestion {
  std::int32_t row = 0;  // of the logits; several questions may look at one row
  std::optional<double> normaliser;
  std::span<const Adjustment> adjustments;
  MaskKind mask = MaskKind::kNone;
  std::span<const std::uint32_t> mask_words;

  float score_sum_scale = 0;  // > 0: sums of exp(scores * scale) are wanted, besides those of the logits
  std::int64_t top = 0;       // so many best by logit are wanted
  std::int64_t best = 0;      // and so many best by score
  std::optional<DrawStream> draws;  // the Gumbel maximum of score * draw_scale is wanted
  double draw_scale = 1;
  TokenId target = -1;  // whose logit is wanted

  bool adjusts() const noexcept {
    return normaliser.has_value() || !adjustments.empty() || mask != MaskKind::kNone;
  }
};

struct RowAnswer {
  bool complete = false;                       // false: nothing below holds, the host is to read the row
  std::vector<ExpSum> logit_sums, score_sums;  // of each run, the bits of exp_sum()
  std::vector<Candidate> top, best;  // in order, with every tie of the last; of best not what is forbidden
  Candidate drawn;                   // of the first of the largest keys; id -1 where nothing is allowed
  float target_logit = 0;            // where the target is of this part
};

/// Reads rows of scores where they lie, in a device's memory, with the results to the bit that the host's
/// threads have. What it cannot decide in the room it has, or for sure, it leaves to the host: lists longer
/// than kMostCandidates or with too many ties, rows with NaN, draws whose two largest keys are too near to be
/// told apart. One thread.
class ScoreReader {
 public:
  static constexpr std::int64_t kMostCandidates = 4096;

  virtual ~ScoreReader() = default;
  /// logits [S, part.size()] f32 in the device's memory: of the tokens of `part`, which begins at a multiple
  /// of `run`, the rows of a sum, itself a multiple of 16. An answer for each question, all work done.
  virtual std::vector<RowAnswer> read(TensorView logits, Range part, std::int64_t run,
                                      std::span<const RowQuestion> questions) = 0;
};

}  // namespace llm_tp
