#include "comm/ipc/mailboxes.h"

#include <functional>
#include <vector>

#include "base/byte_stream.h"
#include "base/error.h"

namespace llm_tp {
namespace {

/// Collective: the first rank where `part` fails, and why; empty where it fails nowhere. `told` of rank 0,
/// which has what all ranks brought, reaches all.
std::string first_failure(Communicator& host, ControlChannel& control, const std::function<void()>& part,
                          std::vector<cudaIpcMemHandle_t>& handles) {
  std::string mine;
  try {
    part();
  } catch (const Error& error) {
    mine = error.what();
  }
  ByteWriter said;
  said.text(mine);
  said.list(handles);
  std::string first;
  std::vector<cudaIpcMemHandle_t> all_handles;
  const auto all = host.gather(said.take());
  for (std::size_t r = 0; r < all.size(); ++r) {
    ByteReader in(all[r]);
    const std::string failure = in.text();
    if (first.empty() && !failure.empty()) first = "rank " + std::to_string(r) + ": " + failure;
    for (const cudaIpcMemHandle_t& handle : in.list<cudaIpcMemHandle_t>()) all_handles.push_back(handle);
  }
  ByteWriter out;
  out.text(first);
  out.list(all_handles);
  std::vector<std::byte> message = out.take();
  control.broadcast(message);
  ByteReader in(message);
  first = in.text();
  handles = in.list<cudaIpcMemHandle_t>();
  return first;
}

}  // namespace

Mailboxes::Mailboxes(CudaBackend& device, int rank, int world) {
  group_.rank = rank;
  group_.world = world;
  void* at = nullptr;
  // Memory of pools cannot be shared this way.
  check_cuda(cudaMalloc(&at, mailbox_bytes(world)), "cudaMalloc");
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
}

std::shared_ptr<Mailboxes> exchange_mailboxes(CudaBackend& device, Communicator& host,
                                              ControlChannel& control, std::string& why_not) {
  std::shared_ptr<Mailboxes> mail;
  std::vector<cudaIpcMemHandle_t> handles;
  why_not = first_failure(
      host, control,
      [&] {
        mail = std::make_shared<Mailboxes>(device, host.rank(), host.world());
        handles.push_back(mail->handle());
      },
      handles);
  if (!why_not.empty()) return nullptr;
  std::vector<cudaIpcMemHandle_t> none;
  why_not = first_failure(
      host, control,
      [&] {
        for (int r = 0; r < host.world(); ++r)
          if (r != host.rank()) mail->open(r, handles[static_cast<std::size_t>(r)]);
      },
      none);
  if (why_not.empty()) return mail;
  mail->close_together(host, control);
  return nullptr;
}

}  // namespace llm_tp
