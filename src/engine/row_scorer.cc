#include "engine/row_scorer.h"

#include <algorithm>
#include <cstring>
#include <utility>

#include "base/byte_stream.h"
#include "model/shard_plan.h"

namespace llm_tp {

RowScorer::RowScorer(Communicator& ranks, ControlChannel& control, Range vocabulary_rows,
                     std::int64_t vocabulary)
    : ranks_(ranks),
      control_(control),
      vocabulary_(vocabulary),
      reader_(vocabulary_rows, vocabulary_unit(vocabulary)) {}

/// Log-sum-exp of the logits of those rows whose processors work on log-probabilities: all ranks need it
/// before they can apply them.
std::vector<double> RowScorer::normalisers(std::span<const RowRequest> requests, const LogitsOf& logits_of) {
  std::vector<double> values(requests.size(), 0.0);
  if (std::none_of(requests.begin(), requests.end(), [](const RowRequest& r) { return r.normalised != 0; }))
    return values;
  ByteWriter mine;
  for (const RowRequest& r : requests)
    if (r.normalised != 0) mine.list(reader_.sums(logits_of(r.row), 1.0f));
  const auto gathered = ranks_.gather(mine.take());
  std::vector<ByteReader> readers;
  for (const auto& bytes : gathered) readers.emplace_back(bytes);
  for (std::size_t i = 0; i < requests.size() && ranks_.rank() == 0; ++i) {
    if (requests[i].normalised == 0) continue;
    std::vector<std::vector<ExpSum>> runs;
    for (ByteReader& reader : readers) runs.push_back(reader.list<ExpSum>());
    const std::vector<std::span<const ExpSum>> views(runs.begin(), runs.end());
    values[i] = merge_sums(views, 1.0).log_sum_exp;
  }
  std::vector<std::byte> message(values.size() * sizeof(double));
  std::memcpy(message.data(), values.data(), message.size());
  control_.broadcast(message);
  std::memcpy(values.data(), message.data(), message.size());
  return values;
}

std::vector<RowResult> RowScorer::score(const ScoreList& list, std::size_t begin, std::size_t end,
                                        const LogitsOf& logits_of) {
  const auto requests = std::span(list.rows).subspan(begin, end - begin);
  const std::vector<double> normaliser = normalisers(requests, logits_of);
  const bool second_round = std::any_of(requests.begin(), requests.end(), may_need_everything);
  std::vector<std::uint8_t> everything(requests.size(), 0);
  std::vector<RowResult> results;
  while (true) {
    std::vector<RowCandidates> mine;
    for (std::size_t i = 0; i < requests.size(); ++i)
      mine.push_back(
          reader_.read(logits_of(requests[i].row), list, requests[i], normaliser[i], everything[i] != 0));
    const auto gathered = ranks_.gather(to_bytes(mine));
    bool undecided = false;
    if (ranks_.rank() == 0) {
      std::vector<std::vector<RowCandidates>> by_rank;
      for (const auto& bytes : gathered) by_rank.push_back(candidates_from_bytes(bytes));
      results.assign(requests.size(), {});
      for (std::size_t i = 0; i < requests.size(); ++i) {
        std::vector<RowCandidates> row;
        for (auto& rank : by_rank) row.push_back(std::move(rank[i]));
        auto chosen = choose(requests[i], row, vocabulary_);
        if (chosen)
          results[i] = std::move(*chosen);
        else
          everything[i] = 1, undecided = true;
      }
    }
    if (!second_round) return results;
    std::vector<std::byte> message(everything.size() + 1);
    message[0] = std::byte(undecided ? 1 : 0);
    std::memcpy(message.data() + 1, everything.data(), everything.size());
    control_.broadcast(message);
    if (message[0] == std::byte{0}) return results;
    std::memcpy(everything.data(), message.data() + 1, everything.size());
  }
}

}  // namespace llm_tp
