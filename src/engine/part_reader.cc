#include "engine/part_reader.h"

#include "kernels/score_reader.h"
#include "model/shard_plan.h"

namespace llm_tp {
namespace {

/// Cuts a rank's vocabulary into at most `parts` of whole units.
std::vector<Range> cut(Range rows, std::int64_t unit, std::int64_t parts) {
  const std::int64_t units = (rows.size() + unit - 1) / unit;
  parts = std::clamp<std::int64_t>(units, 1, parts);
  std::vector<Range> result;
  for (std::int64_t p = 0; p < parts; ++p)
    result.push_back({rows.begin + units * p / parts * unit,
                      std::min(rows.end, rows.begin + units * (p + 1) / parts * unit)});
  return result;
}

/// Some rows of logits in host memory, fetched in one piece from the first to the last.
class HostRows {
 public:
  HostRows(DeviceBackend& ops, const LogitRows& from, const std::vector<std::int64_t>& wanted) : from_(from) {
    if (wanted.empty()) return;
    const auto [first, last] = std::minmax_element(wanted.begin(), wanted.end());
    begin_ = *first;
    copy_ = ops.on_host(from.logits.row_range(*first, *last + 1));
  }
  std::span<const float> of(const RowRequest& request) const {
    return {copy_.row(from_.index_of(request.row) - begin_), static_cast<std::size_t>(copy_.columns())};
  }

