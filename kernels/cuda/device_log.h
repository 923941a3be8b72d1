#pragma once
#include <cstddef>
#include <cstdint>
#include <string>

#include "kernels/memory_use.h"

namespace llm_tp {

/// What a thread's device was told last, so that an error that CUDA reports at a later call can name kernels,
/// and what memory was taken, on the device or pinned on the host. A backend has one thread, and a thread one
/// backend at a time.
class DeviceLog {
 public:
  static DeviceLog& of_this_thread();

  /// A backend begins, which may take memory: the device's number and name.
  void begin(int device, const std::string& name);
  /// Before a kernel is queued. `kernel` must last.
  void launches(const char* kernel) noexcept;
  /// Before a recorded step is queued again, whose kernels count as one.
  void replays_step() noexcept;
  /// The device has done all that was queued.
  void is_idle() noexcept {
    launched_ = 0;
    replays_ = false;
  }

  /// Memory of the device was taken for `what`, or given back. After expect_no_more() the first is worth a
  /// warning.
  void takes_memory(std::size_t bytes, const char* what);
  void gives_back(std::size_t bytes) noexcept { in_use_.device -= static_cast<std::int64_t>(bytes); }
  /// Likewise of the host's, pinned.
  void pins_memory(std::size_t bytes);
  void unpins_memory(std::size_t bytes) noexcept { in_use_.pinned -= static_cast<std::int64_t>(bytes); }
  void expect_no_more() noexcept { complete_ = true; }
  /// Taken by this thread and not given back.
  const MemoryUse& in_use() const noexcept { return in_use_; }
  /// How often memory was taken by this thread.
  std::int64_t times_taken() const noexcept { return times_taken_; }

  /// "device 0 (NVIDIA H100 80GB HBM3)"
  const std::string& device() const noexcept { return device_; }
  /// Which kernels an error found now may come from, as the end of a sentence.
  std::string suspects() const;

 private:
  void took(std::size_t bytes, const char* what);

  std::string device_ = "no device";
  const char *first_ = "", *last_ = "";  // kernels since the device was idle
  std::int64_t launched_ = 0, times_taken_ = 0;
  bool replays_ = false;  // a recorded step is among them
  MemoryUse in_use_;
  bool complete_ = false;
};

}  // namespace llm_tp
