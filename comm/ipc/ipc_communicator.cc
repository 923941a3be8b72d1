#include "comm/ipc/ipc_communicator.h"

#include <algorithm>
#include <atomic>
#include <exception>
#include <utility>

#include "comm/ipc/peer_tree.h"
#include "comm/tree_reduce.h"
#include "comm/try_together.h"
#include "kernels/cuda/device_rows.h"

namespace llm_tp {
namespace {

constexpr std::size_t kOwnersBytes = kMostListedRows * sizeof(std::int32_t);
constexpr std::size_t kStopBytes = sizeof(std::uint32_t);

}  // namespace

IpcCommunicator::IpcCommunicator(CudaBackend& device, Communicator& host, ControlChannel& control,
                                 std::shared_ptr<Mailboxes> mail, std::unique_ptr<Communicator> large,
                                 const GpuGroupOptions& options)
    : device_(device),
      host_(host),
      control_(control),
      options_(options),
      mail_(std::move(mail)),
      large_(std::move(large)),
      group_(mail_->group()),
      owners_(device.stream(), device.pipe()),
      ranks_(host, options.limit) {
  do_together(host, control, [&] {
    owners_.reserve(kOwnersBytes);
    stop_.reserve(kStopBytes);
  });
  auto* const stop = reinterpret_cast<std::uint32_t*>(stop_.data());
  *stop = 0;
  group_.stop = stop;
  device_.wait().watch([this, of_large = device_.wait().watcher()](int look) {
    try {
      if (of_large) of_large(look);
      ranks_.look(look, "a sum between GPUs");
    } catch (...) {
      stop_kernels();
      throw;
    }
  });
}

IpcCommunicator::~IpcCommunicator() {
  if (std::uncaught_exceptions() > 0) {
    stop_kernels();
  } else {
    try {
      device_.synchronize();
      mail_->close_together(host_, control_);
    } catch (const Error&) {
      stop_kernels();  // a rank was lost after the last sum: the memory goes with the process
    }
  }
  device_.wait().watch({});
}

void IpcCommunicator::stop_kernels() noexcept {
  std::atomic_ref(*reinterpret_cast<std::uint32_t*>(stop_.data())).store(1, std::memory_order_release);
}

MemoryUse IpcCommunicator::own_memory() const {
  const std::size_t device = mailbox_bytes(world()) + StreamMemory::taken_for(kOwnersBytes);
  const MemoryUse own{static_cast<std::int64_t>(device), std::int64_t{kStopBytes}};
  return large_ ? own + large_->own_memory() : own;
}

std::string IpcCommunicator::description() const {
  std::string text =
      "CUDA IPC, " + std::to_string(world()) + " ranks on one host, added along the tree on each GPU";
  if (large_)
    text += "; above " + std::to_string(options_.ipc_numbers * std::int64_t{sizeof(float)} >> 20) + " MiB " +
            large_->description();
  return text;
}

std::vector<std::vector<std::byte>> IpcCommunicator::gather(std::span<const std::byte> mine) {
  const CallTimer timer(seconds_);
  return host_.gather(mine);
}

void IpcCommunicator::sum_tree(TensorView out, TensorView mine, const TreeParts& parts) {
  const CallTimer timer(seconds_);
  const std::int64_t elements = checked_elements(out, mine, parts, rank(), world());
  if (elements == 0) return;
  LLM_TP_CHECK(out.row_stride == out.columns() || out.rows() <= 1,
               "sums between GPUs: out must be contiguous");
  const PeerTree tree = peer_tree_of(parts, rank());
  const std::int64_t numbers = elements * tree.most;
  if (large_ && numbers > options_.ipc_numbers) return large_->sum_tree(out, mine, parts);
  auto* const to = reinterpret_cast<float*>(out.data);
  const auto* const from = reinterpret_cast<const float*>(mine.data);
  const bool whole = numbers <= options_.ipc_whole_numbers;
  const auto sum = whole ? peer_sum_whole : peer_sum_slices;
  const std::int64_t piece = whole ? peer_sum_whole_limit(tree) : peer_sum_slices_limit(tree, world());
  for (std::int64_t begin = 0; begin < elements; begin += piece)
    sum(device_.stream(), group_, tree, to + begin, tree.own > 0 ? from + begin : nullptr, elements,
        std::min(piece, elements - begin));
}

void IpcCommunicator::sum_add_norm(DeviceBackend& ops, const ResidualNorm& norm, TensorView room,
                                   TensorView mine, const TreeParts& parts) {
  const std::int64_t elements = checked_elements(room, mine, parts, rank(), world());
  const PeerTree tree = peer_tree_of(parts, rank());
  const bool fused = &ops == &device_ && elements > 0 && elements * tree.most <= options_.ipc_whole_numbers &&
                     has_room_for_norm(tree, room.rows(), room.columns());
  if (!fused) return Communicator::sum_add_norm(ops, norm, room, mine, parts);
  const CallTimer timer(seconds_);
  peer_add_norm(device_.stream(), group_, tree, residual_norm_of(norm),
                tree.own > 0 ? reinterpret_cast<const float*>(mine.data) : nullptr);
}

void IpcCommunicator::share_rows(TensorView out, TensorView mine, std::span<const int> owners) {
  const CallTimer timer(seconds_);
  check_shared_rows(out, mine, owners, world());
  const std::int64_t numbers = out.rows() * out.columns();
  if (numbers == 0) return;
  if (large_ && numbers > options_.ipc_numbers) return large_->share_rows(out, mine, owners);
  const auto* const of_rows = owners_.hold(std::span<const std::int32_t>(owners));
  for (std::int64_t begin = 0; begin < numbers; begin += peer_rows_limit())
    peer_rows(device_.stream(), group_, rows_of(out), rows_of(mine), of_rows, begin,
              std::min(numbers, begin + peer_rows_limit()));
}

}  // namespace llm_tp
