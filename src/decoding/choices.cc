#include "decoding/choices.h"

#include <algorithm>
#include <utility>

#include "base/error.h"

namespace llm_tp {
namespace {

constexpr SequenceId kNoSequence = -1;

struct Choice {
  std::int32_t index = 0, stream = 0;
  SequenceId sequence = kNoSequence, draft = kNoSequence;
  std::int32_t accepted = 0;       // tokens of the sequence that are sure: prompt and output
  Guide::State guide = 0;          // after them
  std::vector<TokenId> guesses;    // that stand after them, or are being made by the draft model
  std::vector<RowResult> results;  // of the rows from the last accepted token on
  bool drafting = false;           // the draft model is at work, the sequence waits
  TokenId newest = -1;             // meanwhile: the sequence's last accepted token
  std::int32_t wanted = 0;         // meanwhile: guesses to make
  bool live = true;
  std::unique_ptr<Drafter> drafter;
  DraftLength length{0};
};

class Choices final : public Strategy {
 public:
  Choices(ChoiceSettings settings, RowMaker rows, std::vector<TokenId> prompt)
      : settings_(std::move(settings)), rows_(std::move(rows)), prompt_(std::move(prompt)) {}

  void begin(SequenceSet& sequences) override {
    const SequenceId first = sequences.start(ModelSlot::kMain, prompt_);
    for (std::int32_t i = 0; i < settings_.choices; ++i) {
      Choice choice;
      choice.index = i;
      choice.stream = settings_.first_stream + i;
      choice.sequence = first;
      choice.accepted = prompt_tokens();
      if (rows_.guide() != nullptr) choice.guide = rows_.guide()->start();
      choice.length = DraftLength(settings_.speculation.most);
      if (settings_.speculation.kind == SpeculationKind::kNgram) choice.drafter = make_ngram_drafter();
      if (settings_.speculation.kind == SpeculationKind::kLookahead)
        choice.drafter = make_lookahead_drafter();
      choices_.push_back(std::move(choice));
    }
  }

  void want(const SequenceSet& sequences, SequenceId id, std::int32_t position, std::int32_t row,
            ScoreList& list) override {
    const std::vector<TokenId>& tokens = sequences.tokens(id);
    if (position + 1 < prompt_tokens()) {
      if (settings_.score_prompt && id == choices_[0].sequence)
        list.rows.push_back(prompt_row(row, position, prompt_[static_cast<std::size_t>(position) + 1]));
      return;
    }
    if (settings_.max_tokens == 0) return list.rows.push_back(prompt_row(row, position, -1));
    for (Choice& c : choices_) {
      if (!c.live) continue;
      const bool drafts = id == c.draft && static_cast<std::size_t>(position) + 1 == tokens.size();
      if (!drafts && (id != c.sequence || position + 1 < c.accepted)) continue;
      const auto known = static_cast<std::size_t>(position) + 1;
      list.rows.push_back(
          rows_.make(row, std::span(tokens).first(known), c.stream, guide_after(c, tokens, known), list));
    }
  }

  void take(SequenceId id, std::int32_t position, RowResult result, std::vector<Output>& out) override {
    if (position + 1 < prompt_tokens() || settings_.max_tokens == 0) {
      if (position + 1 == prompt_tokens()) return end_without_tokens(position, result, out);
      return out.push_back({0, position, std::move(result), false, std::nullopt, std::nullopt});
    }
    // Choices that share the prompt's sequence asked in their order.
    Choice* owner = nullptr;
    for (Choice& c : choices_)
      if (c.live && (id == c.draft ||
                     (id == c.sequence && (owner == nullptr || c.results.size() < owner->results.size()))))
        owner = &c;
    LLM_TP_CHECK(owner != nullptr, "a result that no choice asked for");
    if (id == owner->draft)
      owner->guesses.push_back(result.token);
    else
      owner->results.push_back(std::move(result));
  }

