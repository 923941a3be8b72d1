#pragma once
#include <algorithm>
#include <cstdint>
#include <span>
#include <vector>

#include "decoding/candidates.h"
#include "kernels/device.h"

namespace llm_tp {

/// A rank's logits of scored rows [rows.size(), its part of the vocabulary] in its device's memory.
struct LogitRows {
  TensorView logits;
  std::span<const std::int32_t> rows;  // of the step, ascending

  std::int64_t index_of(std::int32_t row) const {
    return std::lower_bound(rows.begin(), rows.end(), row) - rows.begin();
  }
};

/// What a rank finds in its part of the vocabulary: by its device where that can read rows, else, and where
/// that leaves a row undecided, by all threads of the host; the same to the bit. One thread calls.
class PartReader {
 public:
  /// part: this rank's of `vocabulary` rows.
  PartReader(DeviceBackend& ops, Range part, std::int64_t vocabulary);
  /// Sums of the logits of those requests that are `normalised`; of the others nothing.
  std::vector<std::vector<ExpSum>> sums(std::span<const RowRequest> requests, const LogitRows& logits);
  /// Candidates of requests[i] for each i of `open`: of each as many RowCandidates as of any other, one after
  /// the other. To choose() each is what another rank's candidates are, so the outcome does not depend on
  /// their number. normaliser: of each request.
  std::vector<RowCandidates> read(const ScoreList& list, std::span<const RowRequest> requests,
                                  std::span<const std::uint32_t> open, std::span<const double> normaliser,
                                  int round, const LogitRows& logits);

 private:
  struct OpenRow {
    std::size_t request, place;  // in what read() gives back
  };
  /// Takes the rows that the device decides from `open`.
  void read_on_device(const ScoreList& list, std::span<const RowRequest> requests,
                      std::span<const double> normaliser, int round, const LogitRows& logits,
                      std::vector<OpenRow>& open, std::span<RowCandidates> found);

  DeviceBackend& ops_;
  Range part_;
  std::int64_t run_;                      // rows of a sum
  std::vector<CandidateFinder> finders_;  // of each thread
};

}  // namespace llm_tp
