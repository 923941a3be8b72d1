#include "engine/step_runner.h"

#include <sys/resource.h>

#include <algorithm>
#include <cstring>
#include <limits>

#include "base/byte_stream.h"

namespace llm_tp {
namespace {

/// Host side of a Batch: what its spans point to.
struct BatchStorage {
  std::vector<std::int32_t> positions;
  std::vector<BatchSlice> slices;

  explicit BatchStorage(const StepPlan& plan) {
    std::int32_t row = 0;
    for (const PlanSlice& s : plan.slices) {
      slices.push_back(
          {row, s.rows, s.first_position,
           std::span(plan.pages)
               .subspan(static_cast<std::size_t>(s.first_page), static_cast<std::size_t>(s.pages)),
           s.prompt_tokens});
      for (std::int32_t i = 0; i < s.rows; ++i) positions.push_back(s.first_position + i);
      row += s.rows;
    }
  }
};

bool may_need_more(const RowRequest& request) {
  return request.samples() && (request.top_k > 0 || request.top_p < 1);
}

}  // namespace

StepRunner::StepRunner(Decoder& model, DeviceBackend& ops, KvCache& cache, Communicator& ranks,
                       ControlChannel& control, std::int64_t vocabulary, std::int64_t weights_and_kv)
    : model_(model),
      ops_(ops),
      cache_(cache),
      ranks_(ranks),
      control_(control),
      vocabulary_unit_(vocabulary_unit(vocabulary)),
      weights_and_kv_(weights_and_kv) {}

std::vector<RowResult> StepRunner::run(const StepPlan& plan) {
  if (!plan.copy_from.empty()) ops_.copy_pages(cache_, plan.copy_from, plan.copy_to);
  const BatchStorage storage(plan);
  model_.forward({plan.tokens, storage.positions, storage.slices}, cache_);
  std::vector<RowResult> results;
  for (std::size_t begin = 0; begin < plan.scored.size(); begin += Decoder::kScoredRows) {
    auto part = score(plan, begin, std::min(plan.scored.size(), begin + Decoder::kScoredRows));
    std::move(part.begin(), part.end(), std::back_inserter(results));
  }
  return results;
}

std::vector<RankReport> StepRunner::report() {
  rusage usage{};
  ::getrusage(RUSAGE_SELF, &usage);
  ByteWriter mine;
  mine.value(RankReport{ranks_.take_seconds(), weights_and_kv_, std::int64_t{usage.ru_maxrss} * 1024});
  std::vector<RankReport> all;
  for (const auto& bytes : ranks_.gather(mine.take())) all.push_back(ByteReader(bytes).value<RankReport>());
  return all;
}

std::vector<RowCandidates> StepRunner::look_at(const StepPlan& plan, std::size_t begin, std::size_t end,
                                               TensorView logits, const std::vector<std::uint8_t>& whole) {
  const Range vocabulary = model_.share().vocab_rows;
  std::vector<RowCandidates> found;
  for (std::size_t i = begin; i < end; ++i) {
    const RowRequest& request = plan.scored[i];
    const std::span<const float> row(logits.row(static_cast<std::int64_t>(i - begin)),
                                     static_cast<std::size_t>(vocabulary.size()));
    const std::int64_t most =
        whole[i - begin] != 0 ? std::numeric_limits<std::int64_t>::max() : request.candidates();
    found.push_back(find_candidates(row, vocabulary, vocabulary_unit_, request, most));
  }
  return found;
}

std::vector<RowResult> StepRunner::score(const StepPlan& plan, std::size_t begin, std::size_t end) {
  std::vector<std::int32_t> rows;
  for (std::size_t i = begin; i < end; ++i) rows.push_back(plan.scored[i].row);
  const TensorView logits = model_.logits(rows);
  const Range vocabulary = model_.share().vocab_rows;
  for (std::size_t i = begin; i < end; ++i) {
    const RowRequest& request = plan.scored[i];
    for (std::int32_t s = 0; s < request.suppressed; ++s) {
      const TokenId id = plan.suppressed[static_cast<std::size_t>(request.first_suppressed + s)];
      if (vocabulary.contains(id))
        logits.row(static_cast<std::int64_t>(i - begin))[id - vocabulary.begin] =
            -std::numeric_limits<float>::infinity();
    }
  }
  // First every rank sends a few candidates; where those cannot decide a row, rank 0 asks for all of it.
  const bool second_round =
      std::any_of(plan.scored.begin() + static_cast<std::ptrdiff_t>(begin),
                  plan.scored.begin() + static_cast<std::ptrdiff_t>(end), may_need_more);
  std::vector<std::uint8_t> whole(end - begin, 0);
  std::vector<RowResult> results;
  while (true) {
    const auto gathered = ranks_.gather(to_bytes(look_at(plan, begin, end, logits, whole)));
    bool undecided = false;
    if (ranks_.rank() == 0) {
      std::vector<std::vector<RowCandidates>> by_rank;
      for (const auto& bytes : gathered) by_rank.push_back(candidates_from_bytes(bytes));
      results.assign(end - begin, {});
      for (std::size_t i = begin; i < end; ++i) {
        std::vector<RowCandidates> row;
        for (auto& rank : by_rank) row.push_back(std::move(rank[i - begin]));
        auto chosen = choose(plan.scored[i], row);
        if (chosen)
          results[i - begin] = std::move(*chosen);
        else
          whole[i - begin] = 1, undecided = true;
      }
    }
    if (!second_round) return results;
    std::vector<std::byte> message(whole.size() + 1);
    message[0] = std::byte(undecided ? 1 : 0);
    std::memcpy(message.data() + 1, whole.data(), whole.size());
    control_.broadcast(message);
    if (message[0] == std::byte{0}) return results;
    std::memcpy(whole.data(), message.data() + 1, whole.size());
  }
}

}  // namespace llm_tp
