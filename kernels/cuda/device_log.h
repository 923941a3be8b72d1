#pragma once
#include <cstddef>
#include <cstdint>
#include <string>

namespace llm_tp {

/// What a thread's device was told last, so that an error that CUDA reports at a later call can name kernels,
/// and how often memory was taken. A backend has one thread, and a thread one backend at a time.
class DeviceLog {
 public:
  static DeviceLog& of_this_thread();

  /// A backend begins: the device's number and name.
  void begin(int device, const std::string& name);
  /// Before a kernel is queued. `kernel` must last.
  void launches(const char* kernel) noexcept;
  /// The device has done all that was queued.
  void is_idle() noexcept { launched_ = 0; }

  /// "device 0 (NVIDIA H100 80GB HBM3)"
  const std::string& device() const noexcept { return device_; }
  /// Which kernels an error found now may come from, as the end of a sentence.
  std::string suspects() const;

 private:
  std::string device_ = "no device";
  const char *first_ = "", *last_ = "";  // kernels since the device was idle
  std::int64_t launched_ = 0;
};

}  // namespace llm_tp