  void advance(SequenceSet& sequences, std::vector<Output>& out) override {
    if (settings_.max_tokens == 0) return;
    const bool prompt_was_run = !forked_;
    for (Choice& c : choices_) {
      if (!c.live) continue;
      if (c.drafting)
        go_on_drafting(sequences, c);
      else
        verify(sequences, c, out);
    }
    if (prompt_was_run) fork_prompt(sequences);
    for (Choice& c : choices_)
      if (c.live && !c.drafting && !c.results.empty()) continue_with(sequences, c);
  }

  void stop(SequenceSet& sequences, std::int32_t index) override {
    for (Choice& c : choices_)
      if (c.index == index && c.live) end(sequences, c);
  }

  bool finished() const override {
    return std::none_of(choices_.begin(), choices_.end(), [](const Choice& c) { return c.live; });
  }
  std::int32_t most_sequences() const override {
    return static_cast<std::int32_t>(
        std::count_if(choices_.begin(), choices_.end(), [](const Choice& c) { return c.live; }));
  }
  StrategyFigures figures() const override { return figures_; }

 private:
  std::int32_t prompt_tokens() const noexcept { return static_cast<std::int32_t>(prompt_.size()); }
  std::int32_t left(const Choice& c) const noexcept {
    return prompt_tokens() + settings_.max_tokens - c.accepted;
  }

  /// The prompt was all there was to run.
  void end_without_tokens(std::int32_t position, const RowResult& last, std::vector<Output>& out) {
    for (Choice& c : choices_) {
      if (!c.live) continue;
      c.live = false;
      out.push_back({c.index, position, last, false, FinishReason::kLength, std::nullopt});
    }
  }

  RowRequest prompt_row(std::int32_t row, std::int32_t position, TokenId target) const {
    RowRequest request;
    request.row = row;
    request.position = position + 1;
    request.target = target;
    request.best = settings_.prompt_best;
    if (settings_.whole_logits) request.whole = WholeKind::kLogits;
    return request;
  }

  /// The grammar's state after tokens[0, known), some of which may be guesses.
  Guide::State guide_after(const Choice& c, const std::vector<TokenId>& tokens, std::size_t known) const {
    Guide::State state = c.guide;
    if (rows_.guide() == nullptr) return state;
    for (auto i = static_cast<std::size_t>(c.accepted); i < known && state != Guide::kDead; ++i)
      state = rows_.guide()->after(state, tokens[i]);
    return state;
  }

  /// Takes over what the model chose: up to the first wrong guess, and one token more.
  void verify(SequenceSet& sequences, Choice& c, std::vector<Output>& out) {
    const auto guesses = static_cast<std::int32_t>(c.guesses.size());
    std::int32_t right = 0;
    std::size_t used = 0;
    bool goes_on = true;
    while (goes_on) {
      const TokenId token = c.results[used].token;
      Output output{c.index, c.accepted - 1, c.results[used], token >= 0, std::nullopt, std::nullopt};
      ++used;
      if (token >= 0) {
        ++c.accepted;
        if (rows_.guide() != nullptr) c.guide = rows_.guide()->after(c.guide, token);
        if (std::find(settings_.end_ids.begin(), settings_.end_ids.end(), token) != settings_.end_ids.end())
          output.finished = FinishReason::kStop;
        else if (rows_.guide() != nullptr && rows_.guide()->is_over(c.guide))
          output.finished = FinishReason::kComplete;
        else if (left(c) <= 0)
          output.finished = FinishReason::kLength;
      } else {
        output.finished = FinishReason::kError;
      }
      const bool was_right = right < guesses && token == c.guesses[static_cast<std::size_t>(right)];
      right += was_right ? 1 : 0;
      goes_on = was_right && !output.finished && used < c.results.size();
      const bool finished = output.finished.has_value();
      out.push_back(std::move(output));
      if (finished) end(sequences, c);
    }
    if (guesses > 0) {
      ++figures_.verifications;
      figures_.drafted += guesses;
      figures_.accepted += right;
      figures_.verified_tokens += static_cast<std::int64_t>(used);
      c.length.observe(guesses, right);
    }
    if (c.drafter && c.live) {
      std::vector<TokenId> chosen;
      for (const RowResult& r : c.results) chosen.push_back(r.token);
      c.drafter->observe(chosen, right);
    }
    c.results.resize(used);
  }

