// The calls of NCCL that comm/nccl makes, between processes without GPUs: over MPI, in stream order, on
// emulated device memory. What ends of a group hand to NCCL is compared over the ranks before anything moves:
// another operation, count, type or root is a Violation on every rank that sees it. A rank that does not come
// leaves the others' streams not ready, as a GPU would be.
//
// EMULATED_NCCL_ERROR_AFTER=N: from the Nth group on, the asynchronous state of a communicator is an
// error. EMULATED_NCCL_START_FAILS=R: rank R cannot start, and the others wait for it.
//
// Symmetric windows: memory of ncclMemAlloc alone, registered with all ranks before it is used, at the same
// offsets on every rank in every collective, given back before it is freed. EMULATED_NCCL_WINDOWS=0: GPUs do
// not reach each other. EMULATED_NCCL_NO_MEMORY=R: rank R gets none from ncclMemAlloc.
#include <mpi.h>

#include <array>
#include <cstdlib>
#include <cstring>
#include <map>
#include <memory>
#include <string>
#include <vector>

#include "comm/nccl/nccl_library.h"
#include "emulator/block_runner.h"
#include "emulator/fake_device.h"

using llm_tp::emulator::require_device;
using llm_tp::emulator::Violation;

namespace {

constexpr char kMark[] = "emulated group";
constexpr int kMostRanks = 16;
constexpr int kTag = 7;

struct State {
  MPI_Comm ranks = MPI_COMM_NULL;
  int rank = 0, size = 1;
  bool aborted = false;
  int groups = 0;
  std::map<const std::byte*, std::size_t> windows;  // that are registered, and their bytes
  MPI_Request registration = MPI_REQUEST_NULL;      // the sizes of all ranks, on their way
  std::vector<std::int64_t> sizes;
  int start_looks = 0;  // at a start that is in progress
};

bool start_fails(int rank) {
  const char* const failing = std::getenv("EMULATED_NCCL_START_FAILS");
  return failing != nullptr && std::atoi(failing) == rank;
}

std::map<const std::byte*, std::size_t> window_memory;  // of ncclMemAlloc, and its bytes

/// The entry whose memory this lies in.
auto found_in(const std::map<const std::byte*, std::size_t>& memory, const void* pointer) {
  const auto* const at = static_cast<const std::byte*>(pointer);
  auto next = memory.upper_bound(at);
  if (next == memory.begin()) return memory.end();
  --next;
  return at < next->first + next->second ? next : memory.end();
}

/// Where in a window it lies, for what must be the same on every rank; empty: in none.
std::string place_in_window(const State& state, const void* pointer) {
  const auto window = found_in(state.windows, pointer);
  if (window != state.windows.end())
    return std::to_string(static_cast<const std::byte*>(pointer) - window->first) + " bytes into a window";
  if (found_in(window_memory, pointer) != window_memory.end())
    throw Violation("NCCL: memory of ncclMemAlloc is used, but not registered");
  return "no window";
}

/// Whether NCCL would reach the other GPUs' memory directly in this collective.
std::string way_of(const State& state, const void* from, const void* to) {
  const std::string source = place_in_window(state, from), target = place_in_window(state, to);
  const bool through = source != "no window" && target != "no window";
  return through ? ", from " + source + " to " + target : "";
}

enum class Kind { kBroadcast, kAllGather, kAllReduce, kSend, kReceive };

struct Operation {
  Kind kind;
  const float* from;
  float* to;
  std::size_t count;
  int peer;  // root, or the other rank

  /// What must be the same on every rank; empty for messages between two.
  std::string text(const State& state) const {
    const std::string numbers = std::to_string(count) + " f32";
    switch (kind) {
      case Kind::kBroadcast:
        return "ncclBroadcast of " + numbers + " from rank " + std::to_string(peer) + "; ";
      case Kind::kAllGather:
        return "ncclAllGather of " + numbers + way_of(state, from, to) + "; ";
      case Kind::kAllReduce:
        return "ncclAllReduce of " + numbers + way_of(state, from, to) + "; ";
      default:
        return {};
    }
  }
};

/// What a rank says of its group of calls.
struct Record {
  std::array<char, 1536> collectives{};
  std::array<std::int64_t, kMostRanks> sends{}, receives{};  // numbers to and from each rank
};

/// One group of calls on its way: compared, then moved through host memory, then written to the device.
class Group {
 public:
  Group(std::shared_ptr<State> state, std::vector<Operation> operations)
      : state_(std::move(state)), operations_(std::move(operations)) {}

  /// To be called until it is true.
  bool advance() {
    if (state_->aborted) return true;
    if (step_ == Step::kStart) say();
    if (step_ == Step::kComparing) {
      if (!all_done()) return false;
      compare();
      move();
    }
    if (!all_done()) return false;
    write();
    return true;
  }

