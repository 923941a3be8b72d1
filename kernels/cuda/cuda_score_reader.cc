#include "kernels/cuda/cuda_score_reader.h"

#include <algorithm>
#include <cmath>

namespace llm_tp {
namespace {

std::size_t size(std::int64_t count, std::size_t bytes) { return static_cast<std::size_t>(count) * bytes; }

/// Whether a list of so many is one of those that are made here.
bool is_short(std::int64_t wanted, Range part) {
  return std::min(wanted, part.size()) <= ScoreReader::kMostCandidates;
}

/// False only where the first of the keys is the first of the host's for sure.
bool may_be_another(const RowEnd& end) {
  if (end.drawn.id < 0) return false;
  return !(end.second_key < end.key - 2 * (kDrawError + std::abs(end.key) * kDrawRelativeError));
}

}  // namespace

CudaScoreReader::CudaScoreReader(const CudaStream& stream, UploadPipe& pipe, const DeviceWait& wait)
    : stream_(stream),
      pipe_(pipe),
      wait_(wait),
      table_(stream.get(), "questions about rows"),
      scores_(stream.get(), "adjusted scores"),
      maxima_(stream.get(), "maxima of scores"),
      states_(stream.get(), "states of runs of scores"),
      results_(stream.get(), "what was found in rows") {}

CudaScoreReader::Results CudaScoreReader::Results::of(std::size_t questions, std::int64_t sums,
                                                      std::int64_t candidates) {
  Results at{};
  at.sums = questions * sizeof(RowEnd);
  at.candidates = at.sums + size(sums, sizeof(ExpSum));
  at.end = at.candidates + size(candidates, sizeof(Candidate));
  return at;
}

CudaScoreReader::Sizes CudaScoreReader::Sizes::of(std::int64_t columns, std::int64_t run) {
  constexpr std::int64_t kRows = QuestionTable::kMostQuestions;
  if (columns == 0) return {};
  const std::int64_t runs = (columns + run - 1) / run;
  const auto list = static_cast<std::int32_t>(std::min<std::int64_t>(columns, kMostCandidates));
  Sizes sizes;
  sizes.table = QuestionTable::kMostBytes;
  sizes.scores = size(kRows * columns, sizeof(float));
  sizes.maxima = size(2 * kRows * segments_of(columns), sizeof(float));
  sizes.states = size(kRows * runs, sizeof(RunState));
  sizes.results = Results::of(kRows, 2 * kRows * runs, 2 * kRows * list_room(list)).end;
  return sizes;
}

void CudaScoreReader::reserve(const Sizes& sizes) {
  table_.reserve(sizes.table);
  scores_.reserve(sizes.scores);
  maxima_.reserve(sizes.maxima);
  states_.reserve(sizes.states);
  results_.reserve_cleared(sizes.results);
  reserve_pinned(host_results_, sizes.results, stream_, wait_);
}

std::vector<RowAnswer> CudaScoreReader::read(TensorView logits, Range part, std::int64_t run,
                                             std::span<const RowQuestion> questions) {
  LLM_TP_CHECK(
      logits.columns() == part.size() && run > 0 && run % 16 == 0 && (part.empty() || part.begin % run == 0),
      "rows of scores that are not a part of the vocabulary in whole runs");
  std::vector<RowAnswer> answers(questions.size());
  const auto left_to_host = [&](const RowQuestion& q) {
    return !is_short(q.top, part) || !is_short(q.best, part);
  };
  for (std::size_t begin = 0; begin < questions.size();) {
    QuestionTable table(part, run);
    std::vector<std::size_t> numbers;  // of the questions in it
    for (; begin < questions.size(); ++begin) {
      const RowQuestion& question = questions[begin];
      LLM_TP_CHECK(question.row >= 0 && question.row < logits.rows(), "a question about no row");
      if (left_to_host(question)) continue;
      if (table.add(question))
        numbers.push_back(begin);
      else if (!numbers.empty())
        break;  // the next group has room
    }
    if (numbers.empty()) continue;
    std::vector<RowAnswer> group(numbers.size());
    if (part.empty()) {
      for (RowAnswer& nothing : group) nothing.complete = true;
    } else {
      const Sizes sizes = Sizes::of(part.size(), run);
      ReadArguments args{};
      args.scores = reinterpret_cast<float*>(scores_.reserve(sizes.scores));
      args.maxima = reinterpret_cast<float*>(maxima_.reserve(sizes.maxima));
      args.states = reinterpret_cast<RunState*>(states_.reserve(sizes.states));
      args.logits = logits.row(0);
      args.stride = logits.row_stride;
      args.columns = part.size();
      args.first = static_cast<TokenId>(part.begin);
      args.run = static_cast<std::int32_t>(run);
      args.runs = table.runs();
      answer(table, args, group);
    }
    for (std::size_t i = 0; i < group.size(); ++i) answers[numbers[i]] = std::move(group[i]);
  }
  return answers;
}

void CudaScoreReader::answer(const QuestionTable& table, ReadArguments args, std::span<RowAnswer> answers) {
  const std::size_t bytes = table.bytes();
  std::byte* const on_device = table_.reserve(bytes);
  table.write(pipe_.next(bytes));
  pipe_.send(on_device, bytes);
  table.point_to(on_device, args);

  const Results at = Results::of(answers.size(), table.sums(), table.candidates());
  std::byte* const results = results_.reserve_cleared(at.end);
  args.ends = reinterpret_cast<RowEnd*>(results);
  args.sums = reinterpret_cast<ExpSum*>(results + at.sums);
  args.candidates = reinterpret_cast<Candidate*>(results + at.candidates);
  score_runs(stream_.get(), args, static_cast<unsigned>(answers.size()));
  pick_candidates(stream_.get(), args, static_cast<unsigned>(answers.size()), table.most_working_room());

  const std::byte* const host = reserve_pinned(host_results_, at.end, stream_, wait_);
  check_cuda(cudaMemcpyAsync(host_results_.data(), results, at.end, cudaMemcpyDeviceToHost, stream_.get()),
             "cudaMemcpyAsync of what was found in rows");
  wait_.until([this] { return stream_.is_done(); });
  const auto* const ends = reinterpret_cast<const RowEnd*>(host);
  const auto* const sums = reinterpret_cast<const ExpSum*>(host + at.sums);
  const auto* const candidates = reinterpret_cast<const Candidate*>(host + at.candidates);
  for (std::size_t i = 0; i < answers.size(); ++i) {
    const DeviceQuestion& question = table.questions()[i];
    const RowEnd& end = ends[i];
    const std::int32_t tops = question.top.wanted > 0 ? end.tops : 0,
                       bests = question.best.wanted > 0 ? end.bests : 0;
    // Of the best by logit none may be missing: what the model itself forbids is one of them.
    if (end.has_nan != 0 || tops < question.top.wanted || bests < 0 ||
        (question.is_drawn && may_be_another(end)))
      continue;
    RowAnswer& answer = answers[i];
    answer.complete = true;
    const auto take = [](const auto* from, std::int32_t first, std::int32_t count, auto& to) {
      to.assign(from + first, from + first + count);
    };
    take(sums, question.logit_sums, table.runs(), answer.logit_sums);
    if (question.score_sum_scale > 0) take(sums, question.score_sums, table.runs(), answer.score_sums);
    take(candidates, question.top.first, tops, answer.top);
    take(candidates, question.best.first, bests, answer.best);
    answer.drawn = end.drawn;
    answer.target_logit = end.target_logit;
  }
}

}  // namespace llm_tp
