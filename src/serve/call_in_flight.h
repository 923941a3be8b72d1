#pragma once
#include <optional>
#include <string>

#include "engine/service.h"
#include "serve/answer.h"
#include "serve/call_clock.h"

namespace llm_tp {

/// A call that the engine runs: its answer grows, its times are told to a meter. The engine's thread alone
/// uses it until it is over.
class CallInFlight : public JobListener {
 public:
  /// `model` and `meter` are borrowed.
  CallInFlight(Call call, const ServedModel& model, CallMeter& meter)
      : call_(std::move(call)), answer_(call_, model), clock_(meter, call_.choices()) {}

  bool progress(std::size_t request, const Progress& progress) override {
    AnswerPiece piece = answer_.push(request, progress);
    if (progress.new_token) clock_.token(piece.choice);
    const bool goes_on = !answer_.finished(piece.choice);
    has_grown(std::move(piece));
    return goes_on;
  }
  void over(JobEnd end, const std::string& reason) override {
    end_ = end;
    reason_ = reason;
    clock_.over(end == JobEnd::kDone, answer_.usage());
    is_over();
  }

  const Call& call() const noexcept { return call_; }
  const Answer& answer() const noexcept { return answer_; }
  /// Empty while it runs.
  const std::optional<JobEnd>& end() const noexcept { return end_; }
  const std::string& reason() const noexcept { return reason_; }
  double seconds() const { return clock_.seconds(); }
  std::optional<double> seconds_to_first_token() const { return clock_.seconds_to_first_token(); }
  JobId job = 0;  // once it was handed to the engine

 private:
  virtual void has_grown(AnswerPiece&&) {}
  virtual void is_over() {}

  const Call call_;
  Answer answer_;
  CallClock clock_;
  std::optional<JobEnd> end_;
  std::string reason_;
};

}  // namespace llm_tp
