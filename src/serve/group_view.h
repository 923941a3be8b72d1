#pragma once
#include <chrono>
#include <mutex>
#include <string>

#include "engine/service.h"
#include "serve/recent_activity.h"
#include "serve/served_model.h"

namespace llm_tp {

/// What GET /group says: the ranks, where they are and what their time goes into, pages, queue, tokens a
/// second. Any thread.
class GroupView {
 public:
  /// Of a step that is over. Called on the engine's thread.
  void observe(const ServiceState& state);
  /// JSON as docs/serving.md has it.
  std::string text(const ServedModel& model, const EngineService& service) const;

 private:
  using Clock = std::chrono::steady_clock;
  const Clock::time_point began_ = Clock::now();
  mutable std::mutex mutex_;  // guards recent_
  RecentActivity recent_;
};

}  // namespace llm_tp
