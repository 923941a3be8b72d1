#include "serve/live_call.h"

#include <utility>

namespace llm_tp {

void LiveCall::has_grown(AnswerPiece&& piece) {
  if (!call().request.stream) return;
  {
    const std::lock_guard lock(mutex_);
    news_.pieces.push_back(std::move(piece));
  }
  tell();
}

void LiveCall::is_over() {
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
