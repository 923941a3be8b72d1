// The calls of libcudart that kernels/cuda makes, for a machine without a GPU: streams, events, launches and
// graphs.
//   EMULATED_FAULT=NAME,N  run N of this kernel fails (break_kernel in fake_device.h)
#include <cuda_runtime_api.h>

#include <cstdlib>
#include <cstring>
#include <deque>
#include <exception>
#include <map>
#include <memory>
#include <utility>

#include "emulator/block_runner.h"
#include "emulator/fake_device.h"
#include "emulator/fake_memory.h"

using llm_tp::emulator::Work;

namespace {

/// Something that was queued: what makes the work of one run, and the allocations that it works on.
struct Node {
  std::string what;
  std::function<Work()> make;
  std::vector<std::uint64_t> memory;
};

}  // namespace

struct CUgraph_st {
  std::vector<Node> nodes;
};
struct CUgraphExec_st {
  std::vector<Node> nodes;
};
struct CUstream_st {
  std::deque<Work> queue;
  std::unique_ptr<CUgraph_st> capture;  // what is queued goes here while there is one
};
struct CUevent_st {
  std::shared_ptr<bool> reached;
  cudaStream_t stream = nullptr;
  bool of_capture = false;
};

namespace {

using namespace llm_tp::emulator;

std::set<cudaStream_t> streams;
std::map<const void*, std::size_t> shared_limits;
std::set<const void*> launched;

struct Fault {
  std::string kernel;
  int run = 0;
};
Fault fault_from_environment() {
  const char* const text = std::getenv("EMULATED_FAULT");
  const char* const comma = text == nullptr ? nullptr : std::strchr(text, ',');
  return comma == nullptr ? Fault{} : Fault{std::string(text, comma), std::atoi(comma + 1)};
}
Fault fault = fault_from_environment();
cudaError_t state = cudaSuccess;

void check_stream(cudaStream_t stream) {
  if (streams.count(stream) == 0) refuse("a stream that does not exist, or the default stream");
}
void check_not_captured(cudaStream_t stream, const char* call) {
  check_stream(stream);
  if (stream->capture) refuse(std::string(call) + " of a stream that is captured");
}

/// Runs what is queued until `done`, or until work waits for another process: asking for a stream's state is
/// what moves it.
void run_some(cudaStream_t stream, const std::function<bool()>& done) {
  check_stream(stream);
  const DeviceTurn turn;
  while (!done() && !stream->queue.empty()) {
    Work work = std::move(stream->queue.front());
    stream->queue.pop_front();  // also where it throws
    if (work()) continue;
    stream->queue.push_front(std::move(work));
    return;
  }
}

/// Streams run at once: what this one waits for may be in another's queue.
void run_others(cudaStream_t stream) {
  for (const cudaStream_t other : std::set(streams))
    if (other != stream && streams.count(other) != 0)
      run_some(other, [other] { return other->queue.empty(); });
}

/// What a query does: some tries, as opening and closing all device memory around one takes longer than the
/// try.
void run_tries(cudaStream_t stream, const std::function<bool()>& done) {
  const DeviceTurn turn;
  for (int tries = 0; tries < 32 && !done(); ++tries) {
    run_some(stream, done);
    if (!done()) run_others(stream);
  }
}

/// Of what these bytes, those of arguments, may point to: structs are looked into.
std::vector<std::uint64_t> memory_of(std::span<const std::byte> arguments) {
  std::vector<std::uint64_t> memory;
  for (std::size_t at = 0; at + sizeof(void*) <= arguments.size(); at += sizeof(void*)) {
    const void* pointer = nullptr;
    std::memcpy(&pointer, arguments.data() + at, sizeof pointer);
    if (const std::uint64_t number = allocation_of(pointer)) memory.push_back(number);
  }
  return memory;
}

void add(cudaStream_t stream, Node node) {
  check_stream(stream);
  if (stream->capture)
    stream->capture->nodes.push_back(std::move(node));
  else
    stream->queue.push_back(node.make());
}

}  // namespace

namespace llm_tp::emulator {

cudaError_t device_state() { return state; }

void drain(cudaStream_t stream) {
  const auto empty = [stream] { return stream->queue.empty(); };
  const DeviceTurn turn;  // one for all tries
  while (!empty()) {
    if (std::uncaught_exceptions() > 0) return stream->queue.clear();
    run_some(stream, empty);
    if (!empty()) run_others(stream);
  }
}

void refuse_while_capturing(const char* call) {
  for (const cudaStream_t stream : streams)
    if (stream->capture) refuse(std::string(call) + " while a stream is captured");
}

void queue_work(cudaStream_t stream, const std::string& what, std::vector<const void*> pointers,
                std::function<Work()> make) {
  add(stream, {what, std::move(make), memory_of(std::as_bytes(std::span(pointers)))});
}

void break_kernel(const std::string& name, int run) {
  fault = {name, run};
  state = cudaSuccess;
}

cudaError_t queue_launch(const char* name, const void* kernel, dim3 grid, dim3 block,
                         std::size_t shared_bytes, cudaStream_t stream, std::span<const std::byte> arguments,
                         std::function<void()> body) {
  const std::size_t threads = std::size_t{block.x} * block.y * block.z;
  const auto limit = shared_limits.find(kernel);
  const std::string plain = std::string(name).substr(0, std::string(name).find('<'));
  if (threads == 0 || threads > 1024 || block.z > 64)
    refuse(plain + ": a block of 0 or more than 1024 threads");
  if (grid.x == 0 || grid.y == 0 || grid.z == 0 || grid.x > 0x7fffffffu || grid.y > 65535 || grid.z > 65535)
    refuse(plain + ": an empty grid, or one beyond 2^31 - 1, 65535, 65535");
  if (shared_bytes > (limit == shared_limits.end() ? std::size_t{48} << 10 : limit->second))
    refuse(plain + ": more dynamic shared memory than the kernel was allowed");
  if (state != cudaSuccess) return state;
  if (fault.kernel == plain && fault.run == 0) return cudaErrorInvalidConfiguration;
  const auto make = [=, body = std::move(body)]() -> Work {
    // What a grid needs, stacks for its threads among it, is taken once its turn comes: thousands may wait.
    return [=, run = std::shared_ptr<GridRun>()]() mutable {
      launched.insert(kernel);
      if (!run && fault.kernel == plain && --fault.run == 0) {
        state = cudaErrorIllegalAddress;
        stream->queue.clear();
        return true;
      }
      if (!run) run = std::make_shared<GridRun>(plain, grid, block, shared_bytes, body);
      return run->advance();
    };
  };
  add(stream, {"kernel " + plain, make, memory_of(arguments)});
  return cudaSuccess;
}

const std::set<const void*>& launched_kernels() { return launched; }

}  // namespace llm_tp::emulator

