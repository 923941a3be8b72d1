#include "comm/nccl/nccl_window.h"

#include "base/error.h"
#include "comm/nccl/nccl_library.h"
#include "kernels/cuda/device_log.h"

namespace llm_tp {

#ifdef LLM_TP_NCCL_WINDOWS

std::string NcclWindow::why_not() {
  const NcclLibrary& nccl = nccl_library();
  const bool has_all = nccl.take_memory && nccl.free_memory && nccl.register_window && nccl.deregister_window;
  return has_all ? "" : nccl.origin + " is older than NCCL 2.27";
}

NcclWindow::NcclWindow(std::size_t bytes) : bytes_(bytes) {
  if (const ncclResult_t result = nccl_library().take_memory(&memory_, bytes); result != ncclSuccess)
    throw Error(ExitCode::kUnavailable,
                std::string("NCCL, ncclMemAlloc: ") + nccl_library().error_string(result));
  DeviceLog::of_this_thread().takes_memory(bytes, "a window of NCCL");
}

NcclWindow::~NcclWindow() {
  if (is_registered()) return;
  nccl_library().free_memory(memory_);
  DeviceLog::of_this_thread().gives_back(bytes_);
}

ncclResult_t NcclWindow::register_with(ncclComm_t comm) {
  return nccl_library().register_window(comm, memory_, bytes_, reinterpret_cast<ncclWindow_t*>(&window_),
                                        NCCL_WIN_COLL_SYMMETRIC);
}

ncclResult_t NcclWindow::deregister(ncclComm_t comm) {
  const ncclResult_t result = nccl_library().deregister_window(comm, static_cast<ncclWindow_t>(window_));
  if (result == ncclSuccess || result == ncclInProgress) window_ = nullptr;
  return result;
}

#else

std::string NcclWindow::why_not() { return "this program was built with a header older than NCCL 2.27"; }
NcclWindow::NcclWindow(std::size_t bytes) : bytes_(bytes) { throw Error(ExitCode::kUnavailable, why_not()); }
NcclWindow::~NcclWindow() = default;
ncclResult_t NcclWindow::register_with(ncclComm_t) { return ncclInvalidUsage; }
ncclResult_t NcclWindow::deregister(ncclComm_t) { return ncclInvalidUsage; }

#endif

}  // namespace llm_tp
