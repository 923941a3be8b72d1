#include "decoding/embedding.h"

#include <cmath>
#include <utility>

#include "base/error.h"

namespace llm_tp {
namespace {

class Embedding final : public Strategy {
 public:
  Embedding(EmbeddingSettings settings, std::vector<TokenId> prompt)
      : settings_(settings), prompt_(std::move(prompt)) {}

  void begin(SequenceSet& sequences) override { sequences.start(ModelSlot::kMain, prompt_); }

  void want(const SequenceSet&, SequenceId, std::int32_t position, std::int32_t row,
            ScoreList& list) override {
    if (settings_.pooling == Pooling::kLast && !is_last(position)) return;
    RowRequest request;
    request.row = row;
    request.position = position + 1;
    request.scored = 0;
    request.state = 1;
    list.rows.push_back(request);
  }

  void take(SequenceId, std::int32_t position, RowResult result, std::vector<Output>& out) override {
    LLM_TP_CHECK(settings_.pooling == Pooling::kLast || position == taken_, "states out of order");
    sum_.resize(result.state.size(), 0.0);
    for (std::size_t i = 0; i < sum_.size(); ++i) sum_[i] += static_cast<double>(result.state[i]);
    ++taken_;
    if (!is_last(position)) return;
    result.state = pooled();
    finished_ = true;
    out.push_back({0, position, std::move(result), false, FinishReason::kLength, std::nullopt});
  }

  void advance(SequenceSet&, std::vector<Output>&) override {}
  void stop(SequenceSet&, std::int32_t) override { finished_ = true; }
  bool finished() const override { return finished_; }
  std::int32_t most_sequences() const override { return 1; }

 private:
  bool is_last(std::int32_t position) const noexcept {
    return static_cast<std::size_t>(position) + 1 == prompt_.size();
  }

  std::vector<float> pooled() const {
    double squares = 0;
    for (double v : sum_) squares += v * v;
    // The mean's direction is the sum's.
    double divisor = settings_.normalised ? std::sqrt(squares) : static_cast<double>(taken_);
    if (divisor == 0) divisor = 1;
    std::vector<float> out;
    out.reserve(sum_.size());
    for (double v : sum_) out.push_back(static_cast<float>(v / divisor));
    return out;
  }

  EmbeddingSettings settings_;
  std::vector<TokenId> prompt_;
  std::vector<double> sum_;
  std::int32_t taken_ = 0;  // states in the sum
  bool finished_ = false;
};

}  // namespace

std::unique_ptr<Strategy> make_embedding(EmbeddingSettings settings, std::vector<TokenId> prompt) {
  return std::make_unique<Embedding>(settings, std::move(prompt));
}

}  // namespace llm_tp
