// Sums between emulated GPUs, started by a launcher, one process a rank:  gpu_ranks MODE
//   nccl      by NCCL: sums in tree order have the bits of the host's, whole and in slices and chunks, with
//   even
//             and uneven roots and idle ranks; rows of unequal owners; NCCL's own sum is near
//   ipc       by CUDA IPC: the same, around the limits between its ways, alone and with NCCL for large sums
//   mismatch  rank 1 sums fewer numbers than the others by NCCL: a Violation, or the loss of a rank that saw
//   it
//             first
#include <algorithm>
#include <array>
#include <cmath>
#include <cstdio>
#include <cstdlib>
#include <exception>
#include <initializer_list>
#include <string>
#include <vector>

#include "base/log.h"
#include "comm/ipc/peer_tree.h"
#include "comm/mpi_group.h"
#include "comm/nccl/gpu_group.h"
#include "comm/rank_board.h"
#include "comm/staged_communicator.h"
#include "device_tensor.h"
#include "emulator/block_runner.h"
#include "kernels/checking_backend.h"
#include "kernels/cuda/cuda_backend.h"

namespace llm_tp::testing {
namespace {

struct Ranks {
  Communicator& host;
  ControlChannel& control;
  CudaBackend& gpu;
  int failures = 0;

  std::unique_ptr<Communicator> sums(const GpuGroupOptions& options) const {
    return make_gpu_communicator(gpu, host, control, choose_gpu_sums(gpu, host, control, options), options);
  }
  void expect(bool holds, const std::string& what) {
    if (holds) return;
    ++failures;
    log_error("rank " + std::to_string(host.rank()) + " of " + std::to_string(host.world()) + ": " + what);
  }
};

std::vector<Range> runs_of(int leaves, int world) {
  std::vector<Range> runs;
  for (int rank = 0; rank < world; ++rank)
    runs.push_back({leaves * rank / world, leaves * (rank + 1) / world});
  return runs;
}

/// This rank's sum of random roots [roots, rows, columns] by a communicator, whose tensors are in memory of
/// `ops`.
std::vector<float> sum(Communicator& by, DeviceBackend& ops, const TreeParts& parts, std::int64_t rows,
                       std::int64_t columns) {
  const std::int64_t roots = parts.roots_of_rank(by.rank());
  const DeviceTensor mine(ops, random_floats(roots * rows * columns, 1 + static_cast<unsigned>(by.rank())),
                          roots * rows);
  const DeviceTensor out(ops, std::vector<float>(static_cast<std::size_t>(rows * columns), -1), rows);
  const TensorView view{mine.view.data, DType::kF32, 3, {roots, rows, columns, 0}, columns};
  by.sum_tree(out.view, view, parts);
  return out.take();
}

struct NormedSum {
  std::vector<float> numbers;  // the residual, then its norm
  bool in_one_pass = false;    // the sum itself is nowhere
};

/// The same sum added to a residual and normed.
NormedSum normed_sum(Communicator& by, DeviceBackend& ops, const TreeParts& parts, std::int64_t rows,
                     std::int64_t columns) {
  const std::int64_t roots = parts.roots_of_rank(by.rank());
  const DeviceTensor mine(ops, random_floats(roots * rows * columns, 1 + static_cast<unsigned>(by.rank())),
                          roots * rows);
  const DeviceTensor h(ops, random_floats(rows * columns, 50), rows),
      bias(ops, random_floats(columns, 51), 1), weight(ops, random_floats(columns, 52), 1),
      room(ops, std::vector<float>(static_cast<std::size_t>(rows * columns), -1), rows),
      out(ops, std::vector<float>(static_cast<std::size_t>(rows * columns), -1), rows);
  const TensorView view{mine.view.data, DType::kF32, 3, {roots, rows, columns, 0}, columns};
  by.sum_add_norm(ops, {out.view, h.view, bias.vector(), 0.5f, weight.vector(), 1e-5f}, room.view, view,
                  parts);
  std::vector<float> all = h.take();
  const std::vector<float> normed = out.take(), sum = room.take();
  all.insert(all.end(), normed.begin(), normed.end());
  return {all, std::all_of(sum.begin(), sum.end(), [](float x) { return x == -1; })};
}

std::vector<float> rows_of(Communicator& by, DeviceBackend& ops, std::int64_t rows, std::int64_t columns) {
  std::vector<int> owners;
  for (std::int64_t row = 0; row < rows; ++row)
    owners.push_back(static_cast<int>(row * row % 7) % by.world());
  const DeviceTensor tensor(ops, random_floats(rows * columns, 1 + static_cast<unsigned>(by.rank())), rows);
  by.share_rows(tensor.view, tensor.view, owners);
  return tensor.take();
}

GpuGroupOptions options_of(GpuCommunication wanted) {
  GpuGroupOptions options;
  options.wanted = wanted;
  options.one_host = true;
  options.limit = std::chrono::seconds(60);
  return options;
}

/// Sums of many shapes against the host's, whose bits they have if `exact`.
void compare(Ranks& ranks, Communicator& sums, std::initializer_list<std::int64_t> columns_of_sums,
             bool exact, const std::string& by) {
  StagedCommunicator host(ranks.gpu, ranks.host);
  for (const int leaves : {1, 2, 8, 9, 32}) {
    const TreeParts parts(runs_of(leaves, ranks.host.world()));
    for (const std::int64_t rows : {1, 3, 40})
      for (const std::int64_t columns : columns_of_sums) {
        const std::string what = by + ": " + std::to_string(leaves) + " leaves, " + std::to_string(rows) +
                                 " rows of " + std::to_string(columns);
        const std::vector<float> want = sum(host, ranks.gpu, parts, rows, columns);
        const std::vector<float> got = sum(sums, ranks.gpu, parts, rows, columns);
        if (exact) {
          ranks.expect(bits_of(got) == bits_of(want), "bits of sum_tree, " + what);
          ranks.expect(bits_of(normed_sum(sums, ranks.gpu, parts, rows, columns).numbers) ==
                           bits_of(normed_sum(host, ranks.gpu, parts, rows, columns).numbers),
                       "bits of sum_add_norm, " + what);
        }
        double distance = 0;
        for (std::size_t i = 0; i < want.size(); ++i)
          distance = std::max(distance, std::fabs(double{got[i]} - double{want[i]}));
        ranks.expect(distance < 1e-5, "sum_tree, " + what);
      }
  }
  for (const std::int64_t rows : {1, 30})
    ranks.expect(bits_of(rows_of(sums, ranks.gpu, rows, 300)) == bits_of(rows_of(host, ranks.gpu, rows, 300)),
                 by + ": share_rows of " + std::to_string(rows) + " rows");
}

/// Small sums are added and normed in one pass, but not where somebody looks at the results.
void expect_one_pass(Ranks& ranks, Communicator& sums) {
  const TreeParts parts(runs_of(8, ranks.host.world()));
  ranks.expect(normed_sum(sums, ranks.gpu, parts, 3, 300).in_one_pass, "several passes over a small sum");
  CheckingBackend checking(ranks.gpu);
  ranks.expect(!normed_sum(sums, checking, parts, 3, 300).in_one_pass,
               "one pass, and nobody looked at the sum");
}

/// Symmetric windows are used where every rank can, and not where one cannot; then they may not be wanted.
void windows(Ranks& ranks) {
  GpuGroupOptions options = options_of(GpuCommunication::kNccl);
  const auto expect_windows = [&](bool used) {
    const auto sums = ranks.sums(options);
    const bool said = sums->description().find("through symmetric windows") != std::string::npos;
    ranks.expect(said == used, sums->description());
    compare(ranks, *sums, {300}, true, "NCCL, windows");
  };
  expect_windows(true);
  options.windows = NcclWindows::kOff;
  expect_windows(false);
  for (const auto& [name, value, why] :
       {std::array{"EMULATED_NCCL_WINDOWS", "0", "between these GPUs"},
        std::array{"EMULATED_NCCL_NO_MEMORY", "1", "rank 1: NCCL, ncclMemAlloc"}}) {
    setenv(name, value, 1);
    options.windows = NcclWindows::kAuto;
    expect_windows(false);
    options.windows = NcclWindows::kOn;
    std::string refused;
    try {
      ranks.sums(options);
    } catch (const Error& error) {
      refused = error.what();
    }
    ranks.expect(refused.find(why) != std::string::npos,
                 "nccl_windows on, " + std::string(name) + ": " + refused);
    unsetenv(name);
  }
}

void nccl(Ranks& ranks) {
  windows(ranks);
  expect_one_pass(ranks, *ranks.sums(options_of(GpuCommunication::kNccl)));
  for (const std::int64_t buffer : {4 << 20, 1 << 12})  // whole messages, and chunks
    for (const bool tree_order : {true, false}) {
      GpuGroupOptions options = options_of(GpuCommunication::kNccl);
      options.tree_order = tree_order;
      options.buffer_numbers = buffer;
      compare(ranks, *ranks.sums(options), {701}, tree_order, "NCCL");
    }
}

void ipc(Ranks& ranks) {
  const auto options = options_of(GpuCommunication::kIpc);
  const auto alone = ranks.sums(options);
  ranks.expect(alone->description().starts_with("CUDA IPC, "), alone->description());
  expect_one_pass(ranks, *alone);
  compare(ranks, *alone, {1, 300}, true, "IPC");
  GpuGroupOptions low = options_of(GpuCommunication::kAuto);
  low.ipc_whole_numbers = 900;
  low.ipc_numbers = 4000;
  compare(ranks, *ranks.sums(low), {300, 1000}, true, "IPC, then NCCL or pieces");
  low.wanted = GpuCommunication::kIpc;
  compare(ranks, *ranks.sums(low), {300, 1000}, true, "IPC in slices");
  // Around what one kernel takes.
  const TreeParts parts(runs_of(ranks.host.world(), ranks.host.world()));
  const std::int64_t most = peer_sum_slices_limit(peer_tree_of(parts, 0), ranks.host.world());
  StagedCommunicator host(ranks.gpu, ranks.host);
  const auto sliced = ranks.sums(low);
  for (const std::int64_t elements : {options.ipc_whole_numbers, options.ipc_whole_numbers + 1})
    ranks.expect(bits_of(sum(*alone, ranks.gpu, parts, 1, elements)) ==
                     bits_of(sum(host, ranks.gpu, parts, 1, elements)),
                 "the largest whole sum and the smallest in slices, " + std::to_string(elements));
  for (const std::int64_t elements : {most, most + 4})
    ranks.expect(bits_of(sum(*sliced, ranks.gpu, parts, 1, elements)) ==
                     bits_of(sum(host, ranks.gpu, parts, 1, elements)),
                 "one piece and two, " + std::to_string(elements));
}

void mismatch(Ranks& ranks) {
  const auto nccl = ranks.sums(options_of(GpuCommunication::kNccl));
  const TreeParts parts(runs_of(8, ranks.host.world()));
  try {
    sum(*nccl, ranks.gpu, parts, 1, ranks.host.rank() == 1 ? 64 : 128);
    ranks.expect(false, "unequal counts were not noticed");
  } catch (const emulator::Violation& violation) {
    ranks.expect(std::string(violation.what()).find("NCCL: rank ") != std::string::npos, violation.what());
  } catch (const LostRankError& lost) {
    log_error(lost.what());
  }
}

int run(const std::string& mode) {
  MpiSession session;
  const RankGroup group = make_group(session, GroupKind::kAuto, std::chrono::seconds(60));
  CudaBackend gpu(session.local_rank(), 1);
  Ranks ranks{*group.communicator, *group.channel, gpu};
  mode == "ipc" ? ipc(ranks) : mode == "nccl" ? nccl(ranks) : mismatch(ranks);
  return ranks.failures == 0 ? 0 : 1;
}

}  // namespace
}  // namespace llm_tp::testing

int main(int argc, char** argv) {
  try {
    return llm_tp::testing::run(argc == 2 ? argv[1] : "");
  } catch (const std::exception& error) {
    std::fprintf(stderr, "%s\n", error.what());
    return 1;
  }
}
