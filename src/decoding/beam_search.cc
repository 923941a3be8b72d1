#include "decoding/beam_search.h"

#include <algorithm>
#include <cmath>
#include <limits>
#include <utility>

#include "base/error.h"

namespace llm_tp {
namespace {

constexpr double kNothing = -std::numeric_limits<double>::infinity();

/// How a beam came about: its newest token, and what was before it, which beams share.
struct Trail {
  RowResult row;
  std::shared_ptr<const Trail> before;
};
using TrailEnd = std::shared_ptr<const Trail>;

struct Beam {
  SequenceId sequence = -1;
  double sum = 0;
  Guide::State guide = 0;
  TrailEnd trail;
  RowResult next;  // candidates of the newest row
};

struct Finished {
  double score = 0;
  FinishReason reason = FinishReason::kLength;
  TrailEnd trail;
};

struct Continuation {
  double sum = 0;
  std::size_t beam = 0;
  Candidate candidate;
};

class BeamSearch final : public Strategy {
 public:
  BeamSearch(BeamSettings settings, RowMaker rows, std::vector<TokenId> prompt)
      : settings_(std::move(settings)), rows_(std::move(rows)), prompt_(std::move(prompt)) {}

  void begin(SequenceSet& sequences) override {
    Beam beam;
    beam.sequence = sequences.start(ModelSlot::kMain, prompt_);
    if (rows_.guide() != nullptr) beam.guide = rows_.guide()->start();
    running_.push_back(std::move(beam));
  }

  void want(const SequenceSet& sequences, SequenceId id, std::int32_t position, std::int32_t row,
            ScoreList& list) override {
    const std::vector<TokenId>& tokens = sequences.tokens(id);
    if (static_cast<std::size_t>(position) + 1 != tokens.size()) return;
    RowRequest request = rows_.make(row, tokens, 0, beam_of(id).guide, list);
    request.candidates = width();
    request.normalised = 1;
    list.rows.push_back(request);
  }

  void take(SequenceId id, std::int32_t, RowResult result, std::vector<Output>&) override {
    beam_of(id).next = std::move(result);
  }

  void advance(SequenceSet& sequences, std::vector<Output>& out) override {
    ++length_;
    const std::vector<Continuation> best = best_continuations();
    const bool last = length_ >= settings_.max_tokens;
    const bool was_full = settings_.early_stopping == EarlyStopping::kTrue && full();
    std::vector<Continuation> going_on;
    for (std::size_t i = 0; i < best.size(); ++i) {
      const bool ends = last || end_of(best[i]);
      if (!ends && going_on.size() < width_of(settings_.beams)) going_on.push_back(best[i]);
      if (ends && i < width_of(settings_.beams) && !was_full) finish_one(best[i]);
    }
    keep_best_finished();
    go_on_with(sequences, going_on);
    if (running_.empty() || (full() && settings_.early_stopping == EarlyStopping::kTrue) || !may_improve())
      return_best(sequences, out);
  }

  void stop(SequenceSet& sequences, std::int32_t) override { drop_all(sequences); }
  bool finished() const override { return running_.empty(); }
  std::int32_t most_sequences() const override { return settings_.beams; }

 private:
  static std::size_t width_of(std::int32_t count) noexcept { return static_cast<std::size_t>(count); }
  std::int32_t width() const noexcept {
    return std::max(2, 1 + static_cast<std::int32_t>(settings_.end_ids.size())) * settings_.beams;
  }
  bool full() const noexcept { return finished_.size() >= width_of(settings_.beams); }
  bool is_end_id(TokenId id) const noexcept {
    return std::find(settings_.end_ids.begin(), settings_.end_ids.end(), id) != settings_.end_ids.end();
  }
  double score_of(double sum, std::int32_t length) const noexcept {
    return sum / std::pow(static_cast<double>(length), settings_.length_penalty);
  }

  Beam& beam_of(SequenceId id) {
    const auto at =
        std::find_if(running_.begin(), running_.end(), [&](const Beam& b) { return b.sequence == id; });
    LLM_TP_CHECK(at != running_.end(), "a row of a beam that is gone");
    return *at;
  }

  Guide::State guide_after(const Continuation& c) {
    const Guide::State state = running_[c.beam].guide;
    return rows_.guide() == nullptr ? state : rows_.guide()->after(state, c.candidate.id);
  }
  /// Why a continuation goes no further, but for its length.
  std::optional<FinishReason> end_of(const Continuation& c) {
    if (is_end_id(c.candidate.id)) return FinishReason::kStop;
    if (rows_.guide() != nullptr && rows_.guide()->is_over(guide_after(c))) return FinishReason::kComplete;
    return std::nullopt;
  }

