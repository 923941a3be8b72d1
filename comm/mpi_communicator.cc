#include "comm/mpi_communicator.h"

#include <mpi.h>
#include <sched.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <chrono>
#include <climits>
#include <cstdint>
#include <cstring>
#include <optional>
#include <thread>
#include <utility>

#include "comm/patience.h"
#include "comm/process_lives.h"
#include "comm/rank_board.h"
#include "comm/tree_reduce.h"

namespace llm_tp {

class MpiWorld {
 public:
  MpiWorld(bool more_ranks_than_cores, std::chrono::milliseconds limit, std::vector<std::string> hosts)
      : spins_(more_ranks_than_cores ? 5 : 2000), limit_(limit), hosts_(std::move(hosts)) {
    check(MPI_Comm_dup(MPI_COMM_WORLD, &comm), "MPI_Comm_dup");
    MPI_Comm_set_errhandler(comm, MPI_ERRORS_RETURN);
    MPI_Comm_rank(comm, &rank);
    MPI_Comm_size(comm, &size);
    find_neighbours();
  }
  ~MpiWorld() {
    int finalized = 0;
    MPI_Finalized(&finalized);
    // Freeing is collective: where an error is under way the others may never come.
    if (finalized == 0 && !failed_) MPI_Comm_free(&comm);
  }
  MpiWorld(const MpiWorld&) = delete;
  MpiWorld& operator=(const MpiWorld&) = delete;

  void check(int result, const char* call) {
    if (result == MPI_SUCCESS) return;
    failed_ = true;
    char text[MPI_MAX_ERROR_STRING] = {};
    int length = 0;
    MPI_Error_string(result, text, &length);
    throw Error(ExitCode::kTryAgain, "rank " + std::to_string(rank) + ": " + call +
                                         " failed: " + std::string(text, static_cast<std::size_t>(length)) +
                                         "; a rank or the network was lost, start the job again");
  }

  /// Completes a request that a call has just started. Silent: of rank 0, which may have nothing to say for
  /// days.
  void finish(int started, MPI_Request& request, const char* call, bool may_be_silent = false) {
    check(started, call);
    int done = 0;
    for (int i = 0; i < spins_; ++i) {
      check(MPI_Test(&request, &done, MPI_STATUS_IGNORE), call);
      if (done != 0) return;
    }
    const Clock::time_point asleep_from = Clock::now() + std::chrono::milliseconds(3);
    auto nap = std::chrono::microseconds(50);
    Patience patience(may_be_silent ? std::chrono::milliseconds(0) : limit_);
    while (true) {
      check(MPI_Test(&request, &done, MPI_STATUS_IGNORE), call);
      if (done != 0) return;
      if (Clock::now() < asleep_from) {
        sched_yield();
        continue;
      }
      if (patience.ended()) {
        failed_ = true;
        throw Error(
            ExitCode::kTryAgain,
            "a rank did not come within rank_timeout while rank " + std::to_string(rank) + " waited in " +
                call +
                "; it hangs, is stopped, or the network is cut; look at the hosts, then start the job "
                "again, or raise rank_timeout");
      }
      if (const auto dead = look_for_the_dead()) {
        check(MPI_Test(&request, &done, MPI_STATUS_IGNORE), call);
        if (done != 0) return;  // its last message, for which it needed to stay no longer
        end_because_of(*dead, call);
      }
      // An idle rank: MPI has no call that sleeps until a message comes.
      std::this_thread::sleep_for(nap);
      nap = std::min(nap * 5 / 4, std::chrono::microseconds(4000));
    }
  }

  /// Returns at once, unless a rank of this host died. Looks every kLookEvery, however often it is called.
  void throw_if_any_died(const char* call) {
    if (const auto dead = look_for_the_dead()) end_because_of(*dead, call);
  }

  MPI_Comm comm = MPI_COMM_NULL;
  int rank = 0, size = 1;

 private:
  using Clock = std::chrono::steady_clock;
  struct Neighbour {
    std::int64_t rank, pid, process_names;  // of the namespace in which the pid means the process
  };

  static constexpr auto kLookEvery = std::chrono::milliseconds(100);
  static constexpr auto kTimeToEndTheGroup = std::chrono::milliseconds(500);

