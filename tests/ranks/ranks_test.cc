// Started by a launcher, one process a rank:  ranks_test MODE KIND
//   MODE  check   every call against values that each rank computes by itself; exit code 1 on a mismatch
//         single  as check, for a process that no launcher started
//         die     rank 1 kills itself in the middle of sums; the others must end with code 75
//         hang    rank 1 stops itself (SIGSTOP) in the middle of sums
//         abort   rank 1 ends the group with code 65
//         idle    rank 0 is silent for two seconds; the others must leave their cores alone
//         time    prints microseconds a sum
//   KIND  auto, shared, mpi
#include <sys/resource.h>
#include <unistd.h>

#include <algorithm>
#include <chrono>
#include <csignal>
#include <cstdio>
#include <cstring>
#include <exception>
#include <string>
#include <thread>
#include <vector>

#include "base/error.h"
#include "base/log.h"
#include "comm/mpi_group.h"

namespace llm_tp {
namespace {

struct Ranks {
  Communicator& communicator;
  ControlChannel& channel;
  int failures = 0;

  void expect(bool holds, const std::string& what) {
    if (holds) return;
    ++failures;
    log_error("rank " + std::to_string(communicator.rank()) + " of " + std::to_string(communicator.world()) +
              ", " + communicator.description() + ": " + what);
  }
};

/// Fractions whose sums round, so that another order of additions gives other bits.
float leaf_value(std::int64_t leaf, std::int64_t element) {
  return static_cast<float>((leaf * 7919 + element * 104729) % 10007) / 3.0F - 1000.0F;
}

float subtree_value(TreeRoot root, std::int64_t element) {
  if (root.level == 0) return leaf_value(root.begin, element);
  const std::int64_t half = std::int64_t{1} << (root.level - 1);
  return subtree_value({root.level - 1, root.begin}, element) +
         subtree_value({root.level - 1, root.begin + half}, element);
}

float tree_value(int leaves, std::int64_t element) {
  const std::vector<TreeRoot> roots = roots_of({0, leaves});
  std::vector<float> slots;
  for (const TreeRoot& root : roots) slots.push_back(subtree_value(root, element));
  for (const TreeAddition& addition : additions_above(roots)) {
    slots[static_cast<std::size_t>(addition.into)] += slots[static_cast<std::size_t>(addition.from)];
  }
  return slots[0];
}

std::vector<Range> runs_of(int leaves, int world) {
  std::vector<Range> runs;
  for (int rank = 0; rank < world; ++rank)
    runs.push_back({leaves * rank / world, leaves * (rank + 1) / world});
  return runs;
}

void check_sum(Ranks& ranks, int leaves, std::int64_t rows, std::int64_t columns) {
  const std::vector<Range> runs = runs_of(leaves, ranks.communicator.world());
  const TreeParts parts(runs);
  const std::int64_t elements = rows * columns;
  std::vector<float> mine;
  for (const TreeRoot& root : roots_of(runs[static_cast<std::size_t>(ranks.communicator.rank())])) {
    for (std::int64_t i = 0; i < elements; ++i) mine.push_back(subtree_value(root, i));
  }
  const std::int64_t stride = columns + 1;
  std::vector<float> out(static_cast<std::size_t>(rows * stride));
  const std::int64_t my_roots = parts.roots_of_rank(ranks.communicator.rank());
  const TensorView view{
      reinterpret_cast<std::byte*>(mine.data()), DType::kF32, 3, {my_roots, rows, columns, 0}, columns};
  ranks.communicator.sum_tree(TensorView::matrix(out.data(), DType::kF32, rows, columns, stride), view,
                              parts);
  std::int64_t wrong = 0;
  for (std::int64_t i = 0; i < elements; ++i) {
    const float found = out[static_cast<std::size_t>(i / columns * stride + i % columns)];
    if (found != tree_value(leaves, i)) ++wrong;
  }
  ranks.expect(wrong == 0, "sum_tree of " + std::to_string(leaves) + " leaves, [" + std::to_string(rows) +
                               "," + std::to_string(columns) + "]: " + std::to_string(wrong) +
                               " wrong numbers");
}

void check_rows(Ranks& ranks, std::int64_t rows, std::int64_t columns) {
  std::vector<int> owners;
  for (std::int64_t row = 0; row < rows; ++row) {
    owners.push_back(static_cast<int>(row * 5 + 1) % ranks.communicator.world());
  }
  std::vector<float> tensor;
  for (std::int64_t i = 0; i < rows * columns; ++i) {
    const bool own = owners[static_cast<std::size_t>(i / columns)] == ranks.communicator.rank();
    tensor.push_back(own ? leaf_value(0, i) : -1.0F);
  }
  const TensorView view = TensorView::matrix(tensor.data(), rows, columns);
  ranks.communicator.share_rows(view, view, owners);
  bool same = true;
  for (std::size_t i = 0; i < tensor.size(); ++i)
    same &= tensor[i] == leaf_value(0, static_cast<std::int64_t>(i));
  ranks.expect(same, "share_rows of " + std::to_string(rows) + " rows");
}

void check_bytes(Ranks& ranks, std::size_t size) {
  const int rank = ranks.communicator.rank();
  const auto all = ranks.communicator.gather(
      std::vector<std::byte>(size * static_cast<std::size_t>(rank), static_cast<std::byte>(rank)));
  bool same = all.size() == static_cast<std::size_t>(rank == 0 ? ranks.communicator.world() : 0);
  for (std::size_t other = 0; other < all.size(); ++other) {
    same &= all[other] == std::vector<std::byte>(size * other, static_cast<std::byte>(other));
  }
  ranks.expect(same, "gather of " + std::to_string(size) + " bytes a rank");

  std::vector<std::byte> message(rank == 0 ? size : 1);
  if (rank == 0) {
    for (std::size_t i = 0; i < size; ++i) message[i] = static_cast<std::byte>(i * 13);
  }
  ranks.channel.broadcast(message);
  same = message.size() == size;
  for (std::size_t i = 0; same && i < size; ++i) same = message[i] == static_cast<std::byte>(i * 13);
  ranks.expect(same, "broadcast of " + std::to_string(size) + " bytes");
}

int check(Ranks& ranks) {
  for (const int leaves : {1, 6, 32}) {
    check_sum(ranks, leaves, 1, 2048);
    check_sum(ranks, leaves, 7, 4096);
    check_sum(ranks, leaves, 0, 64);
  }
  check_sum(ranks, 7, 70, 8192);  // more than a slot holds
  for (int i = 0; i < 50; ++i) check_sum(ranks, 5, 1, 33);
  check_rows(ranks, 0, 16);
  check_rows(ranks, 9, 64);
  check_rows(ranks, 150, 4096);
  for (const std::size_t size : {0, 1, 1000, 200'000}) check_bytes(ranks, size);
  check_bytes(ranks, 1'500'000);
  return ranks.failures == 0 ? 0 : 1;
}

void sum_once(Ranks& ranks, std::int64_t rows, std::vector<float>& out, std::vector<float>& mine,
              const TreeParts& parts) {
  ranks.communicator.sum_tree(TensorView::matrix(out.data(), rows, 2048),
                              TensorView::matrix(mine.data(), rows, 2048), parts);
}

int die(Ranks& ranks) {
  const TreeParts parts(runs_of(ranks.communicator.world(), ranks.communicator.world()));
  std::vector<float> out(2048), mine(2048);
  for (int i = 0; i < 1000; ++i) {
    if (ranks.communicator.rank() == 1 && i == 500) std::raise(SIGKILL);
    sum_once(ranks, 1, out, mine, parts);
  }
  ranks.expect(false, "sums went on without rank 1");
  return 1;
}

int hang(Ranks& ranks) {
  const TreeParts parts(runs_of(ranks.communicator.world(), ranks.communicator.world()));
  std::vector<float> out(2048), mine(2048);
  for (int i = 0; i < 20; ++i) {
    if (ranks.communicator.rank() == 1 && i == 10) std::raise(SIGSTOP);
    sum_once(ranks, 1, out, mine, parts);
  }
  ranks.expect(false, "sums went on without rank 1");
  return 1;
}

double processor_seconds() {
  rusage usage{};
  getrusage(RUSAGE_SELF, &usage);
  const auto seconds = [](const timeval& time) {
    return static_cast<double>(time.tv_sec) + static_cast<double>(time.tv_usec) * 1e-6;
  };
  return seconds(usage.ru_utime) + seconds(usage.ru_stime);
}

/// The one check that needs a real clock: silence has no other event.
int idle(Ranks& ranks) {
  std::vector<std::byte> message(8);
  ranks.channel.broadcast(message);
  const double before = processor_seconds();
  if (ranks.communicator.rank() == 0) std::this_thread::sleep_for(std::chrono::seconds(2));
  ranks.channel.broadcast(message);
  const double used = processor_seconds() - before;
  ranks.expect(used < 0.04,
               "2 s of waiting took " + std::to_string(used) + " s of processor time, wanted 0.04");
  return ranks.failures == 0 ? 0 : 1;
}

int time_sums(Ranks& ranks) {
  const int world = ranks.communicator.world();
  const TreeParts parts(runs_of(world, world));
  for (const std::int64_t rows : {1, 4, 16, 64, 256}) {
    std::vector<float> out(static_cast<std::size_t>(rows * 2048)), mine(out.size());
    const int times = rows < 64 ? 2000 : 200;
    for (int i = 0; i < times / 10; ++i) sum_once(ranks, rows, out, mine, parts);
    std::vector<double> seconds;
    for (int i = 0; i < times; ++i) {
      const double before = ranks.communicator.times().seconds;
      sum_once(ranks, rows, out, mine, parts);
      seconds.push_back(ranks.communicator.times().seconds - before);
    }
    std::sort(seconds.begin(), seconds.end());
    if (ranks.communicator.rank() == 0) {
      std::printf("%s: [%ld,2048] least %.2f us, tenth %.2f us, median %.2f us\n",
                  ranks.communicator.description().c_str(), static_cast<long>(rows), seconds[0] * 1e6,
                  seconds[seconds.size() / 10] * 1e6, seconds[seconds.size() / 2] * 1e6);
    }
  }
  return 0;
}

int run(MpiSession& session, const std::string& mode, const std::string& kind_name) {
  const GroupKind kind = kind_name == "mpi"      ? GroupKind::kMpi
                         : kind_name == "shared" ? GroupKind::kSharedMemory
                                                 : GroupKind::kAuto;
  constexpr std::chrono::seconds kPatience(60), kLittlePatience(1);
  RankGroup group = make_group(session, kind, mode == "hang" ? kLittlePatience : kPatience);
  Ranks ranks{*group.communicator, *group.channel};
  if (mode == "single") {
    ranks.expect(!session.uses_mpi() && session.world() == 1, "no launcher, but MPI was started");
    return check(ranks);
  }
  const std::string expected = kind_name == "mpi"     ? "MPI"
                               : session.world() == 1 ? "one rank"
                                                      : "shared memory";
  ranks.expect(group.description.rfind(expected, 0) == 0, "this is " + group.description);
  if (mode == "check") return check(ranks);
  if (mode == "die") return die(ranks);
  if (mode == "hang") return hang(ranks);
  if (mode == "idle") return idle(ranks);
  if (mode == "time") return time_sums(ranks);
  if (mode == "abort") {
    if (session.rank() == 1) {
      log_error("rank 1 ends the group");
      group.channel->abort(ExitCode::kBadData);
    }
    // Calls that cannot return without rank 1: rank 0 gathers from it, the others wait for rank 0.
    std::vector<std::byte> bytes;
    if (session.rank() == 0) ranks.communicator.gather({});
    group.channel->broadcast(bytes);
    return 1;
  }
  throw Error(ExitCode::kUsage, "no mode " + mode);
}

}  // namespace
}  // namespace llm_tp

int main(int argc, char** argv) {
  try {
    llm_tp::MpiSession session;
    try {
      const int code = llm_tp::run(session, argc > 1 ? argv[1] : "check", argc > 2 ? argv[2] : "auto");
      if (code != 0) session.abort(static_cast<llm_tp::ExitCode>(code));
      return code;
    } catch (const llm_tp::Error& error) {
      llm_tp::log_error(error.what());
      session.abort(error.code());
      return static_cast<int>(error.code());
    }
  } catch (const std::exception& error) {
    llm_tp::log_error(error.what());
    return static_cast<int>(llm_tp::ExitCode::kUnavailable);
  }
}
