#include "engine/step_runner.h"

#include <algorithm>
#include <iterator>
#include <map>
#include <numeric>
#include <string>
#include <utility>

#include "base/byte_stream.h"
#include "kernels/device_error.h"

namespace llm_tp {
namespace {

/// Host side of the batches of a step, one a cache: what their spans point to.
struct BatchStorage {
  std::vector<std::int32_t> positions;
  std::vector<std::vector<BatchSlice>> slices;  // of each cache

  explicit BatchStorage(const StepPlan& plan) : slices(plan.caches()) {
    std::int32_t row = 0;
    for (std::size_t i = 0; i < plan.slices.size(); ++i) {
      const PlanSlice& s = plan.slices[i];
      for (std::size_t cache = 0; cache < slices.size(); ++cache) {
        const PageTable& table = plan.tables[cache * plan.slices.size() + i];
        slices[cache].push_back(
            {row, s.rows, s.first_position,
             std::span(plan.pages)
                 .subspan(static_cast<std::size_t>(table.first_page), static_cast<std::size_t>(table.pages)),
             s.prompt_tokens, table.pages_before});
      }
      for (std::int32_t r = 0; r < s.rows; ++r) positions.push_back(s.first_position + r);
      row += s.rows;
    }
  }
};

/// Copies in the order of the plan, as many at once as the device may do in any order.
void copy_pages(DeviceBackend& ops, const std::vector<KvCache*>& caches,
                const std::vector<PageCopy>& copies) {
  for (std::size_t begin = 0, end = 0; begin < copies.size(); begin = end) {
    std::vector<PageId> from, to;
    const auto has = [](const std::vector<PageId>& pages, PageId page) {
      return std::find(pages.begin(), pages.end(), page) != pages.end();
    };
    for (; end < copies.size() && copies[end].cache == copies[begin].cache; ++end) {
      if (has(from, copies[end].to) || has(to, copies[end].from)) break;
      from.push_back(copies[end].from);
      to.push_back(copies[end].to);
    }
    ops.copy_pages(*caches[static_cast<std::size_t>(copies[begin].cache)], from, to);
  }
}

std::vector<AdapterRows> rows_by_adapter(const StepPlan& plan) {
  std::map<AdapterId, std::vector<std::int32_t>> rows;
  std::int32_t row = 0;
  for (const PlanSlice& slice : plan.slices)
    for (std::int32_t i = 0; i < slice.rows; ++i, ++row)
      if (slice.adapter != kNoAdapter) rows[slice.adapter].push_back(row);
  std::vector<AdapterRows> all;
  for (auto& [adapter, own] : rows) all.push_back({adapter, std::move(own)});
  return all;
}

/// The requests from `begin` on that look at as many rows as the model scores at once.
std::size_t end_of_part(const ScoreList& list, std::size_t begin) {
  std::int64_t rows = 0;
  for (std::size_t i = begin; i < list.rows.size(); ++i)
    if (i == begin || list.rows[i].row != list.rows[i - 1].row)
      if (++rows > Decoder::kScoredRows) return i;
  return list.rows.size();
}

}  // namespace

StepRunner::StepRunner(std::vector<ModelWithCaches> models, DeviceBackend& ops, Communicator& ranks,
                       ControlChannel& control, std::int64_t vocabulary, std::int64_t weights_and_kv)
    : models_(std::move(models)), ops_(ops), ranks_(ranks), book_(ranks, weights_and_kv) {
  for (const ModelWithCaches& m : models_)
    scorers_.emplace_back(ops, ranks, control, book_, m.model->share().vocab_rows, vocabulary);
}

void StepRunner::warm_up(std::int64_t most_rows) {
  constexpr std::int64_t kSeveral = Decoder::kScoredRows + 1;  // kernels for few rows end before
  try {
    for (std::size_t slot = 0; slot < models_.size(); ++slot)
      for (const std::int64_t rows : {std::int64_t{1}, kSeveral})
        if (rows <= most_rows) warm_up(slot, rows);
    ops_.synchronize();
  } catch (const DeviceError& error) {
    throw DeviceError(error.code(), std::string("warm-up: ") + error.what());
  }
  ops_.expect_no_more_memory();
}

void StepRunner::warm_up(std::size_t slot, std::int64_t rows) {
  const ModelWithCaches& at = models_[slot];
  const std::vector<TokenId> tokens(static_cast<std::size_t>(rows));
  std::vector<std::int32_t> positions(tokens.size());
  std::iota(positions.begin(), positions.end(), 0);
  std::vector<std::vector<PageId>> pages(at.caches.size());
  std::vector<BatchSlice> slices(at.caches.size());
  std::vector<KvStep> kv;
  for (std::size_t c = 0; c < at.caches.size(); ++c) {
    const KvShape& shape = at.caches[c]->shape();
    const std::int64_t needed = (rows + shape.page_tokens - 1) / shape.page_tokens;
    if (needed > shape.pages) return;  // nor does a step have so many rows
    pages[c].resize(static_cast<std::size_t>(needed));
    std::iota(pages[c].begin(), pages[c].end(), 0);
    slices[c] = {0, static_cast<std::int32_t>(rows), 0, pages[c], static_cast<std::int32_t>(rows), 0};
    kv.push_back({at.caches[c], {tokens, positions, {&slices[c], 1}}});
  }
  at.model->forward(kv);
  ScoreList list;
  list.rows.emplace_back().row = positions.back();
  const std::span last(&positions.back(), 1);
  scorers_[slot].score(list, 0, 1, {at.model->head(at.model->final_states(last)), last});
}

std::vector<RowResult> StepRunner::run(const StepPlan& plan) {
  book_.step_begins();
  try {
    std::vector<RowResult> results = run_model(plan);
    book_.step_ends();
    return results;
  } catch (const DeviceError& error) {
    throw DeviceError(error.code(), "step " + std::to_string(plan.step) + ": " + error.what());
  }
}

std::vector<RowResult> StepRunner::run_model(const StepPlan& plan) {
  const auto slot = static_cast<std::size_t>(plan.model);
  LLM_TP_CHECK(slot < models_.size(), "a step of a model that was not loaded");
  const ModelWithCaches& at = models_[slot];
  LLM_TP_CHECK(plan.caches() == at.caches.size(), "a step with page tables of another number of caches");
  copy_pages(ops_, at.caches, plan.copies);
  const BatchStorage storage(plan);
  std::vector<KvStep> kv;
  for (std::size_t cache = 0; cache < at.caches.size(); ++cache)
    kv.push_back({at.caches[cache], {plan.tokens, storage.positions, storage.slices[cache]}});
  at.model->forward(kv, rows_by_adapter(plan));
  std::vector<RowResult> results;
  for (std::size_t begin = 0; begin < plan.score.rows.size();) {
    const std::size_t end = end_of_part(plan.score, begin);
    auto part = score(at, scorers_[slot], plan, begin, end);
    std::move(part.begin(), part.end(), std::back_inserter(results));
    begin = end;
  }
  return results;
}

std::vector<RankReport> StepRunner::report() {
  ByteWriter mine;
  mine.value(book_.own());
  std::vector<RankReport> all;
  for (const auto& bytes : ranks_.gather(mine.take())) {
    all.push_back(ByteReader(bytes).value<RankReport>());
    book_.note(static_cast<int>(all.size()) - 1, all.back());
  }
  return all;
}

std::vector<RowResult> StepRunner::score(const ModelWithCaches& at, RowScorer& scorer, const StepPlan& plan,
                                         std::size_t begin, std::size_t end) {
  const auto requests = std::span(plan.score.rows).subspan(begin, end - begin);
  std::vector<std::int32_t> rows;  // of the step, each once
  for (const RowRequest& r : requests)
    if (rows.empty() || rows.back() != r.row) rows.push_back(r.row);
  const auto index_of = [&](std::int32_t row) {
    return std::lower_bound(rows.begin(), rows.end(), row) - rows.begin();
  };
  const TensorView states = at.model->final_states(rows);
  const bool any_scored =
      std::any_of(requests.begin(), requests.end(), [](const RowRequest& r) { return r.scored != 0; });
  std::vector<RowResult> results;
  if (any_scored) {
    results = scorer.score(plan.score, begin, end, {at.model->head(states), rows});
  } else if (ranks_.rank() == 0) {
    results.resize(requests.size());
  }
  const bool any_state =
      std::any_of(requests.begin(), requests.end(), [](const RowRequest& r) { return r.state != 0; });
  if (results.empty() || !any_state) return results;
  const TensorView host = ops_.on_host(states);
  for (std::size_t i = 0; i < results.size(); ++i)
    if (requests[i].state != 0) {
      const float* state = host.row(index_of(requests[i].row));
      results[i].state.assign(state, state + host.columns());
    }
  return results;
}

}  // namespace llm_tp
