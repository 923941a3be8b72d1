#pragma once
#include <chrono>
#include <memory>
#include <string>
#include <vector>

#include "base/error.h"
#include "comm/communicator.h"
#include "comm/control_channel.h"

namespace llm_tp {

/// MPI from its start to its end, once a process. Where no launcher (mpirun, srun --mpi=…) started the
/// process, MPI is not touched at all: starting it alone costs most of a second. Only the thread that made it
/// may use it.
class MpiSession {
 public:
  /// Errors: kUnavailable where MPI does not start, or where srun started several tasks without MPI, which
  /// would be as many groups of one.
  MpiSession();
  /// Ends MPI, which waits for all ranks; not while an exception is under way: then abort() should have been
  /// called.
  ~MpiSession();
  MpiSession(const MpiSession&) = delete;
  MpiSession& operator=(const MpiSession&) = delete;

  bool uses_mpi() const noexcept { return uses_mpi_; }
  int rank() const noexcept { return rank_; }
  int world() const noexcept { return static_cast<int>(hosts_.size()); }
  /// Among the ranks that share memory with this one, in rank order.
  int local_rank() const noexcept { return local_rank_; }
  int local_ranks() const noexcept { return local_ranks_; }
  /// Hosts of the group: sets of ranks that share memory.
  int host_count() const noexcept { return host_count_; }
  const std::string& host() const noexcept { return hosts_[static_cast<std::size_t>(rank_)]; }
  /// The host name of every rank.
  const std::vector<std::string>& hosts() const noexcept { return hosts_; }
  /// The ranks of this host together have fewer cores than there are ranks.
  bool more_ranks_than_cores() const noexcept { return more_ranks_than_cores_; }

  /// Ends every rank of the group with this exit code, and does not return; a process without MPI returns.
  /// Prints nothing: the caller has said why.
  void abort(ExitCode code) noexcept;

 private:
  void find_neighbours();

  bool uses_mpi_ = false;
  int exceptions_at_start_ = 0;
  int rank_ = 0, local_rank_ = 0, local_ranks_ = 1, host_count_ = 1;
  std::vector<std::string> hosts_;
  bool more_ranks_than_cores_ = false;
};

/// "Open MPI v4.1.4": the library this program runs with. Works without MPI being started.
std::string mpi_library_version();

/// "threads: funneled", or that MPI was not started because no launcher was there.
std::string mpi_thread_level();

/// How ranks talk. kAuto: shared memory where all ranks are on one host, else MPI.
enum class GroupKind { kAuto, kSharedMemory, kMpi };

struct RankGroup {
  std::unique_ptr<Communicator> communicator;
  std::unique_ptr<ControlChannel> channel;
  std::string description;  // "shared memory, 4 ranks on one host"
};

/// Collective over all ranks. The session must outlive the group. A rank that lets others wait longer than
/// `limit` in a sum or gather is taken for lost; 0: never. Errors: kUnavailable where shared memory was asked
/// for and cannot be had; kAuto falls back to MPI with a warning on rank 0.
RankGroup make_group(MpiSession& session, GroupKind kind, std::chrono::milliseconds limit);

}  // namespace llm_tp