  /// One that has ended; then the time has passed in which one that ended in an error ends the group with the
  /// code of the cause, which must win over ours, as must the launcher's word on how it died.
  std::optional<Neighbour> look_for_the_dead() {
    if (Clock::now() < next_look_) return std::nullopt;
    next_look_ = Clock::now() + kLookEvery;
    const auto dead = std::find_if(neighbours_.begin(), neighbours_.end(), [](const Neighbour& other) {
      return !process_lives(static_cast<int>(other.pid));
    });
    if (dead == neighbours_.end()) return std::nullopt;
    std::this_thread::sleep_for(kTimeToEndTheGroup);
    return *dead;
  }
  [[noreturn]] void end_because_of(const Neighbour& dead, const char* call) {
    failed_ = true;
    throw LostRankError("rank " + std::to_string(dead.rank) + " (pid " + std::to_string(dead.pid) +
                        ", host " + hosts_[static_cast<std::size_t>(dead.rank)] + ") died while rank " +
                        std::to_string(rank) + " waited for it in " + call +
                        "; see what it said last, then start the job again");
  }

  /// Those ranks that share memory with this one, where their processes can be seen from here: containers of
  /// one host may each count their own.
  void find_neighbours() {
    MPI_Comm host = MPI_COMM_NULL;
    check(MPI_Comm_split_type(comm, MPI_COMM_TYPE_SHARED, rank, MPI_INFO_NULL, &host), "MPI_Comm_split_type");
    int count = 0;
    MPI_Comm_size(host, &count);
    struct stat names {};
    if (stat("/proc/self/ns/pid", &names) != 0) names.st_ino = 0;
    const Neighbour mine{rank, getpid(), static_cast<std::int64_t>(names.st_ino)};
    std::vector<Neighbour> all(static_cast<std::size_t>(count));
    check(MPI_Allgather(&mine, sizeof mine, MPI_BYTE, all.data(), sizeof mine, MPI_BYTE, host),
          "MPI_Allgather");
    MPI_Comm_free(&host);
    for (const Neighbour& other : all)
      if (other.rank != rank && other.process_names == mine.process_names &&
          process_lives(static_cast<int>(other.pid)))
        neighbours_.push_back(other);
  }

