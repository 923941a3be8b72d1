#include "engine/row_scorer.h"

#include <algorithm>
#include <cstring>
#include <numeric>
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
  std::vector<RowResult> results(ranks_.rank() == 0 ? requests.size() : 0);
  std::vector<std::uint32_t> open(requests.size());
  std::iota(open.begin(), open.end(), 0u);
  for (int round = 0; !open.empty(); ++round) {
    std::vector<RowCandidates> mine;
    for (const std::uint32_t i : open)
      mine.push_back(reader_.read(logits_of(requests[i].row), list, requests[i], normaliser[i],
                                  candidates_in_round(requests[i], round)));
    const auto gathered = ranks_.gather(to_bytes(mine));
    const bool last = std::none_of(open.begin(), open.end(), [&](std::uint32_t i) {
      return may_need_another_round(requests[i], round);
    });
    std::vector<std::uint32_t> undecided;
    if (ranks_.rank() == 0) undecided = choose_rows(requests, open, gathered, results);
    if (last) break;
    open = broadcast(std::move(undecided));
  }
  return results;
}

/// Results of those of the open rows that the ranks' candidates decide; returns the others.
std::vector<std::uint32_t> RowScorer::choose_rows(std::span<const RowRequest> requests,
                                                  std::span<const std::uint32_t> open,
                                                  const std::vector<std::vector<std::byte>>& gathered,
                                                  std::vector<RowResult>& results) const {
  std::vector<std::vector<RowCandidates>> by_rank;
  for (const auto& bytes : gathered) by_rank.push_back(candidates_from_bytes(bytes));
  std::vector<std::uint32_t> undecided;
  for (std::size_t k = 0; k < open.size(); ++k) {
    std::vector<RowCandidates> row;
    for (auto& rank : by_rank) row.push_back(std::move(rank[k]));
    auto chosen = choose(requests[open[k]], row, vocabulary_);
    if (chosen)
      results[open[k]] = std::move(*chosen);
    else
      undecided.push_back(open[k]);
  }
  return undecided;
}

std::vector<std::uint32_t> RowScorer::broadcast(std::vector<std::uint32_t> rows) {
  ByteWriter message;
  message.list(rows);
  std::vector<std::byte> bytes = message.take();
  control_.broadcast(bytes);
  return ByteReader(bytes).list<std::uint32_t>();
}

}  // namespace llm_tp
