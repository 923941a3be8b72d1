#pragma once
#include <sched.h>

#include <chrono>
#include <functional>
#include <utility>

namespace llm_tp {

/// How the host waits for the device: it asks again and again, and every few milliseconds lets a watcher
/// look, which may throw where the wait has become hopeless. One thread.
class DeviceWait {
 public:
  /// look: how often it has looked during this wait before.
  using Watcher = std::function<void(int look)>;
  /// Empty: none.
  void watch(Watcher watcher) { watcher_ = std::move(watcher); }
  const Watcher& watcher() const noexcept { return watcher_; }

  template <class Done>
  void until(const Done& done) const {
    using Clock = std::chrono::steady_clock;
    Clock::time_point next_look = Clock::now() + kLookEvery;
    int looks = 0;
    while (!done()) {
      if (watcher_ && Clock::now() >= next_look) {
        watcher_(looks++);
        next_look = Clock::now() + kLookEvery;
      }
      sched_yield();
    }
  }

 private:
  static constexpr std::chrono::milliseconds kLookEvery{5};
  Watcher watcher_;
};

}  // namespace llm_tp
