#include "comm/ipc/mailboxes.h"

#include <vector>

#include "base/byte_stream.h"
#include "comm/try_together.h"

namespace llm_tp {

Mailboxes::Mailboxes(CudaBackend& device, int rank, int world) {
  group_.rank = rank;
  group_.world = world;
  void* at = nullptr;
  // Memory of pools cannot be shared this way.
  check_cuda(cudaMalloc(&at, mailbox_bytes(world)), "cudaMalloc");
  DeviceLog::of_this_thread().takes_memory(mailbox_bytes(world), "mail of other GPUs");
  group_.mail[rank] = static_cast<std::byte*>(at);
  check_cuda(cudaMemsetAsync(at, 0, mailbox_bytes(world), device.stream()), "cudaMemsetAsync");
  device.synchronize();
}

cudaIpcMemHandle_t Mailboxes::handle() const {
  cudaIpcMemHandle_t handle{};
  check_cuda(cudaIpcGetMemHandle(&handle, group_.mail[group_.rank]), "cudaIpcGetMemHandle");
  return handle;
}

void Mailboxes::open(int rank, const cudaIpcMemHandle_t& handle) {
  void* at = nullptr;
  check_cuda(cudaIpcOpenMemHandle(&at, handle, cudaIpcMemLazyEnablePeerAccess), "cudaIpcOpenMemHandle");
  group_.mail[rank] = static_cast<std::byte*>(at);
}

void Mailboxes::close_together(Communicator& host, ControlChannel& control) {
  for (int r = 0; r < group_.world; ++r)
    if (r != group_.rank && group_.mail[r] != nullptr)
      check_cuda(cudaIpcCloseMemHandle(group_.mail[r]), "cudaIpcCloseMemHandle");
  // CUDA wants memory to be unmapped everywhere before it is freed.
  host.gather({});
  std::vector<std::byte> all_did;
  control.broadcast(all_did);
  check_cuda(cudaFree(group_.mail[group_.rank]), "cudaFree");
  DeviceLog::of_this_thread().gives_back(mailbox_bytes(group_.world));
}

std::shared_ptr<Mailboxes> exchange_mailboxes(CudaBackend& device, Communicator& host,
                                              ControlChannel& control, std::string& why_not) {
  std::shared_ptr<Mailboxes> mail;
  std::vector<std::vector<std::byte>> handles;
  auto failure = try_together(
      host, control,
      [&] {
        mail = std::make_shared<Mailboxes>(device, host.rank(), host.world());
        ByteWriter handle;
        handle.value(mail->handle());
        return handle.take();
      },
      &handles);
  if (failure) {
    why_not = failure->what();
    return nullptr;
  }
  failure = try_together(host, control, [&] {
    for (int r = 0; r < host.world(); ++r)
      if (r != host.rank())
        mail->open(r, ByteReader(handles[static_cast<std::size_t>(r)]).value<cudaIpcMemHandle_t>());
    return std::vector<std::byte>{};
  });
  if (!failure) return mail;
  why_not = failure->what();
  mail->close_together(host, control);
  return nullptr;
}

}  // namespace llm_tp
