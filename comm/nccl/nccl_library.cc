#include "comm/nccl/nccl_library.h"

#include <string>

#include "base/shared_library.h"

namespace llm_tp {
namespace {

constexpr const char* kName = "libnccl.so.2";

NcclLibrary load() {
  NcclLibrary nccl;
  // Where the loader looks, then where the build found it.
  const SharedLibrary library({kName, LLM_TP_NCCL_LIBRARY});
  nccl.origin = library.origin();
  if (!library) {
    nccl.missing =
        std::string(kName) + " was not found: install NCCL 2, or add its folder to LD_LIBRARY_PATH";
    return nccl;
  }
  const auto bind = [&](auto& call, const char* name) {
    library.bind(call, name);
    if (call == nullptr) nccl.missing = nccl.origin + " has no " + name + ": NCCL 2.14 or later is needed";
  };
  bind(nccl.get_version, "ncclGetVersion");
  bind(nccl.error_string, "ncclGetErrorString");
  bind(nccl.unique_id, "ncclGetUniqueId");
  bind(nccl.init_rank, "ncclCommInitRankConfig");
  bind(nccl.destroy, "ncclCommDestroy");
  bind(nccl.abort, "ncclCommAbort");
  bind(nccl.async_error, "ncclCommGetAsyncError");
  bind(nccl.group_start, "ncclGroupStart");
  bind(nccl.group_end, "ncclGroupEnd");
  bind(nccl.broadcast, "ncclBroadcast");
  bind(nccl.all_gather, "ncclAllGather");
  bind(nccl.all_reduce, "ncclAllReduce");
  bind(nccl.send, "ncclSend");
  bind(nccl.receive, "ncclRecv");
#ifdef LLM_TP_NCCL_WINDOWS
  library.bind(nccl.take_memory, "ncclMemAlloc");
  library.bind(nccl.free_memory, "ncclMemFree");
  library.bind(nccl.register_window, "ncclCommWindowRegister");
  library.bind(nccl.deregister_window, "ncclCommWindowDeregister");
#endif
  return nccl;
}

}  // namespace

const NcclLibrary& nccl_library() {
  static const NcclLibrary library = load();
  return library;
}

}  // namespace llm_tp
