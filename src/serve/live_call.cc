#include "serve/live_call.h"

#include <utility>

namespace llm_tp {

LiveCall::LiveCall(Call call, const ServedModel& model, CallMeter& meter)
    : call_(std::move(call)), answer_(call_, model), clock_(meter, call_.choices()) {}

bool LiveCall::progress(std::size_t request, const Progress& progress) {
  AnswerPiece piece = answer_.push(request, progress);
  if (progress.new_token) clock_.token(piece.choice);
  const bool goes_on = !answer_.finished(piece.choice);
  if (call_.request.stream) {
    {
      const std::lock_guard lock(mutex_);
      news_.pieces.push_back(std::move(piece));
    }
    tell();
  }
  return goes_on;
}

void LiveCall::over(JobEnd end, const std::string& reason) {
  end_ = end;
  reason_ = reason;
  clock_.over(end == JobEnd::kDone, answer_.usage());
  {
    const std::lock_guard lock(mutex_);
    news_.over = true;
  }
  tell();
}

void LiveCall::tell() {
  std::function<void()> wake;
  {
    const std::lock_guard lock(mutex_);
    if (told_ || !wake_) return;
    told_ = true;
    wake = wake_;
  }
  wake();
}

void LiveCall::on_news(std::function<void()> wake) {
  const std::lock_guard lock(mutex_);
  wake_ = std::move(wake);
}

LiveCall::News LiveCall::take() {
  const std::lock_guard lock(mutex_);
  told_ = false;
  return {std::exchange(news_.pieces, {}), news_.over};
}

}  // namespace llm_tp
