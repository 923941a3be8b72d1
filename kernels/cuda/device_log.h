#pragma once
#include <cstddef>
#include <cstdint>
#include <string>

namespace llm_tp {

/// What a thread's device was told last, so that an error that CUDA reports at a later call can name kernels,
/// and how often memory was taken, on the device or pinned on the host. A backend has one thread, and a
/// thread one backend at a time.
class DeviceLog {
 public:
  static DeviceLog& of_this_thread();

  /// A backend begins, which may take memory: the device's number and name.
  void begin(int device, const std::string& name);
  /// Before a kernel is queued. `kernel` must last.
  void launches(const char* kernel) noexcept;
  /// The device has done all that was queued.
  void is_idle() noexcept { launched_ = 0; }

  /// Memory is taken for `what`. After expect_no_more() that is worth a warning.
  void takes_memory(std::size_t bytes, const char* what);
  void expect_no_more() noexcept { complete_ = true; }
  /// How often memory was taken by this thread.
  std::int64_t times_taken() const noexcept { return times_taken_; }

  /// "device 0 (NVIDIA H100 80GB HBM3)"
  const std::string& device() const noexcept { return device_; }
  /// Which kernels an error found now may come from, as the end of a sentence.
  std::string suspects() const;

 private:
  std::string device_ = "no device";
  const char *first_ = "", *last_ = "";  // kernels since the device was idle
  std::int64_t launched_ = 0, times_taken_ = 0;
  bool complete_ = false;
};

}  // namespace llm_tp