 private:
  enum class Step { kStart, kComparing, kMoving };

  bool all_done() {
    int done = 0;
    MPI_Testall(static_cast<int>(requests_.size()), requests_.data(), &done, MPI_STATUSES_IGNORE);
    return done != 0;
  }
  MPI_Request* request() { return &requests_.emplace_back(MPI_REQUEST_NULL); }

  void say() {
    std::string text;
    for (const Operation& o : operations_) {
      text += o.text(*state_);
      if (o.kind == Kind::kSend)
        mine_.sends[static_cast<std::size_t>(o.peer)] += static_cast<std::int64_t>(o.count);
      if (o.kind == Kind::kReceive)
        mine_.receives[static_cast<std::size_t>(o.peer)] += static_cast<std::int64_t>(o.count);
    }
    text.copy(mine_.collectives.data(), mine_.collectives.size() - 1);
    records_.resize(static_cast<std::size_t>(state_->size));
    MPI_Iallgather(&mine_, sizeof mine_, MPI_BYTE, records_.data(), sizeof mine_, MPI_BYTE, state_->ranks,
                   request());
    step_ = Step::kComparing;
  }

  void compare() const {
    const auto own = static_cast<std::size_t>(state_->rank);
    for (std::size_t r = 0; r < records_.size(); ++r) {
      const Record& other = records_[r];
      if (other.collectives != mine_.collectives)
        throw Violation("NCCL: rank " + std::to_string(own) + " is in \"" + mine_.collectives.data() +
                        "\", rank " + std::to_string(r) + " in \"" + other.collectives.data() + "\"");
      if (other.sends[own] != mine_.receives[r])
        throw Violation("NCCL: rank " + std::to_string(r) + " sends " + std::to_string(other.sends[own]) +
                        " f32 to rank " + std::to_string(own) + ", which receives " +
                        std::to_string(mine_.receives[r]));
    }
  }

  void move() {
    requests_.clear();
    requests_.reserve(operations_.size());
    for (const Operation& o : operations_) {
      const bool sends = o.kind != Kind::kReceive && (o.kind != Kind::kBroadcast || o.peer == state_->rank);
      const bool receives_from_all = o.kind == Kind::kAllGather || o.kind == Kind::kAllReduce;
      const std::size_t room = receives_from_all ? o.count * static_cast<std::size_t>(state_->size) : o.count;
      std::vector<float>& in = in_.emplace_back(o.kind == Kind::kSend ? 0 : room);
      std::vector<float>& out = out_.emplace_back();
      if (sends) out.assign(o.from, o.from + o.count);
      const int count = static_cast<int>(o.count);
      if (o.kind == Kind::kSend)
        MPI_Isend(out.data(), count, MPI_FLOAT, o.peer, kTag, state_->ranks, request());
      else if (o.kind == Kind::kReceive)
        MPI_Irecv(in.data(), count, MPI_FLOAT, o.peer, kTag, state_->ranks, request());
      else if (o.kind == Kind::kBroadcast)
        MPI_Ibcast((sends ? out : in).data(), count, MPI_FLOAT, o.peer, state_->ranks, request());
      else
        MPI_Iallgather(out.data(), count, MPI_FLOAT, in.data(), count, MPI_FLOAT, state_->ranks, request());
    }
    step_ = Step::kMoving;
  }

  void write() {
    auto in = in_.begin();
    auto out = out_.begin();
    for (const Operation& o : operations_) {
      const bool own = o.kind == Kind::kBroadcast && o.peer == state_->rank;
      const std::vector<float>& got = own ? *out : *in;
      ++in, ++out;
      if (o.kind == Kind::kAllReduce) {
        // Another order in each half, as rings have: nothing may rely on the order of ranks.
        for (std::size_t i = 0; i < o.count; ++i) {
          float sum = 0;
          for (int k = 0; k < state_->size; ++k) {
            const int r = i < o.count / 2 ? k : state_->size - 1 - k;
            sum += got[static_cast<std::size_t>(r) * o.count + i];
          }
          o.to[i] = sum;
        }
      } else if (!got.empty()) {
        std::memcpy(o.to, got.data(), got.size() * sizeof(float));
      }
    }
  }

  std::shared_ptr<State> state_;
  std::vector<Operation> operations_;
  Step step_ = Step::kStart;
  Record mine_;
  std::vector<Record> records_;
  std::vector<MPI_Request> requests_;
  std::vector<std::vector<float>> in_, out_;  // of each operation
};

}  // namespace

struct ncclComm {
  std::shared_ptr<State> state = std::make_shared<State>();
};

