#include "decoding/contrastive.h"

#include <algorithm>
#include <cmath>
#include <utility>

#include "base/error.h"

namespace llm_tp {
namespace {

/// A hidden state of length 1, so that a cosine is a dot product.
std::vector<float> unit(const std::vector<float>& state) {
  double squares = 0;
  for (float v : state) squares += static_cast<double>(v) * v;
  const double scale = squares > 0 ? 1.0 / std::sqrt(squares) : 0.0;
  std::vector<float> out;
  out.reserve(state.size());
  for (float v : state) out.push_back(static_cast<float>(v * scale));
  return out;
}

double dot(const std::vector<float>& a, const std::vector<float>& b) {
  double sum = 0;
  for (std::size_t i = 0; i < a.size(); ++i) sum += static_cast<double>(a[i]) * b[i];
  return sum;
}

struct Fork {
  SequenceId sequence = -1;
  Candidate candidate;
  RowResult next;  // of the candidate's own row
};

class Contrastive final : public Strategy {
 public:
  Contrastive(ContrastiveSettings settings, RowMaker rows, std::vector<TokenId> prompt)
      : settings_(std::move(settings)), rows_(std::move(rows)), prompt_(std::move(prompt)) {}

  void begin(SequenceSet& sequences) override {
    forks_.push_back({sequences.start(ModelSlot::kMain, prompt_), {}, {}});
    if (rows_.guide() != nullptr) guide_ = rows_.guide()->start();
  }

  void want(const SequenceSet& sequences, SequenceId id, std::int32_t position, std::int32_t row,
            ScoreList& list) override {
    const std::vector<TokenId>& tokens = sequences.tokens(id);
    RowRequest request;
    request.row = row;
    request.scored = 0;
    if (static_cast<std::size_t>(position) + 1 == tokens.size()) {
      Guide::State state = guide_;
      if (rows_.guide() != nullptr && chosen_once_) state = rows_.guide()->after(state, tokens.back());
      request = rows_.make(row, tokens, 0, state, list);
      request.candidates = settings_.top_k;
    }
    request.state = 1;
    list.rows.push_back(request);
  }

  void take(SequenceId id, std::int32_t position, RowResult result, std::vector<Output>&) override {
    if (position + 1 < static_cast<std::int32_t>(prompt_.size()))
      return states_.push_back(unit(result.state));
    const auto fork =
        std::find_if(forks_.begin(), forks_.end(), [&](const Fork& f) { return f.sequence == id; });
    LLM_TP_CHECK(fork != forks_.end(), "a row of a candidate that is gone");
    fork->next = std::move(result);
  }

  void advance(SequenceSet& sequences, std::vector<Output>& out) override {
    const std::size_t best = chosen_once_ ? best_fork() : 0;
    for (std::size_t i = 0; i < forks_.size(); ++i)
      if (i != best) sequences.drop(forks_[i].sequence);
    Fork chosen = std::move(forks_[best]);
    forks_.clear();
    if (chosen_once_ && tell(chosen, out)) return sequences.drop(chosen.sequence);
    states_.push_back(unit(chosen.next.state));
    before_ = std::move(chosen.next);
    chosen_once_ = true;
    fork_candidates(sequences, chosen.sequence, out);
  }

  void stop(SequenceSet& sequences, std::int32_t) override {
    for (const Fork& f : forks_) sequences.drop(f.sequence);
    forks_.clear();
  }
  bool finished() const override { return forks_.empty(); }
  std::int32_t most_sequences() const override { return settings_.top_k; }

 private:
  std::size_t best_fork() const {
    std::size_t best = 0;
    double best_score = 0;
    for (std::size_t i = 0; i < forks_.size(); ++i) {
      const std::vector<float> state = unit(forks_[i].next.state);
      double largest = -1;
      for (const std::vector<float>& earlier : states_) largest = std::max(largest, dot(state, earlier));
      const double p = std::exp(forks_[i].candidate.score - before_.score_log_sum_exp);
      const double score = (1 - settings_.penalty_alpha) * p - settings_.penalty_alpha * largest;
      if (i == 0 || score > best_score) best = i, best_score = score;
    }
    return best;
  }

  /// Hands on the chosen token; true where it was the last one.
  bool tell(const Fork& chosen, std::vector<Output>& out) {
    const TokenId token = chosen.candidate.id;
    ++made_;
    Output output{
        0, static_cast<std::int32_t>(prompt_.size()) + made_ - 2, before_, true, std::nullopt, std::nullopt};
    output.row.candidates.clear();
    output.row.state.clear();
    output.row.token = token;
    output.row.logprob = chosen.candidate.logit - before_.log_sum_exp;
    const bool ends =
        std::find(settings_.end_ids.begin(), settings_.end_ids.end(), token) != settings_.end_ids.end();
    if (rows_.guide() != nullptr) guide_ = rows_.guide()->after(guide_, token);
    if (ends)
      output.finished = FinishReason::kStop;
    else if (rows_.guide() != nullptr && rows_.guide()->is_over(guide_))
      output.finished = FinishReason::kComplete;
    else if (made_ >= settings_.max_tokens)
      output.finished = FinishReason::kLength;
    const bool last = output.finished.has_value();
    out.push_back(std::move(output));
    return last;
  }

  void fork_candidates(SequenceSet& sequences, SequenceId sequence, std::vector<Output>& out) {
    if (before_.candidates.empty()) {
      Output output{
          0,           static_cast<std::int32_t>(prompt_.size()) + made_ - 1, {}, false, FinishReason::kError,
          std::nullopt};
      out.push_back(std::move(output));
      return sequences.drop(sequence);
    }
    for (std::size_t i = 0; i < before_.candidates.size(); ++i)
      forks_.push_back({i == 0 ? sequence : sequences.fork(sequence), before_.candidates[i], {}});
    for (const Fork& f : forks_) sequences.append(f.sequence, std::vector<TokenId>{f.candidate.id});
  }

  ContrastiveSettings settings_;
  RowMaker rows_;
  std::vector<TokenId> prompt_;
  std::vector<Fork> forks_;                 // at first the prompt's sequence alone
  RowResult before_;                        // of the row that gave the candidates
  std::vector<std::vector<float>> states_;  // of all tokens so far, of length 1
  Guide::State guide_ = 0;                  // after the chosen tokens
  std::int32_t made_ = 0;
  bool chosen_once_ = false;  // the prompt was run
};

}  // namespace

std::unique_ptr<Strategy> make_contrastive(ContrastiveSettings settings, RowMaker rows,
                                           std::vector<TokenId> prompt) {
  return std::make_unique<Contrastive>(std::move(settings), std::move(rows), std::move(prompt));
}

}  // namespace llm_tp