  int spins_;
  std::chrono::milliseconds limit_;
  std::vector<std::string> hosts_;
  std::vector<Neighbour> neighbours_;
  Clock::time_point next_look_ = Clock::now() + kLookEvery;
  bool failed_ = false;
};

namespace {

constexpr std::int64_t kWholeBytes = 64 << 10;   // of all roots; above it slices move fewer bytes
constexpr std::int64_t kChunkNumbers = 1 << 24;  // counts and displacements of MPI are ints
constexpr std::int64_t kElementBytes = sizeof(float);

int as_count(std::int64_t value) {
  LLM_TP_CHECK(value >= 0 && value <= INT_MAX, "MPI: more than 2^31 numbers in one message");
  return static_cast<int>(value);
}

/// Counts with their displacements: one block after the other.
struct Blocks {
  std::vector<int> counts, starts;
  void add(std::int64_t count) {
    starts.push_back(counts.empty() ? 0 : as_count(std::int64_t{starts.back()} + counts.back()));
    counts.push_back(as_count(count));
  }
  std::size_t total() const {
    return static_cast<std::size_t>(starts.back()) + static_cast<std::size_t>(counts.back());
  }
};

}  // namespace

std::shared_ptr<MpiWorld> duplicate_mpi_world(bool more_ranks_than_cores, std::chrono::milliseconds limit,
                                              std::vector<std::string> hosts) {
  return std::make_shared<MpiWorld>(more_ranks_than_cores, limit, std::move(hosts));
}

MpiCommunicator::MpiCommunicator(std::shared_ptr<MpiWorld> world, std::string description)
    : mpi_(std::move(world)), description_(std::move(description)) {}

int MpiCommunicator::rank() const { return mpi_->rank; }
int MpiCommunicator::world() const { return mpi_->size; }
void MpiCommunicator::check_peers(const char* call) { mpi_->throw_if_any_died(call); }

void MpiCommunicator::sum_tree(TensorView out, TensorView mine, const TreeParts& parts) {
  const CallTimer timer(seconds_);
  const std::int64_t elements = checked_elements(out, mine, parts, rank(), world());
  if (elements == 0) return;
  const auto* const first = reinterpret_cast<const float*>(mine.data);
  if (elements * parts.total_roots() * kElementBytes <= kWholeBytes) {
    sum_whole(out, first, parts, elements);
    return;
  }
  const std::int64_t chunk = std::max<std::int64_t>(1, kChunkNumbers / parts.total_roots());
  for (std::int64_t begin = 0; begin < elements; begin += chunk) {
    sum_slices(out, first, parts, elements, {begin, std::min(elements, begin + chunk)});
  }
}

void MpiCommunicator::sum_whole(TensorView out, const float* mine, const TreeParts& parts,
                                std::int64_t elements) {
  Blocks blocks;
  for (int other = 0; other < world(); ++other) blocks.add(parts.roots_of_rank(other) * elements);
  receive_.resize(blocks.total());
  MPI_Request request;
  mpi_->finish(
      MPI_Iallgatherv(mine, blocks.counts[static_cast<std::size_t>(rank())], MPI_FLOAT, receive_.data(),
                      blocks.counts.data(), blocks.starts.data(), MPI_FLOAT, mpi_->comm, &request),
      request, "sum_tree (MPI_Iallgatherv)");
  roots_.resize(static_cast<std::size_t>(parts.total_roots()));
  for_each_run(out, 0, elements, [&](float* run, std::int64_t begin, std::int64_t count) {
    for (std::size_t i = 0; i < roots_.size(); ++i) {
      roots_[i] = receive_.data() + static_cast<std::int64_t>(i) * elements + begin;
    }
    evaluate_tree(parts.additions(), roots_, run, count);
  });
}

void MpiCommunicator::sum_slices(TensorView out, const float* mine, const TreeParts& parts,
                                 std::int64_t elements, Range chunk) {
  const int my_roots = parts.roots_of_rank(rank());
  const Range my_slice = even_slice(chunk.size(), rank(), world());
  Blocks sent, received, slices;
  send_.clear();
  for (int other = 0; other < world(); ++other) {
    const Range slice = even_slice(chunk.size(), other, world());
    sent.add(my_roots * slice.size());
    received.add(parts.roots_of_rank(other) * my_slice.size());
    slices.add(slice.size());
    for (int i = 0; i < my_roots; ++i) {
      const float* const root = mine + i * elements + chunk.begin;
      send_.insert(send_.end(), root + slice.begin, root + slice.end);
    }
  }
  receive_.resize(received.total());
  MPI_Request request;
  mpi_->finish(
      MPI_Ialltoallv(send_.data(), sent.counts.data(), sent.starts.data(), MPI_FLOAT, receive_.data(),
                     received.counts.data(), received.starts.data(), MPI_FLOAT, mpi_->comm, &request),
      request, "sum_tree (MPI_Ialltoallv)");

  send_.resize(std::max<std::size_t>(1, static_cast<std::size_t>(my_slice.size())));
  if (!my_slice.empty()) {
    roots_.clear();
    for (std::int64_t i = 0; i < parts.total_roots(); ++i)
      roots_.push_back(receive_.data() + i * my_slice.size());
    evaluate_tree(parts.additions(), roots_, send_.data(), my_slice.size());
  }
  result_.resize(static_cast<std::size_t>(chunk.size()));
  mpi_->finish(MPI_Iallgatherv(send_.data(), as_count(my_slice.size()), MPI_FLOAT, result_.data(),
                               slices.counts.data(), slices.starts.data(), MPI_FLOAT, mpi_->comm, &request),
               request, "sum_tree (MPI_Iallgatherv)");
  for_each_run(out, chunk.begin, chunk.end, [&](float* run, std::int64_t begin, std::int64_t count) {
    std::memcpy(run, result_.data() + (begin - chunk.begin), static_cast<std::size_t>(count * kElementBytes));
  });
}

void MpiCommunicator::share_rows(TensorView out, TensorView mine, std::span<const int> owners) {
  const CallTimer timer(seconds_);
  check_shared_rows(out, mine, owners, world());
  const std::int64_t columns = out.columns();
  if (columns == 0) return;
  const std::int64_t rows_at_once = std::max<std::int64_t>(1, kChunkNumbers / columns);
  for (std::int64_t begin = 0; begin < out.shape[0]; begin += rows_at_once) {
    const std::int64_t end = std::min(out.shape[0], begin + rows_at_once);
    std::vector<std::int64_t> rows_of(static_cast<std::size_t>(world()));
    send_.clear();
    for (std::int64_t row = begin; row < end; ++row) {
      const int owner = owners[static_cast<std::size_t>(row)];
      ++rows_of[static_cast<std::size_t>(owner)];
      if (owner == rank()) send_.insert(send_.end(), mine.row(row), mine.row(row) + columns);
    }
    Blocks blocks;
    for (const std::int64_t rows : rows_of) blocks.add(rows * columns);
    receive_.resize(blocks.total());
    MPI_Request request;
    mpi_->finish(MPI_Iallgatherv(send_.data(), as_count(static_cast<std::int64_t>(send_.size())), MPI_FLOAT,
                                 receive_.data(), blocks.counts.data(), blocks.starts.data(), MPI_FLOAT,
                                 mpi_->comm, &request),
                 request, "share_rows (MPI_Iallgatherv)");
    std::vector<std::int64_t> next(blocks.starts.begin(), blocks.starts.end());
    for (std::int64_t row = begin; row < end; ++row) {
      std::int64_t& from = next[static_cast<std::size_t>(owners[static_cast<std::size_t>(row)])];
      std::memcpy(out.row(row), receive_.data() + from, static_cast<std::size_t>(columns * kElementBytes));
      from += columns;
    }
  }
}

std::vector<std::vector<std::byte>> MpiCommunicator::gather(std::span<const std::byte> mine) {
  const CallTimer timer(seconds_);
  const auto ranks = static_cast<std::size_t>(world());
  const std::uint64_t size = mine.size();
  std::vector<std::uint64_t> sizes(ranks);
  MPI_Request request;
  mpi_->finish(MPI_Igather(&size, 1, MPI_UINT64_T, sizes.data(), 1, MPI_UINT64_T, 0, mpi_->comm, &request),
               request, "gather (MPI_Igather)");
  Blocks blocks;
  if (rank() == 0) {
    for (const std::uint64_t bytes : sizes) blocks.add(static_cast<std::int64_t>(bytes));
  }
  std::vector<std::byte> bytes(rank() == 0 ? blocks.total() : 0);
  mpi_->finish(MPI_Igatherv(mine.data(), as_count(static_cast<std::int64_t>(size)), MPI_BYTE, bytes.data(),
                            blocks.counts.data(), blocks.starts.data(), MPI_BYTE, 0, mpi_->comm, &request),
               request, "gather (MPI_Igatherv)");
  std::vector<std::vector<std::byte>> all;
  for (std::size_t i = 0; i < blocks.counts.size(); ++i) {
    const auto begin = bytes.begin() + blocks.starts[i];
    all.emplace_back(begin, begin + blocks.counts[i]);
  }
  return all;
}

MpiChannel::MpiChannel(std::shared_ptr<MpiWorld> world, std::function<void(ExitCode)> end_group)
    : mpi_(std::move(world)), end_group_(std::move(end_group)) {}

int MpiChannel::rank() const { return mpi_->rank; }
int MpiChannel::world() const { return mpi_->size; }

void MpiChannel::broadcast(std::vector<std::byte>& bytes) {
  std::uint64_t size = bytes.size();
  MPI_Request request;
  mpi_->finish(MPI_Ibcast(&size, 1, MPI_UINT64_T, 0, mpi_->comm, &request), request, "broadcast (MPI_Ibcast)",
               true);
  bytes.resize(size);
  if (size == 0) return;
  mpi_->finish(
      MPI_Ibcast(bytes.data(), as_count(static_cast<std::int64_t>(size)), MPI_BYTE, 0, mpi_->comm, &request),
      request, "broadcast (MPI_Ibcast)");
}

void MpiChannel::abort(ExitCode code) noexcept {
  if (end_group_) end_group_(code);
}

}  // namespace llm_tp
