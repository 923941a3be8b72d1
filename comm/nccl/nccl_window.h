#pragma once
#include <nccl.h>

#include <cstddef>
#include <string>

namespace llm_tp {

/// Device memory of NCCL's own that every rank registers together as a symmetric window (NCCL 2.27):
/// collectives from and to places at the same offsets in it run in kernels that reach the other GPUs' memory
/// directly.
class NcclWindow {
 public:
  /// What stands against windows in this build or its library; empty: nothing.
  static std::string why_not();
  /// Memory alone. Errors: kUnavailable.
  explicit NcclWindow(std::size_t bytes);
  /// Where it is still registered, as where an error is under way, the memory stays for the end of the
  /// process.
  ~NcclWindow();
  NcclWindow(const NcclWindow&) = delete;
  NcclWindow& operator=(const NcclWindow&) = delete;

  std::byte* data() const noexcept { return static_cast<std::byte*>(memory_); }
  /// Collective. Like all calls of a communicator that does not block, it may be on its way afterwards.
  ncclResult_t register_with(ncclComm_t comm);
  /// Once that has ended: false where NCCL gave none, as where GPUs do not reach each other's memory.
  bool is_registered() const noexcept { return window_ != nullptr; }
  /// Before the communicator ends, once no GPU works on the memory. The same.
  ncclResult_t deregister(ncclComm_t comm);

 private:
  std::size_t bytes_;
  void* memory_ = nullptr;
  void* window_ = nullptr;  // ncclWindow_t, which older headers lack
};

}  // namespace llm_tp
