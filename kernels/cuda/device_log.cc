#include "kernels/cuda/device_log.h"

#include "base/log.h"

namespace llm_tp {

DeviceLog& DeviceLog::of_this_thread() {
  thread_local DeviceLog log;
  return log;
}

void DeviceLog::begin(int device, const std::string& name) {
  device_ = "device " + std::to_string(device) + " (" + name + ")";
  complete_ = false;
  is_idle();
}

void DeviceLog::takes_memory(std::size_t bytes, const char* what) {
  in_use_.device += static_cast<std::int64_t>(bytes);
  took(bytes, what);
}

void DeviceLog::pins_memory(std::size_t bytes) {
  in_use_.pinned += static_cast<std::int64_t>(bytes);
  took(bytes, "pinned memory of the host");
}

void DeviceLog::took(std::size_t bytes, const char* what) {
  ++times_taken_;
  if (complete_)
    log_warning(device_ + " takes memory after warm-up: " + std::to_string(bytes) + " bytes for " + what +
                "; steps go on, but wait for it; please report it with the command line");
}

void DeviceLog::launches(const char* kernel) noexcept {
  if (launched_++ == 0) first_ = kernel;
  last_ = kernel;
}

void DeviceLog::replays_step() noexcept {
  launches("the kernels of a recorded step");
  replays_ = true;
}

std::string DeviceLog::suspects() const {
  if (launched_ == 0) return "no kernel was on its way";
  if (launched_ == 1) return std::string("it may come from ") + last_ + ", the one kernel on its way";
  return "it may come from any of the " + std::to_string(launched_) + " kernels on their way, " + first_ +
         " to " + last_ +
         (replays_
              ? ", or from a recorded step among them; --gpu-graphs off and CUDA_LAUNCH_BLOCKING=1 tell which"
              : "; CUDA_LAUNCH_BLOCKING=1 tells which");
}

}  // namespace llm_tp
