#pragma once
#include <cstdint>
#include <limits>
#include <span>
#include <vector>

#include "base/tensor.h"
#include "decoding/best_of.h"
#include "decoding/exp_sum.h"
#include "decoding/score_list.h"

namespace llm_tp {

/// What is known of one scored row from one part of the vocabulary.
struct RowCandidates {
  std::vector<Candidate> best;     // by score, with every tie of the last one, without forbidden ones
  bool all = false;                // best holds every token of the part that is allowed, for sure
  std::vector<Candidate> top;      // RowRequest::best of them, by logit
  std::vector<ExpSum> logit_sums;  // a run of `rows_per_sum` each, of the model's logits
  std::vector<ExpSum> score_sums;  // of scores / temperature, where they are needed and differ
  Candidate drawn;                 // samples_freely: the Gumbel maximum; id -1 where the part has no rows
  double drawn_key = 0;            // score / temperature + gumbel
  Candidate target;                // id -1 where the target is not in the part
  std::vector<float> whole;        // logits, where they are wanted
};

/// Looks at a part of one row: reports the logits, then applies the processors' adjustments and the mask to
/// the scores, and finds the candidates. Keeps room between calls. Not thread-safe.
class CandidateFinder {
 public:
  explicit CandidateFinder(std::int64_t rows_per_sum) : rows_per_sum_(rows_per_sum) {}
  std::vector<ExpSum> sums(std::span<const float> scores, float scale) const;
  /// logits: of the tokens [part.begin, part.end), part.begin a multiple of rows_per_sum. normaliser:
  /// log-sum-exp of the whole row's logits, read where the row is `normalised`. most: so many of the best are
  /// wanted.
  RowCandidates read(Range part, std::span<const float> logits, const ScoreList& list,
                     const RowRequest& request, double normaliser, std::int64_t most);

 private:
  void adjust(Range part, std::span<const float> logits, const ScoreList& list, const RowRequest& request,
              double normaliser);

  std::int64_t rows_per_sum_;
  std::vector<float> scores_;
};

/// score / temperature + gumbel, of which the largest is drawn.
double gumbel_key(const RowRequest& request, TokenId id, float score) noexcept;

inline constexpr std::int64_t kAllCandidates = std::numeric_limits<std::int64_t>::max();

/// How many of the best tokens each rank sends in a round of questions about a row, 0 the first: more in each
/// round until they decide, all in the last.
std::int64_t candidates_in_round(const RowRequest& request, int round) noexcept;

/// Whether choose() may find the candidates of this round to be too few.
bool may_need_another_round(const RowRequest& request, int round) noexcept;

std::vector<std::byte> to_bytes(const std::vector<RowCandidates>& rows);
std::vector<RowCandidates> candidates_from_bytes(std::span<const std::byte> bytes);

}  // namespace llm_tp
