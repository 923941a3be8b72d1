#include "comm/mpi_group.h"

#include <mpi.h>
#include <sched.h>
#include <unistd.h>

#include <array>
#include <chrono>
#include <cstdlib>
#include <cstring>
#include <exception>
#include <utility>

#include "base/log.h"
#include "comm/mpi_communicator.h"
#include "comm/rank_board.h"
#include "comm/shared_memory.h"
#include "comm/single_rank.h"

namespace llm_tp {
namespace {

constexpr std::size_t kNameBytes = 128;
constexpr std::size_t kCrowdSlotBytes = std::size_t{256} << 10;  // /dev/shm of a container is often 64 MiB

/// The environment is the only way to tell a launched process before MPI starts.
bool started_by_launcher() {
  for (const char* const name :
       {"OMPI_COMM_WORLD_SIZE", "PMIX_RANK", "PMI_RANK", "PMI_SIZE", "PMI_FD", "MPI_LOCALNRANKS"}) {
    if (std::getenv(name) != nullptr) return true;
  }
  return false;
}

void check_mpi(int result, const char* call) {
  if (result != MPI_SUCCESS) {
    throw Error(ExitCode::kUnavailable,
                std::string(call) + " failed with code " + std::to_string(result) +
                    "; check that the launcher belongs to the MPI this program was built with");
  }
}

std::string own_host_name() {
  std::array<char, kNameBytes> name{};
  gethostname(name.data(), name.size() - 1);
  return name.data();
}

/// Names with which no other job collides, also of other process namespaces that share /dev/shm.
std::string fresh_board_name() {
  const auto now = std::chrono::steady_clock::now().time_since_epoch().count();
  return "/llm-tp." + std::to_string(getuid()) + "." + std::to_string(getpid()) + "." + std::to_string(now);
}

bool all_ranks(bool mine) {
  int all = mine ? 1 : 0;
  check_mpi(MPI_Allreduce(MPI_IN_PLACE, &all, 1, MPI_INT, MPI_MIN, MPI_COMM_WORLD), "MPI_Allreduce");
  return all != 0;
}

/// Null on every rank if one of them cannot have it; then `reason` says why, on the ranks that know.
std::shared_ptr<RankBoard> make_board(const MpiSession& session, std::chrono::milliseconds limit,
                                      std::string& reason) {
  BoardLayout layout;
  layout.world = session.world();
  if (layout.world > 16) layout.slot_bytes = kCrowdSlotBytes;
  const std::size_t bytes = layout.total_bytes();

  std::array<char, kNameBytes> name{};
  std::shared_ptr<std::byte> memory;
  if (session.rank() == 0) {
    const std::string fresh = fresh_board_name();
    memory = create_named_board(fresh, bytes, reason);
    if (memory != nullptr) {
      RankBoard::format(memory.get(), layout);
      std::memcpy(name.data(), fresh.data(), fresh.size());
    }
  }
  check_mpi(MPI_Bcast(name.data(), static_cast<int>(name.size()), MPI_CHAR, 0, MPI_COMM_WORLD), "MPI_Bcast");
  if (session.rank() != 0 && name[0] != '\0') memory = open_named_board(name.data(), bytes, reason);
  const bool complete = all_ranks(memory != nullptr);
  // From here on the memory has no name: whatever kills the ranks, nothing stays behind.
  if (session.rank() == 0 && name[0] != '\0') remove_board_name(name.data());
  if (!complete) {
    if (reason.empty()) reason = "another rank could not map it";
    return nullptr;
  }
  auto board = std::make_shared<RankBoard>(
      std::move(memory), layout, session.rank(),
      BoardWaiting{session.more_ranks_than_cores(), true, session.hosts(), limit});
  check_mpi(MPI_Barrier(MPI_COMM_WORLD), "MPI_Barrier");
  board->watch_processes();
  return board;
}

}  // namespace

MpiSession::MpiSession() : exceptions_at_start_(std::uncaught_exceptions()) {
  uses_mpi_ = started_by_launcher();
  if (!uses_mpi_) {
    const char* const tasks = std::getenv("SLURM_STEP_NUM_TASKS");
    if (tasks != nullptr && std::atoi(tasks) > 1) {
      throw Error(ExitCode::kUnavailable, std::string("srun started ") + tasks +
                                              " tasks without MPI, so none knows the others; add --mpi=pmix "
                                              "(srun --mpi=list shows what there is)");
    }
    hosts_ = {own_host_name()};
    return;
  }
  int provided = 0;
  check_mpi(MPI_Init_thread(nullptr, nullptr, MPI_THREAD_FUNNELED, &provided), "MPI_Init_thread");
  if (provided < MPI_THREAD_FUNNELED) {
    throw Error(ExitCode::kUnavailable,
                "this MPI allows no threads beside the one that calls it; use another build");
  }
  find_neighbours();
}

void MpiSession::find_neighbours() {
  int world = 1;
  MPI_Comm_rank(MPI_COMM_WORLD, &rank_);
  MPI_Comm_size(MPI_COMM_WORLD, &world);

  std::array<char, kNameBytes> mine{};
  const std::string name = own_host_name();
  std::memcpy(mine.data(), name.data(), name.size());
  std::vector<char> names(static_cast<std::size_t>(world) * kNameBytes);
  constexpr int kNameCount = static_cast<int>(kNameBytes);
  check_mpi(
      MPI_Allgather(mine.data(), kNameCount, MPI_CHAR, names.data(), kNameCount, MPI_CHAR, MPI_COMM_WORLD),
      "MPI_Allgather");
  for (int i = 0; i < world; ++i)
    hosts_.emplace_back(names.data() + static_cast<std::size_t>(i) * kNameBytes);

  // Launchers' variables for the local rank are wrong where mpirun runs inside another launcher; this is
  // right in all.
  MPI_Comm host = MPI_COMM_NULL;
  check_mpi(MPI_Comm_split_type(MPI_COMM_WORLD, MPI_COMM_TYPE_SHARED, rank_, MPI_INFO_NULL, &host),
            "MPI_Comm_split_type");
  MPI_Comm_rank(host, &local_rank_);
  MPI_Comm_size(host, &local_ranks_);
  // Every rank may be bound to cores of its own: what counts is all of them together.
  cpu_set_t cores;
  CPU_ZERO(&cores);
  sched_getaffinity(0, sizeof cores, &cores);
  check_mpi(MPI_Allreduce(MPI_IN_PLACE, &cores, static_cast<int>(sizeof cores), MPI_BYTE, MPI_BOR, host),
            "MPI_Allreduce");
  more_ranks_than_cores_ = local_ranks_ > CPU_COUNT(&cores);
  MPI_Comm_free(&host);

  host_count_ = local_rank_ == 0 ? 1 : 0;
  check_mpi(MPI_Allreduce(MPI_IN_PLACE, &host_count_, 1, MPI_INT, MPI_SUM, MPI_COMM_WORLD), "MPI_Allreduce");
}

MpiSession::~MpiSession() {
  if (uses_mpi_ && std::uncaught_exceptions() == exceptions_at_start_) MPI_Finalize();
}

void MpiSession::abort(ExitCode code) noexcept {
  if (!uses_mpi_) return;
  MPI_Abort(MPI_COMM_WORLD, static_cast<int>(code));
  _exit(static_cast<int>(code));
}

RankGroup make_group(MpiSession& session, GroupKind kind, std::chrono::milliseconds limit) {
  RankGroup group;
  if (session.world() == 1 && (kind != GroupKind::kMpi || !session.uses_mpi())) {
    group.communicator = std::make_unique<SingleRank>();
    group.channel = std::make_unique<SingleRankChannel>();
    group.description = group.communicator->description();
    return group;
  }
  const auto end_group = [&session](ExitCode code) { session.abort(code); };
  if (kind == GroupKind::kSharedMemory && session.host_count() > 1) {
    throw Error(ExitCode::kUnavailable,
                "shared memory was asked for, but the " + std::to_string(session.world()) + " ranks are on " +
                    std::to_string(session.host_count()) + " hosts; let the group be chosen or ask for MPI");
  }
  if (kind != GroupKind::kMpi && session.host_count() == 1) {
    std::string reason;
    if (std::shared_ptr<RankBoard> board = make_board(session, limit, reason)) {
      group.communicator = std::make_unique<SharedMemoryCommunicator>(board);
      group.channel = std::make_unique<SharedMemoryChannel>(board, end_group);
      group.description = group.communicator->description();
      return group;
    }
    const std::string message = "the ranks of host " + session.host() + " cannot share memory: " + reason;
    if (kind == GroupKind::kSharedMemory) {
      throw Error(ExitCode::kUnavailable, message + "; give /dev/shm more room or ask for MPI");
    }
    if (session.rank() == 0) log_warning(message + "; sums go through MPI, which is slower");
  }
  const std::shared_ptr<MpiWorld> world =
      duplicate_mpi_world(session.more_ranks_than_cores(), limit, session.hosts());
  group.description =
      "MPI, " + std::to_string(session.world()) + (session.world() == 1 ? " rank on " : " ranks on ") +
      (session.host_count() == 1 ? "one host" : std::to_string(session.host_count()) + " hosts");
  group.communicator = std::make_unique<MpiCommunicator>(world, group.description);
  group.channel = std::make_unique<MpiChannel>(world, end_group);
  return group;
}

std::string mpi_thread_level() {
  int started = 0, ended = 0, level = MPI_THREAD_SINGLE;
  MPI_Initialized(&started);
  MPI_Finalized(&ended);
  if (started == 0 || ended != 0) return "not started, since no launcher started this process";
  MPI_Query_thread(&level);
  return std::string("threads: ") + (level >= MPI_THREAD_MULTIPLE     ? "multiple"
                                     : level >= MPI_THREAD_SERIALIZED ? "serialized"
                                     : level >= MPI_THREAD_FUNNELED   ? "funneled"
                                                                      : "single");
}

std::string mpi_library_version() {
  std::array<char, MPI_MAX_LIBRARY_VERSION_STRING> text{};
  int length = 0;
  MPI_Get_library_version(text.data(), &length);
  const std::string whole(text.data(), static_cast<std::size_t>(length));
  return whole.substr(0, whole.find_first_of(",\n"));
}

}  // namespace llm_tp
