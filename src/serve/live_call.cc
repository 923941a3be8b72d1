#include "serve/live_call.h"

#include <utility>

namespace llm_tp {

LiveCall::LiveCall(Call call, const ServedModel& model, Metrics& metrics)
    : call_(std::move(call)), metrics_(metrics), answer_(call_, model), last_token_(call_.sequences.size()) {}

bool LiveCall::progress(std::size_t request, const Progress& progress) {
  if (progress.new_token) {
    const auto now = Clock::now();
    if (auto& last = last_token_[request]; last)
      metrics_.token_gap(std::chrono::duration<double>(now - *last).count());
    last_token_[request] = now;
    if (!first_token_) {
      first_token_ = now;
      metrics_.first_token(std::chrono::duration<double>(now - began_).count());
    }
  }
  AnswerPiece piece = answer_.push(request, progress);
  const bool goes_on = !answer_.finished(request);
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
  ended_ = Clock::now();
  const Usage usage = answer_.usage();
  metrics_.tokens(usage.prompt_tokens, usage.cached_tokens, usage.completion_tokens);
  if (end == JobEnd::kDone) metrics_.whole(seconds());
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

double LiveCall::seconds() const {
  return std::chrono::duration<double>(ended_.value_or(Clock::now()) - began_).count();
}

std::optional<double> LiveCall::seconds_to_first_token() const {
  if (!first_token_) return std::nullopt;
  return std::chrono::duration<double>(*first_token_ - began_).count();
}

}  // namespace llm_tp
