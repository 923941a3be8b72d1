#pragma once
#include <nccl.h>

#include <string>

#if NCCL_VERSION_CODE >= NCCL_VERSION(2, 27, 0)
#define LLM_TP_NCCL_WINDOWS  // the header has them
#endif

namespace llm_tp {

/// The calls of NCCL that are made here. They are looked up in libnccl.so.2 when first needed, so that a
/// program that was built with NCCL's header starts on hosts without its 200 MB.
struct NcclLibrary {
  std::string origin;   // the file: "/usr/lib/x86_64-linux-gnu/libnccl.so.2"
  std::string missing;  // why it cannot be used; empty where it can
  decltype(&::ncclGetVersion) get_version = nullptr;
  decltype(&::ncclGetErrorString) error_string = nullptr;
  decltype(&::ncclGetUniqueId) unique_id = nullptr;
  decltype(&::ncclCommInitRankConfig) init_rank = nullptr;
  decltype(&::ncclCommDestroy) destroy = nullptr;
  decltype(&::ncclCommAbort) abort = nullptr;
  decltype(&::ncclCommGetAsyncError) async_error = nullptr;
  decltype(&::ncclGroupStart) group_start = nullptr;
  decltype(&::ncclGroupEnd) group_end = nullptr;
  decltype(&::ncclBroadcast) broadcast = nullptr;
  decltype(&::ncclAllGather) all_gather = nullptr;
  decltype(&::ncclAllReduce) all_reduce = nullptr;
  decltype(&::ncclSend) send = nullptr;
  decltype(&::ncclRecv) receive = nullptr;
#ifdef LLM_TP_NCCL_WINDOWS
  // Each may be missing in the library.
  decltype(&::ncclMemAlloc) take_memory = nullptr;
  decltype(&::ncclMemFree) free_memory = nullptr;
  decltype(&::ncclCommWindowRegister) register_window = nullptr;
  decltype(&::ncclCommWindowDeregister) deregister_window = nullptr;
#endif
};

/// Looked up once a process.
const NcclLibrary& nccl_library();

}  // namespace llm_tp