  std::vector<Continuation> best_continuations() const {
    std::vector<Continuation> all;
    for (std::size_t b = 0; b < running_.size(); ++b)
      for (const Candidate& c : running_[b].next.candidates) {
        // Reported scores are those of the renormalised distribution where that is asked for.
        const double shift = rows_.sampling().renormalise != 0 ? running_[b].next.score_log_sum_exp : 0.0;
        all.push_back({running_[b].sum + c.score - shift, b, c});
      }
    std::stable_sort(all.begin(), all.end(),
                     [](const Continuation& a, const Continuation& b) { return a.sum > b.sum; });
    if (all.size() > static_cast<std::size_t>(width())) all.resize(static_cast<std::size_t>(width()));
    return all;
  }

  TrailEnd trail_with(const Continuation& c) const {
    RowResult row = running_[c.beam].next;
    row.candidates.clear();
    row.token = c.candidate.id;
    row.logprob = c.candidate.logit - row.log_sum_exp;
    return std::make_shared<const Trail>(Trail{std::move(row), running_[c.beam].trail});
  }

  void finish_one(const Continuation& c) {
    finished_.push_back({score_of(c.sum, length_), end_of(c).value_or(FinishReason::kLength), trail_with(c)});
  }

  void keep_best_finished() {
    std::stable_sort(finished_.begin(), finished_.end(),
                     [](const Finished& a, const Finished& b) { return a.score > b.score; });
    if (full()) finished_.resize(width_of(settings_.beams));
  }

  /// The last continuation of a beam takes its sequence, the others get forks of it.
  void go_on_with(SequenceSet& sequences, const std::vector<Continuation>& going_on) {
    std::vector<int> uses(running_.size(), 0);
    for (const Continuation& c : going_on) ++uses[c.beam];
    std::vector<Beam> next;
    for (const Continuation& c : going_on) {
      Beam beam;
      const SequenceId parent = running_[c.beam].sequence;
      beam.sequence = --uses[c.beam] > 0 ? sequences.fork(parent) : parent;
      beam.sum = c.sum;
      beam.guide = guide_after(c);
      beam.trail = trail_with(c);
      next.push_back(std::move(beam));
    }
    for (const Beam& old : running_)
      if (std::none_of(next.begin(), next.end(), [&](const Beam& b) { return b.sequence == old.sequence; }))
        sequences.drop(old.sequence);
    for (const Beam& beam : next)
      sequences.append(beam.sequence, std::vector<TokenId>{beam.trail->row.token});
    running_ = std::move(next);
  }

  /// Whether a running beam could still get into the finished list.
  bool may_improve() const {
    if (!full()) return true;
    const bool longest = settings_.early_stopping == EarlyStopping::kNever && settings_.length_penalty > 0;
    return score_of(running_[0].sum, longest ? settings_.max_tokens : length_) > finished_.back().score;
  }

  void drop_all(SequenceSet& sequences) {
    for (const Beam& beam : running_) sequences.drop(beam.sequence);
    running_.clear();
  }

  void return_best(SequenceSet& sequences, std::vector<Output>& out) {
    drop_all(sequences);
    const auto prompt = static_cast<std::int32_t>(prompt_.size());
    for (std::int32_t i = 0; i < settings_.returned; ++i) {
      Output output{i, prompt - 1, {}, false, FinishReason::kError, kNothing};
      if (width_of(i) >= finished_.size()) {  // processors or a grammar left fewer ways
        out.push_back(std::move(output));
        continue;
      }
      tell(i, prompt, finished_[width_of(i)], out);
    }
  }

  static void tell(std::int32_t choice, std::int32_t prompt, const Finished& f, std::vector<Output>& out) {
    std::vector<const Trail*> tokens;
    for (const Trail* t = f.trail.get(); t != nullptr; t = t->before.get()) tokens.push_back(t);
    for (std::int32_t position = prompt - 1; !tokens.empty(); ++position) {
      Output one{choice, position, tokens.back()->row, true, std::nullopt, std::nullopt};
      tokens.pop_back();
      if (tokens.empty()) {
        one.finished = f.reason;
        one.score = f.score;
      }
      out.push_back(std::move(one));
    }
  }

  BeamSettings settings_;
  RowMaker rows_;
  std::vector<TokenId> prompt_;
  std::vector<Beam> running_;  // best first
  std::vector<Finished> finished_;
  std::int32_t length_ = 0;  // new tokens of the running beams
};

}  // namespace

std::unique_ptr<Strategy> make_beam_search(BeamSettings settings, RowMaker rows,
                                           std::vector<TokenId> prompt) {
  return std::make_unique<BeamSearch>(std::move(settings), std::move(rows), std::move(prompt));
}

}  // namespace llm_tp