extern "C" {

cudaError_t cudaStreamCreateWithFlags(cudaStream_t* stream, unsigned) {
  *stream = new CUstream_st;
  streams.insert(*stream);
  return cudaSuccess;
}
cudaError_t cudaStreamDestroy(cudaStream_t stream) {
  drain(stream);
  streams.erase(stream);
  delete stream;
  return cudaSuccess;
}
cudaError_t cudaStreamSynchronize(cudaStream_t stream) {
  check_not_captured(stream, "cudaStreamSynchronize");
  drain(stream);
  return state;
}
cudaError_t cudaStreamQuery(cudaStream_t stream) {
  check_not_captured(stream, "cudaStreamQuery");
  run_tries(stream, [stream] { return stream->queue.empty(); });
  if (state != cudaSuccess) return state;
  return stream->queue.empty() ? cudaSuccess : cudaErrorNotReady;
}

cudaError_t cudaEventCreateWithFlags(cudaEvent_t* event, unsigned) {
  *event = new CUevent_st;
  return cudaSuccess;
}
cudaError_t cudaEventDestroy(cudaEvent_t event) {
  delete event;
  return cudaSuccess;
}
cudaError_t cudaEventRecord(cudaEvent_t event, cudaStream_t stream) {
  check_stream(stream);
  event->reached = std::make_shared<bool>(false);
  event->stream = stream;
  event->of_capture = stream->capture != nullptr;
  queue_work(stream, "cudaEventRecord", {},
             [reached = event->reached] { return [reached] { return *reached = true; }; });
  return cudaSuccess;
}
cudaError_t cudaEventQuery(cudaEvent_t event) {
  if (event->of_capture) refuse("cudaEventQuery of an event that was recorded in a captured stream");
  const auto reached = [event] { return event->reached == nullptr || *event->reached; };
  if (!reached()) {
    check_not_captured(event->stream, "cudaEventQuery");
    run_tries(event->stream, reached);
  }
  if (state != cudaSuccess) return state;
  return reached() ? cudaSuccess : cudaErrorNotReady;
}

cudaError_t cudaStreamBeginCapture(cudaStream_t stream, cudaStreamCaptureMode mode) {
  check_not_captured(stream, "cudaStreamBeginCapture");
  if (mode != cudaStreamCaptureModeThreadLocal)
    refuse("cudaStreamBeginCapture: in another mode the calls of NCCL's threads would end the capture");
  if (state != cudaSuccess) return state;
  stream->capture = std::make_unique<CUgraph_st>();
  return cudaSuccess;
}
cudaError_t cudaStreamEndCapture(cudaStream_t stream, cudaGraph_t* graph) {
  check_stream(stream);
  if (!stream->capture) refuse("cudaStreamEndCapture of a stream that is not captured");
  *graph = stream->capture.release();
  return cudaSuccess;
}
cudaError_t cudaStreamIsCapturing(cudaStream_t stream, cudaStreamCaptureStatus* status) {
  check_stream(stream);
  *status = stream->capture ? cudaStreamCaptureStatusActive : cudaStreamCaptureStatusNone;
  return cudaSuccess;
}
cudaError_t cudaGraphInstantiate(cudaGraphExec_t* exec, cudaGraph_t graph, unsigned long long) {
  *exec = new CUgraphExec_st{graph->nodes};
  return cudaSuccess;
}
cudaError_t cudaGraphLaunch(cudaGraphExec_t exec, cudaStream_t stream) {
  check_not_captured(stream, "cudaGraphLaunch");
  if (state != cudaSuccess) return state;
  for (const Node& node : exec->nodes) {
    for (const std::uint64_t number : node.memory)
      if (!is_allocated(number))
        refuse("cudaGraphLaunch: " + node.what +
               " works on memory that was given back since it was captured");
    stream->queue.push_back(node.make());
  }
  return cudaSuccess;
}
cudaError_t cudaGraphDestroy(cudaGraph_t graph) {
  delete graph;
  return cudaSuccess;
}
cudaError_t cudaGraphExecDestroy(cudaGraphExec_t exec) {
  delete exec;
  return cudaSuccess;
}

cudaError_t cudaFuncSetAttribute(const void* kernel, cudaFuncAttribute attribute, int value) {
  if (attribute != cudaFuncAttributeMaxDynamicSharedMemorySize)
    refuse("cudaFuncSetAttribute: unknown attribute");
  if (static_cast<std::size_t>(value) > kSharedBytesAtMost) return cudaErrorInvalidValue;
  shared_limits[kernel] = static_cast<std::size_t>(value);
  return cudaSuccess;
}
}
