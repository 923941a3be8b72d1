#include "engine/row_scorer.h"

#include <algorithm>
#include <cstring>
#include <iterator>
#include <numeric>
#include <utility>

#include "base/byte_stream.h"

namespace llm_tp {

RowScorer::RowScorer(DeviceBackend& ops, Communicator& ranks, ControlChannel& control, RankBook& book,
                     Range vocabulary_rows, std::int64_t vocabulary)
    : ranks_(ranks),
      control_(control),
      book_(book),
      vocabulary_(vocabulary),
      part_(ops, vocabulary_rows, vocabulary) {}

/// Log-sum-exp of the logits of those rows whose processors work on log-probabilities: all ranks need it
/// before they can apply them.
std::vector<double> RowScorer::normalisers(std::span<const RowRequest> requests, const LogitRows& logits) {
  std::vector<double> values(requests.size(), 0.0);
  if (std::none_of(requests.begin(), requests.end(), [](const RowRequest& r) { return r.normalised != 0; }))
    return values;
  const std::vector<std::vector<ExpSum>> sums = part_.sums(requests, logits);
  ByteWriter mine;
  for (std::size_t i = 0; i < requests.size(); ++i)
    if (requests[i].normalised != 0) mine.list(sums[i]);
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
                                        const LogitRows& logits) {
  const auto requests = std::span(list.rows).subspan(begin, end - begin);
  const std::vector<double> normaliser = normalisers(requests, logits);
  std::vector<RowResult> results(ranks_.rank() == 0 ? requests.size() : 0);
  std::vector<std::uint32_t> open(requests.size());
  std::iota(open.begin(), open.end(), 0u);
  for (int round = 0; !open.empty(); ++round) {
    auto gathered = gather(part_.read(list, requests, open, normaliser, round, logits));
    const bool last = std::none_of(open.begin(), open.end(), [&](std::uint32_t i) {
      return may_need_another_round(requests[i], round);
    });
    std::vector<std::uint32_t> undecided;
    if (ranks_.rank() == 0) undecided = choose_rows(requests, open, std::move(gathered), results);
    if (last) break;
    open = broadcast(std::move(undecided));
  }
  return results;
}

std::vector<std::vector<RowCandidates>> RowScorer::gather(const std::vector<RowCandidates>& mine) {
  ByteWriter message;
  message.value(book_.own());
  message.list(to_bytes(mine));
  std::vector<std::vector<RowCandidates>> by_rank;
  for (const auto& bytes : ranks_.gather(message.take())) {
    ByteReader in(bytes);
    book_.note(static_cast<int>(by_rank.size()), in.value<RankReport>());
    by_rank.push_back(candidates_from_bytes(in.list<std::byte>()));
  }
  return by_rank;
}

/// Results of those of the open rows that the ranks' candidates decide; returns the others.
std::vector<std::uint32_t> RowScorer::choose_rows(std::span<const RowRequest> requests,
                                                  std::span<const std::uint32_t> open,
                                                  std::vector<std::vector<RowCandidates>> by_rank,
                                                  std::vector<RowResult>& results) const {
  std::vector<std::uint32_t> undecided;
  for (std::size_t k = 0; k < open.size(); ++k) {
    std::vector<RowCandidates> row;
    for (auto& rank : by_rank) {
      const std::size_t parts = rank.size() / open.size();
      std::move(rank.begin() + static_cast<std::ptrdiff_t>(k * parts),
                rank.begin() + static_cast<std::ptrdiff_t>((k + 1) * parts), std::back_inserter(row));
    }
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
