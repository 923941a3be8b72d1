#pragma once
#include <cuda_runtime_api.h>

#include <cstddef>
#include <utility>

#include "kernels/cuda/cuda_error.h"
#include "kernels/cuda/device_log.h"

namespace llm_tp {

/// Owners of what CUDA hands out; move-only. A stream must outlive what was allocated on it.
class CudaStream {
 public:
  CudaStream() { check_cuda(cudaStreamCreateWithFlags(&stream_, cudaStreamNonBlocking), "cudaStreamCreate"); }
  ~CudaStream() { cudaStreamDestroy(stream_); }
  CudaStream(const CudaStream&) = delete;
  CudaStream& operator=(const CudaStream&) = delete;
  cudaStream_t get() const noexcept { return stream_; }
  /// Blocks; nobody looks whether other ranks still come.
  void synchronize() const {
    check_cuda(cudaStreamSynchronize(stream_), "cudaStreamSynchronize");
    DeviceLog::of_this_thread().is_idle();
  }
  /// All that was queued is done.
  bool is_done() const {
    const cudaError_t state = cudaStreamQuery(stream_);
    if (state == cudaErrorNotReady) return false;
    check_cuda(state, "waiting for the device");
    DeviceLog::of_this_thread().is_idle();
    return true;
  }

 private:
  cudaStream_t stream_ = nullptr;
};

class CudaEvent {
 public:
  CudaEvent() { check_cuda(cudaEventCreateWithFlags(&event_, cudaEventDisableTiming), "cudaEventCreate"); }
  ~CudaEvent() { cudaEventDestroy(event_); }
  CudaEvent(const CudaEvent&) = delete;
  CudaEvent& operator=(const CudaEvent&) = delete;
  void record(cudaStream_t stream) { check_cuda(cudaEventRecord(event_, stream), "cudaEventRecord"); }
  /// The stream has passed the last record(); true where there was none.
  bool is_reached() const {
    const cudaError_t state = cudaEventQuery(event_);
    if (state == cudaErrorNotReady) return false;
    check_cuda(state, "waiting for an event");
    return true;
  }

 private:
  cudaEvent_t event_ = nullptr;
};

/// Device memory of one stream's order; empty by default. Grows by reserve(), which drops what was there.
class StreamMemory {
 public:
  explicit StreamMemory(cudaStream_t stream) : stream_(stream) {}
  ~StreamMemory() { release(); }
  StreamMemory(const StreamMemory&) = delete;
  StreamMemory& operator=(const StreamMemory&) = delete;

  /// At least so many bytes, a multiple of 256, not initialised.
  std::byte* reserve(std::size_t bytes) {
    if (bytes <= bytes_) return data_;
    release();
    const std::size_t rounded = (bytes + 255) / 256 * 256;
    void* at = nullptr;
    check_cuda(cudaMallocAsync(&at, rounded, stream_), "cudaMallocAsync");
    data_ = static_cast<std::byte*>(at);
    bytes_ = rounded;
    return data_;
  }
  std::byte* data() const noexcept { return data_; }

 private:
  void release() noexcept {
    if (data_ != nullptr) cudaFreeAsync(data_, stream_);
    data_ = nullptr;
    bytes_ = 0;
  }

  cudaStream_t stream_;
  std::byte* data_ = nullptr;
  std::size_t bytes_ = 0;
};

/// Host memory that the device copies from and to while the host goes on.
class PinnedMemory {
 public:
  PinnedMemory() = default;
  ~PinnedMemory() { release(); }
  PinnedMemory(const PinnedMemory&) = delete;
  PinnedMemory& operator=(const PinnedMemory&) = delete;
  std::byte* reserve(std::size_t bytes) {
    if (bytes <= bytes_) return data_;
    release();
    void* at = nullptr;
    check_cuda(cudaHostAlloc(&at, bytes, cudaHostAllocDefault), "cudaHostAlloc");
    data_ = static_cast<std::byte*>(at);
    bytes_ = bytes;
    return data_;
  }
  std::byte* data() const noexcept { return data_; }
  std::size_t bytes() const noexcept { return bytes_; }

 private:
  void release() noexcept {
    if (data_ != nullptr) cudaFreeHost(data_);
    data_ = nullptr;
    bytes_ = 0;
  }

  std::byte* data_ = nullptr;
  std::size_t bytes_ = 0;
};

}  // namespace llm_tp
