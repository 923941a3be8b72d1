#pragma once
#include <functional>
#include <mutex>
#include <string>
#include <vector>

#include "engine/service.h"
#include "serve/answer.h"
#include "serve/call_clock.h"

namespace llm_tp {

/// A call while it runs: the engine's thread puts in what happens, the server's takes it out. What waits is
/// bounded by the answer itself, so a slow reader holds up nobody.
class LiveCall : public JobListener {
 public:
  LiveCall(Call call, const ServedModel& model, CallMeter& meter);

  // The engine's thread:
  bool progress(std::size_t request, const Progress& progress) override;
  void over(JobEnd end, const std::string& reason) override;

  // The server's thread:
  /// `wake` is called on the engine's thread when there is something new after take().
  void on_news(std::function<void()> wake);
  struct News {
    std::vector<AnswerPiece> pieces;  // of a stream; else empty
    bool over = false;
  };
  News take();
  JobId job = 0;  // once it was handed to the engine
  const Call& call() const noexcept { return call_; }
  // Once over:
  JobEnd end() const noexcept { return end_; }
  const std::string& reason() const noexcept { return reason_; }
  const Answer& answer() const noexcept { return answer_; }
  double seconds() const { return clock_.seconds(); }
  std::optional<double> seconds_to_first_token() const { return clock_.seconds_to_first_token(); }

 private:
  void tell();

  const Call call_;
  // The engine's thread, and once over the server's:
  Answer answer_;
  CallClock clock_;
  JobEnd end_ = JobEnd::kDone;
  std::string reason_;

  std::mutex mutex_;
  News news_;
  bool told_ = false;
  std::function<void()> wake_;
};

}  // namespace llm_tp
