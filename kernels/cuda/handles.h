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
  /// What is queued goes into a graph now and does not run.
  bool is_recorded() const {
    cudaStreamCaptureStatus status = cudaStreamCaptureStatusNone;
    check_cuda(cudaStreamIsCapturing(stream_, &status), "cudaStreamIsCapturing");
    return status != cudaStreamCaptureStatusNone;
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

/// What a stream was told to do between two calls, to be queued again as a whole.
class CudaGraph {
 public:
  CudaGraph() = default;
  ~CudaGraph() { release(); }
  CudaGraph(CudaGraph&& other) noexcept : exec_(std::exchange(other.exec_, nullptr)) {}
  CudaGraph& operator=(CudaGraph&& other) noexcept {
    release();
    exec_ = std::exchange(other.exec_, nullptr);
    return *this;
  }
  explicit operator bool() const noexcept { return exec_ != nullptr; }

  /// Records what body() queues, none of which runs. Calls of this thread that wait for the device, or take
  /// memory, are errors meanwhile. Empty where the device has no memory left for it.
  template <class Body>
  static CudaGraph record(cudaStream_t stream, const Body& body) {
    check_cuda(cudaStreamBeginCapture(stream, cudaStreamCaptureModeThreadLocal), "cudaStreamBeginCapture");
    cudaGraph_t recorded = nullptr;
    try {
      body();
    } catch (...) {
      cudaStreamEndCapture(stream, &recorded);
      if (recorded != nullptr) cudaGraphDestroy(recorded);
      throw;
    }
    check_cuda(cudaStreamEndCapture(stream, &recorded), "cudaStreamEndCapture");
    CudaGraph graph;
    const cudaError_t made = cudaGraphInstantiate(&graph.exec_, recorded, 0);
    cudaGraphDestroy(recorded);
    if (made != cudaErrorMemoryAllocation) check_cuda(made, "cudaGraphInstantiate");
    return graph;
  }
  void launch(cudaStream_t stream) const { check_cuda(cudaGraphLaunch(exec_, stream), "cudaGraphLaunch"); }

 private:
  void release() noexcept {
    if (exec_ != nullptr) cudaGraphExecDestroy(exec_);
    exec_ = nullptr;
  }
  cudaGraphExec_t exec_ = nullptr;
};

/// Device memory of one stream's order; empty by default. Grows by reserve(), which drops what was there.
class StreamMemory {
 public:
  /// what: for messages; must last.
  explicit StreamMemory(cudaStream_t stream, const char* what = "a buffer") : stream_(stream), what_(what) {}
  ~StreamMemory() { release(); }
  StreamMemory(const StreamMemory&) = delete;
  StreamMemory& operator=(const StreamMemory&) = delete;

  /// Bytes that reserve() takes.
  static constexpr std::size_t taken_for(std::size_t bytes) { return (bytes + 255) / 256 * 256; }
  /// At least so many bytes, not initialised.
  std::byte* reserve(std::size_t bytes) {
    if (bytes <= bytes_) return data_;
    release();
    const std::size_t rounded = taken_for(bytes);
    void* at = nullptr;
    check_cuda(cudaMallocAsync(&at, rounded, stream_), "cudaMallocAsync");
    DeviceLog::of_this_thread().takes_memory(rounded, what_);
    data_ = static_cast<std::byte*>(at);
    bytes_ = rounded;
    return data_;
  }
  /// Likewise, zero where it is new: for what is copied whole and written in parts.
  std::byte* reserve_cleared(std::size_t bytes) {
    const bool is_new = bytes > bytes_;
    reserve(bytes);
    if (is_new) check_cuda(cudaMemsetAsync(data_, 0, bytes_, stream_), "cudaMemsetAsync");
    return data_;
  }
  std::byte* data() const noexcept { return data_; }

 private:
  void release() noexcept {
    if (data_ != nullptr) cudaFreeAsync(data_, stream_);
    DeviceLog::of_this_thread().gives_back(bytes_);
    data_ = nullptr;
    bytes_ = 0;
  }

  cudaStream_t stream_;
  const char* what_;
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
    DeviceLog::of_this_thread().pins_memory(bytes);
    data_ = static_cast<std::byte*>(at);
    bytes_ = bytes;
    return data_;
  }
  std::byte* data() const noexcept { return data_; }
  std::size_t bytes() const noexcept { return bytes_; }

 private:
  void release() noexcept {
    if (data_ != nullptr) cudaFreeHost(data_);
    DeviceLog::of_this_thread().unpins_memory(bytes_);
    data_ = nullptr;
    bytes_ = 0;
  }

  std::byte* data_ = nullptr;
  std::size_t bytes_ = 0;
};

}  // namespace llm_tp
