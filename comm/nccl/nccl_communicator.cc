#include "comm/nccl/nccl_communicator.h"

#include <sched.h>

#include <algorithm>
#include <exception>
#include <utility>

#include "base/log.h"
#include "comm/nccl/nccl_library.h"
#include "comm/tree_reduce.h"
#include "kernels/cuda/device_rows.h"
#include "kernels/cuda/rank_sums.h"

namespace llm_tp {
namespace {

constexpr std::size_t kTableBytes = kMostListedRows * sizeof(std::int32_t);
constexpr std::int64_t kWholeNumbers = 64 << 10;  // of all roots; above it slices move fewer bytes

float* contiguous(TensorView out) {
  LLM_TP_CHECK(out.row_stride == out.columns() || out.rows() <= 1,
               "sums between GPUs: out must be contiguous");
  return reinterpret_cast<float*>(out.data);
}

std::size_t size(std::int64_t count) { return static_cast<std::size_t>(count); }

bool are_equal(const std::vector<std::int64_t>& counts) {
  return std::adjacent_find(counts.begin(), counts.end(), std::not_equal_to<>()) == counts.end();
}

}  // namespace

void NcclCommunicator::End::operator()(ncclComm_t comm) const {
  std::uncaught_exceptions() > 0 ? nccl_library().abort(comm) : nccl_library().destroy(comm);
}

NcclCommunicator::NcclCommunicator(CudaBackend& device, Communicator& host, ControlChannel& control,
                                   const ncclUniqueId& id, const GpuGroupOptions& options)
    : device_(device),
      host_(host),
      options_(options),
      buffer_(device.stream()),
      own_rows_(device.stream(), device.pipe()),
      places_(device.stream(), device.pipe()),
      ranks_(host, options.limit) {
  // Before NCCL starts, in which a rank without memory would be waited for.
  do_together(host, control, [&] {
    for (StepTable* table : {&own_rows_, &places_}) table->reserve(kTableBytes);
  });
  ncclConfig_t config = NCCL_CONFIG_INITIALIZER;
  config.blocking = 0;  // so that a rank that never comes is noticed here
  ncclComm_t comm = nullptr;
  const ncclResult_t started = nccl_library().init_rank(&comm, world(), id, rank(), &config);
  comm_.reset(comm);
  settle(started, "ncclCommInitRankConfig", ExitCode::kUnavailable);
  take_memory(control);
  device_.wait().watch([this](int look) {
    constexpr const char* kPlace = "a sum between GPUs";
    state(kPlace);
    ranks_.look(look, kPlace);
  });
}

NcclCommunicator::~NcclCommunicator() {
  if (window_ && std::uncaught_exceptions() == 0) {
    try {
      device_.synchronize();
      settle(window_->deregister(comm_.get()), "ncclCommWindowDeregister");
    } catch (const Error&) {  // a rank was lost after the last sum: the memory goes with the process
    }
  }
  device_.wait().watch({});
}

void NcclCommunicator::take_memory(ControlChannel& control) {
  if (options_.windows != NcclWindows::kOff) {
    const auto failure = try_window(control);
    if (failure && options_.windows == NcclWindows::kOn)
      throw AgreedError(failure->code(), std::string("nccl_windows on: ") + failure->what() +
                                             "; --nccl-windows auto does without");
    if (failure && rank() == 0)
      log(LogLevel::kDebug, std::string("NCCL has no symmetric windows: ") + failure->what());
  }
  if (!window_)
    do_together(host_, control, [&] { buffer_.reserve(size(options_.buffer_numbers) * sizeof(float)); });
  numbers_ = reinterpret_cast<float*>(window_ ? window_->data() : buffer_.data());
}

std::optional<AgreedError> NcclCommunicator::try_window(ControlChannel& control) {
  // A rank that has no memory would be waited for in the registration.
  auto failure = try_together(host_, control, [&] {
    if (const std::string why = NcclWindow::why_not(); !why.empty()) throw Error(ExitCode::kUnavailable, why);
    window_ = std::make_unique<NcclWindow>(size(options_.buffer_numbers) * sizeof(float));
    return std::vector<std::byte>{};
  });
  if (!failure)
    failure = try_together(host_, control, [&] {
      settle(window_->register_with(comm_.get()), "ncclCommWindowRegister", ExitCode::kUnavailable);
      if (!window_->is_registered())
        throw Error(ExitCode::kUnavailable, "NCCL has no symmetric memory between these GPUs");
      return std::vector<std::byte>{};
    });
  if (!failure) return std::nullopt;
  if (window_ && window_->is_registered())
    settle(window_->deregister(comm_.get()), "ncclCommWindowDeregister");
  window_.reset();
  return failure;
}

const float* NcclCommunicator::sent_from(const float* mine, std::int64_t count) {
  if (!window_ || count == 0) return mine;
  check_cuda(cudaMemcpyAsync(second_half(), mine, size(count) * sizeof(float), cudaMemcpyDeviceToDevice,
                             device_.stream()),
             "cudaMemcpyAsync to the window of NCCL");
  return second_half();
}

MemoryUse NcclCommunicator::own_memory() const {
  const std::size_t messages = size(options_.buffer_numbers) * sizeof(float);
  const std::size_t device =
      2 * StreamMemory::taken_for(kTableBytes) + (window_ ? messages : StreamMemory::taken_for(messages));
  return {static_cast<std::int64_t>(device), 0};
}

std::string NcclCommunicator::description() const {
  return find_nccl().text + ", " + std::to_string(world()) + " ranks, " +
         (options_.tree_order ? "added along the tree on each GPU" : "added by NCCL") +
         (window_ ? ", through symmetric windows" : "");
}

std::vector<std::vector<std::byte>> NcclCommunicator::gather(std::span<const std::byte> mine) {
  const CallTimer timer(seconds_);
  return host_.gather(mine);
}

void NcclCommunicator::check(ncclResult_t result, const char* call, ExitCode code) const {
  if (result == ncclSuccess || result == ncclInProgress) return;
  host_.check_peers(call);  // a rank that is gone is the better cause
  throw Error(code, std::string("NCCL, ") + call + ": " + nccl_library().error_string(result) +
                        "; NCCL_DEBUG=INFO shows more, --gpu-communication host does without NCCL");
}

void NcclCommunicator::settle(ncclResult_t result, const char* call, ExitCode code) {
  check(result, call, code);
  for (int look = 0; result == ncclInProgress; ++look) {
    sched_yield();
    result = state(call, code);  // before the others are looked at: its own failure is the better cause
    ranks_.look(look, call);
  }
}

ncclResult_t NcclCommunicator::state(const char* call, ExitCode code) const {
  ncclResult_t state = ncclSuccess;
  check(nccl_library().async_error(comm_.get(), &state), call, code);
  check(state, call, code);
  return state;
}

void NcclCommunicator::gather_parts(float* all, const float* mine, const Parts& parts) {
  const NcclLibrary& nccl = nccl_library();
  const auto& [starts, counts] = parts;
  if (are_equal(counts) && counts[0] > 0)
    return settle(
        nccl.all_gather(mine, all + starts[0], size(counts[0]), ncclFloat, comm_.get(), device_.stream()),
        "ncclAllGather");
  check(nccl.group_start(), "ncclGroupStart");
  for (int r = 0; r < world(); ++r) {
    float* const part = all + starts[size(r)];
    if (counts[size(r)] > 0)
      check(nccl.broadcast(r == rank() ? mine : part, part, size(counts[size(r)]), ncclFloat, r, comm_.get(),
                           device_.stream()),
            "ncclBroadcast");
  }
  settle(nccl.group_end(), "ncclGroupEnd");
}

void NcclCommunicator::sum_tree(TensorView out, TensorView mine, const TreeParts& parts) {
  const CallTimer timer(seconds_);
  const std::int64_t elements = checked_elements(out, mine, parts, rank(), world());
  if (elements == 0) return;
  float* const to = contiguous(out);
  auto* const roots = reinterpret_cast<float*>(mine.data);
  if (!options_.tree_order) return sum_by_nccl(to, roots, parts.roots_of_rank(rank()), elements);
  if (goes_whole(parts, elements)) {
    gather_roots(roots, parts, elements);
    return llm_tp::tree_sum(device_.stream(), to, numbers_, elements, elements, parts.additions());
  }
  const std::int64_t slice = options_.buffer_numbers / parts.total_roots();
  LLM_TP_CHECK(slice > 0, "sums between GPUs: the buffer has no room for one number of every root");
  for (std::int64_t begin = 0; begin < elements; begin += slice * world())
    sum_slices(to, roots, parts, elements, {begin, std::min(elements, begin + slice * world())});
}

void NcclCommunicator::sum_add_norm(DeviceBackend& ops, const ResidualNorm& norm, TensorView room,
                                    TensorView mine, const TreeParts& parts) {
  const std::int64_t elements = checked_elements(room, mine, parts, rank(), world());
  if (&ops != &device_ || elements == 0 || !options_.tree_order || !goes_whole(parts, elements))
    return Communicator::sum_add_norm(ops, norm, room, mine, parts);
  const CallTimer timer(seconds_);
  gather_roots(reinterpret_cast<const float*>(mine.data), parts, elements);
  tree_add_norm(device_.stream(), residual_norm_of(norm), numbers_, elements, parts.additions());
}

bool NcclCommunicator::goes_whole(const TreeParts& parts, std::int64_t elements) const {
  return elements * parts.total_roots() <= std::min(kWholeNumbers, most_numbers());
}

void NcclCommunicator::gather_roots(const float* mine, const TreeParts& parts, std::int64_t elements) {
  Parts of_ranks;
  for (int r = 0; r < world(); ++r) {
    of_ranks.starts.push_back(parts.first_root_of_rank(r) * elements);
    of_ranks.counts.push_back(parts.roots_of_rank(r) * elements);
  }
  const bool is_one_call = are_equal(of_ranks.counts);
  gather_parts(numbers_, is_one_call ? sent_from(mine, of_ranks.counts[0]) : mine, of_ranks);
}

void NcclCommunicator::sum_slices(float* out, const float* mine, const TreeParts& parts,
                                  std::int64_t elements, Range chunk) {
  const NcclLibrary& nccl = nccl_library();
  const Range own = even_slice(chunk.size(), rank(), world());
  Parts slices;
  check(nccl.group_start(), "ncclGroupStart");
  for (int r = 0; r < world(); ++r) {
    const Range theirs = even_slice(chunk.size(), r, world());
    slices.starts.push_back(chunk.begin + theirs.begin);
    slices.counts.push_back(theirs.size());
    for (int i = 0; i < parts.roots_of_rank(rank()) && !theirs.empty(); ++i)
      check(nccl.send(mine + i * elements + chunk.begin + theirs.begin, size(theirs.size()), ncclFloat, r,
                      comm_.get(), device_.stream()),
            "ncclSend");
    for (int i = 0; i < parts.roots_of_rank(r) && !own.empty(); ++i)
      check(nccl.receive(numbers_ + (parts.first_root_of_rank(r) + i) * own.size(), size(own.size()),
                         ncclFloat, r, comm_.get(), device_.stream()),
            "ncclRecv");
  }
  settle(nccl.group_end(), "ncclGroupEnd");
  float* const slice = out + chunk.begin + own.begin;
  if (!own.empty())
    llm_tp::tree_sum(device_.stream(), slice, numbers_, own.size(), own.size(), parts.additions());
  gather_parts(out, slice, slices);
}

void NcclCommunicator::sum_by_nccl(float* out, float* mine, int roots, std::int64_t elements) {
  std::vector<TreeAddition> own;
  for (int i = 1; i < roots; ++i) own.push_back({0, i});
  if (!own.empty()) llm_tp::tree_sum(device_.stream(), mine, mine, elements, elements, own);
  const std::int64_t chunk = most_numbers();
  // A rank without roots adds zeros.
  float* const zeros = window_ ? second_half() : numbers_;
  if (roots == 0)
    check_cuda(cudaMemsetAsync(zeros, 0, size(std::min(chunk, elements)) * sizeof(float), device_.stream()),
               "cudaMemsetAsync");
  for (std::int64_t begin = 0; begin < elements; begin += chunk) {
    const std::int64_t count = std::min(chunk, elements - begin);
    float* const to = window_ ? numbers_ : out + begin;
    settle(nccl_library().all_reduce(roots > 0 ? sent_from(mine + begin, count) : zeros, to, size(count),
                                     ncclFloat, ncclSum, comm_.get(), device_.stream()),
           "ncclAllReduce");
    if (window_)
      check_cuda(cudaMemcpyAsync(out + begin, to, size(count) * sizeof(float), cudaMemcpyDeviceToDevice,
                                 device_.stream()),
                 "cudaMemcpyAsync from the window of NCCL");
  }
}

void NcclCommunicator::share_rows(TensorView out, TensorView mine, std::span<const int> owners) {
  const CallTimer timer(seconds_);
  check_shared_rows(out, mine, owners, world());
  const std::int64_t columns = out.columns();
  if (out.rows() == 0 || columns == 0) return;
  const std::int64_t rows_at_once = most_numbers() / columns;
  LLM_TP_CHECK(rows_at_once > 0, "sums between GPUs: the buffer has no room for a row");
  const auto rows_from = [&](TensorView t, std::int64_t begin, std::int64_t rows) {
    return DeviceRows{reinterpret_cast<float*>(t.data) + begin * t.row_stride, t.row_stride, rows, columns};
  };
  for (std::int64_t begin = 0; begin < out.rows(); begin += rows_at_once) {
    const std::int64_t rows = std::min(rows_at_once, out.rows() - begin);
    const auto of_rows = owners.subspan(size(begin), size(rows));
    Parts parts{std::vector<std::int64_t>(size(world())), std::vector<std::int64_t>(size(world()))};
    for (const int owner : of_rows) parts.counts[size(owner)] += columns;
    for (int r = 1; r < world(); ++r)
      parts.starts[size(r)] = parts.starts[size(r) - 1] + parts.counts[size(r) - 1];
    // Packed by owner, in the order of the rows.
    std::vector<std::int32_t> own_rows, places;
    std::vector<std::int64_t> next = parts.starts;
    for (std::size_t t = 0; t < of_rows.size(); ++t) {
      const int owner = of_rows[t];
      if (owner == rank()) own_rows.push_back(static_cast<std::int32_t>(t));
      places.push_back(static_cast<std::int32_t>(next[size(owner)] / columns));
      next[size(owner)] += columns;
    }
    float* const packed = window_ ? second_half() : numbers_ + parts.starts[size(rank())];
    if (!own_rows.empty())
      llm_tp::gather_rows(device_.stream(), {packed, columns, std::ssize(own_rows), columns},
                          rows_from(mine, begin, rows),
                          own_rows_.hold(std::span<const std::int32_t>(own_rows)));
    gather_parts(numbers_, packed, parts);
    llm_tp::gather_rows(device_.stream(), rows_from(out, begin, rows), {numbers_, columns, rows, columns},
                        places_.hold(std::span<const std::int32_t>(places)));
  }
}

}  // namespace llm_tp