 private:
  const LogitRows& from_;
  std::int64_t begin_ = 0;
  TensorView copy_;
};

RowQuestion question_of(const ScoreList& list, const RowRequest& request, double normaliser,
                        std::int64_t most) {
  RowQuestion q;
  if (request.normalised != 0) q.normaliser = normaliser;
  q.adjustments = list.adjustments_of(request);
  q.mask = request.mask;
  q.mask_words = list.mask_of(request);
  q.score_sum_scale = request.score_sum_scale();
  q.top = request.best;
  q.target = request.target;
  if (request.samples_freely()) {
    q.draws = request.draws();
    q.draw_scale = 1.0 / request.sampling.temperature;
  } else {
    q.best = most;
  }
  return q;
}

RowCandidates candidates_of(RowAnswer answer, const RowRequest& request, Range part, std::int64_t most) {
  RowCandidates found;
  found.logit_sums = std::move(answer.logit_sums);
  found.score_sums = std::move(answer.score_sums);
  found.top = std::move(answer.top);
  if (part.contains(request.target))
    found.target = {request.target, answer.target_logit, answer.target_logit};
  if (request.samples_freely()) {
    found.drawn = answer.drawn;
    if (found.drawn.id >= 0) found.drawn_key = gumbel_key(request, found.drawn.id, found.drawn.score);
  } else {
    found.best = std::move(answer.best);
    found.all = std::ssize(found.best) < most || std::ssize(found.best) == part.size();
  }
  return found;
}

}  // namespace

PartReader::PartReader(DeviceBackend& ops, Range part, std::int64_t vocabulary)
    : ops_(ops),
      part_(part),
      run_(vocabulary_unit(vocabulary)),
      finders_(static_cast<std::size_t>(ops.host_threads()), CandidateFinder(run_)) {}

std::vector<std::vector<ExpSum>> PartReader::sums(std::span<const RowRequest> requests,
                                                  const LogitRows& logits) {
  std::vector<std::vector<ExpSum>> sums(requests.size());
  std::vector<std::size_t> left;  // to the host
  for (std::size_t i = 0; i < requests.size(); ++i)
    if (requests[i].normalised != 0) left.push_back(i);
  const auto index_of = [&](std::size_t i) { return logits.index_of(requests[i].row); };
  if (ScoreReader* const reader = ops_.score_reader()) {
    std::vector<RowQuestion> questions(left.size());
    for (std::size_t k = 0; k < left.size(); ++k)
      questions[k].row = static_cast<std::int32_t>(index_of(left[k]));
    std::vector<RowAnswer> answers = reader->read(logits.logits, part_, run_, questions);
    std::vector<std::size_t> undecided;
    for (std::size_t k = 0; k < left.size(); ++k)
      if (answers[k].complete)
        sums[left[k]] = std::move(answers[k].logit_sums);
      else
        undecided.push_back(left[k]);
    left = std::move(undecided);
  }
  std::vector<std::int64_t> wanted;
  for (const std::size_t i : left) wanted.push_back(index_of(i));
  const HostRows rows(ops_, logits, wanted);
  ops_.run_on_host(static_cast<int>(left.size()), [&](int item, int thread) {
    const std::size_t i = left[static_cast<std::size_t>(item)];
    sums[i] = finders_[static_cast<std::size_t>(thread)].sums(rows.of(requests[i]), 1.0f);
  });
  return sums;
}

void PartReader::read_on_device(const ScoreList& list, std::span<const RowRequest> requests,
                                std::span<const double> normaliser, int round, const LogitRows& logits,
                                std::vector<OpenRow>& open, std::span<RowCandidates> found) {
  std::vector<RowQuestion> questions;
  std::vector<OpenRow> asked, left;
  for (const OpenRow& row : open) {
    const RowRequest& r = requests[row.request];
    if (r.whole == WholeKind::kLogits) {
      left.push_back(row);
      continue;
    }
    questions.push_back(question_of(list, r, normaliser[row.request], candidates_in_round(r, round)));
    questions.back().row = static_cast<std::int32_t>(logits.index_of(r.row));
    asked.push_back(row);
  }
  std::vector<RowAnswer> answers = ops_.score_reader()->read(logits.logits, part_, run_, questions);
  for (std::size_t i = 0; i < asked.size(); ++i) {
    const RowRequest& r = requests[asked[i].request];
    if (answers[i].complete)
      found[asked[i].place] = candidates_of(std::move(answers[i]), r, part_, candidates_in_round(r, round));
    else
      left.push_back(asked[i]);
  }
  open = std::move(left);
}

std::vector<RowCandidates> PartReader::read(const ScoreList& list, std::span<const RowRequest> requests,
                                            std::span<const std::uint32_t> open,
                                            std::span<const double> normaliser, int round,
                                            const LogitRows& logits) {
  constexpr std::int64_t kMostParts = 8;  // every part sends as many candidates as a rank would
  const std::int64_t threads = ops_.score_reader() != nullptr ? 1 : ops_.host_threads();
  const auto parts = cut(part_, run_, std::clamp<std::int64_t>(threads / std::ssize(open), 1, kMostParts));
  std::vector<RowCandidates> found(open.size() * parts.size());
  std::vector<OpenRow> left;  // to the host
  for (std::size_t k = 0; k < open.size(); ++k) left.push_back({open[k], k * parts.size()});
  if (ops_.score_reader() != nullptr) read_on_device(list, requests, normaliser, round, logits, left, found);
  std::vector<std::int64_t> wanted;
  for (const OpenRow& row : left) wanted.push_back(logits.index_of(requests[row.request].row));
  const HostRows rows(ops_, logits, wanted);
  ops_.run_on_host(static_cast<int>(left.size() * parts.size()), [&](int item, int thread) {
    const OpenRow& row = left[static_cast<std::size_t>(item) / parts.size()];
    const std::size_t p = static_cast<std::size_t>(item) % parts.size();
    const RowRequest& request = requests[row.request];
    const auto logits_of_part = rows.of(request).subspan(
        static_cast<std::size_t>(parts[p].begin - part_.begin), static_cast<std::size_t>(parts[p].size()));
    found[row.place + p] = finders_[static_cast<std::size_t>(thread)].read(
        parts[p], logits_of_part, list, request, normaliser[row.request],
        candidates_in_round(request, round));
  });
  return found;
}

}  // namespace llm_tp