namespace {

int open_groups = 0;
std::vector<Operation> collected;
ncclComm_t collected_for = nullptr;
cudaStream_t collected_on = nullptr;

void queue_group(ncclComm_t comm, cudaStream_t stream, std::vector<Operation> operations) {
  ++comm->state->groups;
  std::vector<const void*> pointers;
  for (const Operation& o : operations) pointers.insert(pointers.end(), {o.from, o.to});
  llm_tp::emulator::queue_work(stream, "a call of NCCL", std::move(pointers),
                               [state = comm->state, operations = std::move(operations)] {
                                 auto group = std::make_shared<Group>(state, operations);
                                 return [group] { return group->advance(); };
                               });
}

ncclResult_t take(Operation operation, ncclDataType_t type, ncclComm_t comm, cudaStream_t stream) {
  if (type != ncclFloat) throw Violation("NCCL: a data type that the emulator does not know");
  if (operation.peer < 0 || operation.peer >= comm->state->size) throw Violation("NCCL: no such rank");
  if (operation.count == 0) throw Violation("NCCL: a call for no numbers");
  if (open_groups == 0) {
    queue_group(comm, stream, {operation});
    return ncclSuccess;
  }
  collected.push_back(operation);
  collected_for = comm;
  collected_on = stream;
  return ncclSuccess;
}

void require_numbers(const void* at, std::size_t count, const char* what) {
  require_device(at, count * sizeof(float), what);
}

ncclResult_t get_version(int* version) {
  *version = NCCL_VERSION_CODE;
  return ncclSuccess;
}
const char* error_string(ncclResult_t result) {
  return result == ncclRemoteError ? "remote process exited or there was a network error" : "an error";
}
ncclResult_t unique_id(ncclUniqueId* id) {
  *id = {};
  std::memcpy(id->internal, kMark, sizeof kMark);
  return ncclSuccess;
}
ncclResult_t init_rank(ncclComm_t* comm, int ranks, ncclUniqueId id, int rank, ncclConfig_t* config) {
  int size = 0, own = 0;
  MPI_Comm_size(MPI_COMM_WORLD, &size);
  MPI_Comm_rank(MPI_COMM_WORLD, &own);
  if (size != ranks || own != rank)
    throw Violation("ncclCommInitRankConfig: not this process's rank or group");
  if (ranks > kMostRanks)
    throw Violation("ncclCommInitRankConfig: more ranks than the emulator has room for");
  if (std::memcmp(id.internal, kMark, sizeof kMark) != 0)
    throw Violation("ncclCommInitRankConfig: not the id of rank 0");
  if (config->blocking != 0)
    throw Violation("ncclCommInitRankConfig: a rank that never comes would be waited for");
  *comm = new ncclComm;
  (*comm)->state->rank = rank;
  (*comm)->state->size = ranks;
  if (std::getenv("EMULATED_NCCL_START_FAILS") == nullptr)
    MPI_Comm_dup(MPI_COMM_WORLD, &(*comm)->state->ranks);
  return ncclInProgress;
}
ncclResult_t destroy(ncclComm_t comm) {
  if (!comm->state->windows.empty()) throw Violation("ncclCommDestroy: a window is still registered");
  delete comm;
  return ncclSuccess;
}
ncclResult_t abort_group(ncclComm_t comm) {
  comm->state->aborted = true;
  delete comm;
  return ncclSuccess;
}
ncclResult_t async_error(ncclComm_t comm, ncclResult_t* state) {
  const bool started = comm->state->ranks != MPI_COMM_NULL;
  if (comm->state->start_looks++ == 0 || !started) {
    *state =
        start_fails(comm->state->rank) && comm->state->start_looks > 1 ? ncclSystemError : ncclInProgress;
    return ncclSuccess;
  }
  if (comm->state->registration != MPI_REQUEST_NULL) {
    int done = 0;
    MPI_Test(&comm->state->registration, &done, MPI_STATUS_IGNORE);
    *state = done != 0 ? ncclSuccess : ncclInProgress;
    for (const std::int64_t size : comm->state->sizes)
      if (done != 0 && size != comm->state->sizes.front())
        throw Violation("ncclCommWindowRegister: windows of unlike sizes");
    return ncclSuccess;
  }
  const char* const after = std::getenv("EMULATED_NCCL_ERROR_AFTER");
  *state = after != nullptr && comm->state->groups >= std::atoi(after) ? ncclRemoteError : ncclSuccess;
  return ncclSuccess;
}
ncclResult_t group_start() {
  ++open_groups;
  return ncclSuccess;
}
ncclResult_t group_end() {
  if (open_groups == 0) throw Violation("ncclGroupEnd without ncclGroupStart");
  if (--open_groups == 0 && !collected.empty())
    queue_group(collected_for, collected_on, std::exchange(collected, {}));
  return ncclSuccess;
}
ncclResult_t broadcast(const void* from, void* to, std::size_t count, ncclDataType_t type, int root,
                       ncclComm_t comm, cudaStream_t stream) {
  require_numbers(to, count, "the target of ncclBroadcast");
  if (comm->state->rank == root) require_numbers(from, count, "the source of ncclBroadcast");
  return take({Kind::kBroadcast, static_cast<const float*>(from), static_cast<float*>(to), count, root}, type,
              comm, stream);
}
ncclResult_t all_gather(const void* from, void* to, std::size_t count, ncclDataType_t type, ncclComm_t comm,
                        cudaStream_t stream) {
  require_numbers(from, count, "the source of ncclAllGather");
  require_numbers(to, count * static_cast<std::size_t>(comm->state->size), "the target of ncclAllGather");
  return take({Kind::kAllGather, static_cast<const float*>(from), static_cast<float*>(to), count, 0}, type,
              comm, stream);
}
ncclResult_t all_reduce(const void* from, void* to, std::size_t count, ncclDataType_t type,
                        ncclRedOp_t operation, ncclComm_t comm, cudaStream_t stream) {
  if (operation != ncclSum) throw Violation("ncclAllReduce: an operation that the emulator does not know");
  require_numbers(from, count, "the source of ncclAllReduce");
  require_numbers(to, count, "the target of ncclAllReduce");
  return take({Kind::kAllReduce, static_cast<const float*>(from), static_cast<float*>(to), count, 0}, type,
              comm, stream);
}
ncclResult_t send(const void* from, std::size_t count, ncclDataType_t type, int peer, ncclComm_t comm,
                  cudaStream_t stream) {
  require_numbers(from, count, "the source of ncclSend");
  return take({Kind::kSend, static_cast<const float*>(from), nullptr, count, peer}, type, comm, stream);
}
ncclResult_t receive(void* to, std::size_t count, ncclDataType_t type, int peer, ncclComm_t comm,
                     cudaStream_t stream) {
  require_numbers(to, count, "the target of ncclRecv");
  return take({Kind::kReceive, nullptr, static_cast<float*>(to), count, peer}, type, comm, stream);
}
ncclResult_t take_memory(void** pointer, std::size_t bytes) {
  const char* const failing = std::getenv("EMULATED_NCCL_NO_MEMORY");
  int own = 0;
  MPI_Comm_rank(MPI_COMM_WORLD, &own);
  if (failing != nullptr && std::atoi(failing) == own) return ncclUnhandledCudaError;
  if (cudaMalloc(pointer, bytes) != cudaSuccess) return ncclUnhandledCudaError;
  window_memory[static_cast<const std::byte*>(*pointer)] = bytes;
  return ncclSuccess;
}
ncclResult_t free_memory(void* pointer) {
  if (window_memory.erase(static_cast<const std::byte*>(pointer)) == 0)
    throw Violation("ncclMemFree of what ncclMemAlloc did not make, or of a window");
  cudaFree(pointer);
  return ncclSuccess;
}
ncclResult_t register_window(ncclComm_t comm, void* pointer, std::size_t bytes, ncclWindow_t* window,
                             int flags) {
  const auto memory = window_memory.find(static_cast<const std::byte*>(pointer));
  if (memory == window_memory.end() || memory->second != bytes)
    throw Violation("ncclCommWindowRegister of what ncclMemAlloc did not make, or of a part of it");
  if (flags != NCCL_WIN_COLL_SYMMETRIC) throw Violation("ncclCommWindowRegister: unknown flags");
  State& state = *comm->state;
  const auto size = static_cast<std::int64_t>(bytes);
  state.sizes.assign(static_cast<std::size_t>(state.size), size);
  MPI_Iallgather(MPI_IN_PLACE, 0, MPI_DATATYPE_NULL, state.sizes.data(), 1, MPI_INT64_T, state.ranks,
                 &state.registration);
  const char* const text = std::getenv("EMULATED_NCCL_WINDOWS");
  if (text != nullptr && std::atoi(text) == 0) return ncclInProgress;  // GPUs do not reach each other
  state.windows[memory->first] = bytes;
  *window = static_cast<ncclWindow_t>(pointer);
  return ncclInProgress;
}
ncclResult_t deregister_window(ncclComm_t comm, ncclWindow_t window) {
  if (comm->state->windows.erase(reinterpret_cast<const std::byte*>(window)) == 0)
    throw Violation("ncclCommWindowDeregister of what is not registered");
  return ncclSuccess;
}

}  // namespace

namespace llm_tp {

const NcclLibrary& nccl_library() {
  static const NcclLibrary library{"emulated", "",          get_version, error_string,    unique_id,
                                   init_rank,  destroy,     abort_group, async_error,     group_start,
                                   group_end,  broadcast,   all_gather,  all_reduce,      send,
                                   receive,    take_memory, free_memory, register_window, deregister_window};
  return library;
}

}  // namespace llm_tp
