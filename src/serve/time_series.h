#pragma once
#include <cstdint>
#include <vector>

namespace llm_tp {

/// A quantity over time in bounded memory: slots of one length, 1 s at first. Where they do not reach any
/// more, neighbours become one and the length doubles. No clock of its own; not thread-safe.
class TimeSeries {
 public:
  static constexpr std::size_t kMostSlots = 240;
  struct Slot {
    double sum = 0;
    std::int64_t count = 0;
  };
  /// seconds: since the start, 0 or more.
  void add(double seconds, double value);
  double slot_seconds() const noexcept { return slot_seconds_; }
  const std::vector<Slot>& slots() const noexcept { return slots_; }

 private:
  std::vector<Slot> slots_;
  double slot_seconds_ = 1;
};

}  // namespace llm_tp
