#include "comm/nccl/nccl_library.h"

#include <dlfcn.h>

#include <type_traits>

namespace llm_tp {
namespace {

constexpr const char* kName = "libnccl.so.2";

NcclLibrary load() {
  NcclLibrary nccl;
  void* library = nullptr;
  // Where the loader looks, then where the build found it.
  for (const char* const name : {kName, LLM_TP_NCCL_LIBRARY}) {
    if (library != nullptr || *name == '\0') continue;
    library = dlopen(name, RTLD_NOW | RTLD_LOCAL);
    nccl.origin = name;
  }
  if (library == nullptr) {
    nccl.missing =
        std::string(kName) + " was not found: install NCCL 2, or add its folder to LD_LIBRARY_PATH";
    return nccl;
  }
  const auto look_up = [&](auto& call, const char* name) {
    call = reinterpret_cast<std::remove_reference_t<decltype(call)>>(dlsym(library, name));
  };
  const auto bind = [&](auto& call, const char* name) {
    look_up(call, name);
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
  look_up(nccl.take_memory, "ncclMemAlloc");
  look_up(nccl.free_memory, "ncclMemFree");
  look_up(nccl.register_window, "ncclCommWindowRegister");
  look_up(nccl.deregister_window, "ncclCommWindowDeregister");
#endif
  return nccl;
}

}  // namespace

const NcclLibrary& nccl_library() {
  static const NcclLibrary library = load();
  return library;
}

}  // namespace llm_tp
