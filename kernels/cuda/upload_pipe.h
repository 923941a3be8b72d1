#pragma once
#include <array>
#include <cstddef>
#include <span>
#include <vector>

#include "kernels/cuda/device_wait.h"
#include "kernels/cuda/handles.h"

namespace llm_tp {

/// At least so many bytes. CUDA waits for the device where pinned memory is taken or given back, for ever
/// where the device waits for a rank that died; so where it must grow, the wait is made here, with somebody
/// who looks.
inline std::byte* reserve_pinned(PinnedMemory& memory, std::size_t bytes, const CudaStream& stream,
                                 const DeviceWait& wait) {
  if (bytes > memory.bytes()) wait.until([&stream] { return stream.is_done(); });
  return memory.reserve(bytes);
}

/// Copies host bytes to the device through two pinned buffers: one fills while the other is on its way. One
/// thread.
class UploadPipe {
 public:
  static constexpr std::size_t kBufferBytes = std::size_t{8} << 20;

  /// Both must outlive this.
  UploadPipe(const CudaStream& stream, const DeviceWait& wait) : stream_(stream), wait_(wait) {}
  /// Both buffers; bytes: of each, kBufferBytes at least.
  void reserve(std::size_t bytes) {
    for (PinnedMemory& buffer : buffers_) reserve_pinned(buffer, bytes, stream_, wait_);
  }
  /// A pinned buffer of `bytes` (or a little more) to fill, once its last copy has left. Not while a graph is
  /// recorded: it would send what lies in the buffer when it is replayed.
  std::byte* next(std::size_t bytes) {
    LLM_TP_CHECK(!stream_.is_recorded(), "ops that are recorded send something to the device");
    turn_ = 1 - turn_;
    wait_.until([this] { return sent_[turn_].is_reached(); });
    return reserve_pinned(buffers_[turn_], bytes, stream_, wait_);
  }
  /// Sends the first bytes of the buffer that next() gave.
  void send(std::byte* to_device, std::size_t bytes) {
    check_cuda(
        cudaMemcpyAsync(to_device, buffers_[turn_].data(), bytes, cudaMemcpyHostToDevice, stream_.get()),
        "cudaMemcpyAsync to the device");
    sent_[turn_].record(stream_.get());
  }
  /// `from` may be reused at once.
  void copy(std::byte* to_device, std::span<const std::byte> from);

 private:
  const CudaStream& stream_;
  const DeviceWait& wait_;
  std::array<PinnedMemory, 2> buffers_;
  std::array<CudaEvent, 2> sent_;
  std::size_t turn_ = 0;
};

/// A small table of a step in device memory, sent again only when its contents change: ops of one layer after
/// the other ask for the same one. What a graph holds of it is the address, so it must be there, with the
/// step's contents, before ops are recorded or replayed.
class StepTable {
 public:
  StepTable(cudaStream_t stream, UploadPipe& pipe) : memory_(stream, "a step's table"), pipe_(pipe) {}
  /// Room for a table of so many bytes, so that it stays where it is.
  void reserve(std::size_t bytes) {
    const std::byte* const before = memory_.data();
    if (memory_.reserve(bytes) != before) held_.clear();
  }
  template <class T>
  const T* hold(std::span<const T> table) {
    return reinterpret_cast<const T*>(hold_bytes(std::as_bytes(table)));
  }

 private:
  const std::byte* hold_bytes(std::span<const std::byte> table);

  StreamMemory memory_;
  UploadPipe& pipe_;
  std::vector<std::byte> held_;
};

}  // namespace llm_tp