  void end(SequenceSet& sequences, Choice& c) {
    c.live = false;
    if (c.draft != kNoSequence) sequences.drop(c.draft);
    // Before the fork all choices stand on the prompt's sequence; fork_prompt() settles that one.
    if (forked_) sequences.drop(c.sequence);
  }

  /// The first choice that goes on keeps the prompt's sequence, the others get forks of it.
  void fork_prompt(SequenceSet& sequences) {
    forked_ = true;
    const SequenceId prompt = choices_[0].sequence;
    bool kept = false;
    for (Choice& c : choices_) {
      if (!c.live) continue;
      if (kept) c.sequence = sequences.fork(prompt);
      kept = true;
    }
    if (!kept) sequences.drop(prompt);
  }

  /// Appends the newest token and guesses of what follows it.
  void continue_with(SequenceSet& sequences, Choice& c) {
    std::vector<TokenId> chosen{c.results.back().token};
    c.results.clear();
    c.guesses.clear();
    sequences.cut(c.sequence, c.accepted - 1);
    sequences.append(c.sequence, chosen);
    const std::int32_t most = std::min(c.length.next(), left(c) - 1);
    if (most <= 0) return;
    if (rows_.guide() != nullptr) rows_.guide()->forced(c.guide, most, c.guesses);
    if (c.guesses.empty() && c.drafter) c.drafter->propose(sequences.tokens(c.sequence), most, c.guesses);
    if (!c.guesses.empty()) return sequences.append(c.sequence, c.guesses);
    if (settings_.speculation.kind == SpeculationKind::kDraftModel) start_drafting(sequences, c, most);
  }

  void start_drafting(SequenceSet& sequences, Choice& c, std::int32_t most) {
    const std::vector<TokenId> tokens = sequences.tokens(c.sequence);
    // The sequence waits without the newest token, which would be run at once.
    sequences.cut(c.sequence, c.accepted - 1);
    c.newest = tokens.back();
    c.drafting = true;
    c.wanted = most;
    if (c.draft == kNoSequence) {
      c.draft = sequences.start(ModelSlot::kDraft, tokens);
      return;
    }
    const std::vector<TokenId>& known = sequences.tokens(c.draft);
    const auto same = std::mismatch(known.begin(), known.end(), tokens.begin(), tokens.end()).first;
    // The last token is always run again where it was run before: its row makes the next guess.
    const auto keep = std::min(same - known.begin(), static_cast<std::ptrdiff_t>(tokens.size()) - 1);
    sequences.cut(c.draft, static_cast<std::int32_t>(keep));
    sequences.append(c.draft, std::span(tokens).subspan(static_cast<std::size_t>(keep)));
  }

  void go_on_drafting(SequenceSet& sequences, Choice& c) {
    const bool stuck = c.guesses.back() < 0;  // the draft model found every token forbidden
    if (stuck) c.guesses.pop_back();
    if (!stuck && static_cast<std::int32_t>(c.guesses.size()) < c.wanted)
      return sequences.append(c.draft, std::span(c.guesses).last(1));
    c.drafting = false;
    const std::vector<TokenId> newest{c.newest};
    sequences.append(c.sequence, newest);
    sequences.append(c.sequence, c.guesses);
  }

  ChoiceSettings settings_;
  RowMaker rows_;
  std::vector<TokenId> prompt_;
  std::vector<Choice> choices_;
  bool forked_ = false;
  StrategyFigures figures_;
};

}  // namespace

std::unique_ptr<Strategy> make_choices(ChoiceSettings settings, RowMaker rows, std::vector<TokenId> prompt) {
  return std::make_unique<Choices>(std::move(settings), std::move(rows), std::move(prompt));
}

}  // namespace llm_tp
