#pragma once
#include <span>
#include <vector>

#include "comm/communicator.h"
#include "comm/control_channel.h"
#include "decoding/sampler.h"
#include "engine/part_reader.h"
#include "engine/rank_report.h"
#include "kernels/device.h"

namespace llm_tp {

/// Turns the logits of scored rows, spread over the ranks by vocabulary rows, into results on rank 0: every
/// rank reads its own part and sends a few candidates. Where those cannot decide a row, rank 0 asks for more
/// of them. All ranks call it with the same list. One thread calls.
class RowScorer {
 public:
  /// vocabulary_rows: this rank's; of `vocabulary` in all. book, which must outlive this: the ranks' accounts
  /// travel with their candidates.
  RowScorer(DeviceBackend& ops, Communicator& ranks, ControlChannel& control, RankBook& book,
            Range vocabulary_rows, std::int64_t vocabulary);
  /// The requests [begin, end) of the list, which look at these logits. On rank 0: a result for each, without
  /// states. Elsewhere: empty.
  std::vector<RowResult> score(const ScoreList& list, std::size_t begin, std::size_t end,
                               const LogitRows& logits);

 private:
  std::vector<double> normalisers(std::span<const RowRequest> requests, const LogitRows& logits);
  std::vector<std::uint32_t> choose_rows(std::span<const RowRequest> requests,
                                         std::span<const std::uint32_t> open,
                                         std::vector<std::vector<RowCandidates>> by_rank,
                                         std::vector<RowResult>& results) const;
  /// What the ranks sent, in rank order; on rank 0 their accounts are noted.
  std::vector<std::vector<RowCandidates>> gather(const std::vector<RowCandidates>& mine);
  std::vector<std::uint32_t> broadcast(std::vector<std::uint32_t> rows);

  Communicator& ranks_;
  ControlChannel& control_;
  RankBook& book_;
  std::int64_t vocabulary_;
  PartReader part_;
};

}  // namespace llm_tp
