#pragma once
#include <atomic>
#include <chrono>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <span>
#include <string>
#include <vector>

#include "base/error.h"

namespace llm_tp {

/// Another rank died or left the group. Never the first cause: LocalGroup prefers other errors to it.
class LostRankError : public Error {
 public:
  explicit LostRankError(const std::string& message) : Error(ExitCode::kTryAgain, message) {}
};

/// How the memory of a board is cut. The same on every rank.
struct BoardLayout {
  int world = 1;
  std::size_t slot_bytes = std::size_t{1} << 20;      // one rank's share of one phase; a multiple of 64
  std::size_t control_bytes = std::size_t{64} << 10;  // one piece of a control message; a multiple of 64
  std::size_t total_bytes() const noexcept;
};

/// How a rank waits, and how it sees that another died.
struct BoardWaiting {
  bool more_ranks_than_cores = false;  // then a wait yields the core nearly at once
  bool ranks_are_processes = false;    // then waits look whether the process of the other rank still lives
  std::vector<std::string> hosts;      // of each rank, for messages; may be empty
  std::chrono::milliseconds limit{0};  // a rank that lets others wait longer is taken for lost; 0: never
};

/// One rank's view of memory that all ranks of a host share: two slots a rank for data and a counter of
/// phases a rank. A rank writes its slot of a phase, publishes the phase, waits for the phase of the others
/// and reads their slots. Slots alternate, so a rank may write phase p + 2 as soon as all others published p
/// + 1: by then they have read p.
///
/// A wait spins for a while, then yields, then sleeps on the counter (futex). It ends with LostRankError if
/// the other rank died, left, or is later than the limit. Only waits for a message of rank 0, which may have
/// nothing to say for days, have no limit. One thread a rank; the ranks are threads or processes.
class RankBoard {
 public:
  enum class Counter : int { kTensors = 0, kControl = 1 };

  /// Prepares memory of layout.total_bytes(), 64-byte aligned. Once, before the first rank attaches.
  static void format(std::byte* memory, const BoardLayout& layout);

  RankBoard(std::shared_ptr<std::byte> memory, const BoardLayout& layout, int rank, BoardWaiting waiting);
  ~RankBoard() { leave(); }
  RankBoard(const RankBoard&) = delete;
  RankBoard& operator=(const RankBoard&) = delete;

  int rank() const noexcept { return rank_; }
  int world() const noexcept { return layout_.world; }
  const BoardLayout& layout() const noexcept { return layout_; }

  /// The slot of a rank for the phase; [slot_bytes].
  std::byte* slot(int rank, std::uint32_t phase) const noexcept;
  /// Rank 0's piece of a control message; [control_bytes].
  std::byte* control_slot(std::uint32_t phase) const noexcept;

  /// Says that this rank has reached the phase: what it wrote before can be read by ranks that wait for it.
  void publish(Counter counter, std::uint32_t phase) noexcept;
  /// Returns once the other rank published this phase or a later one. `call` names the call in errors:
  /// "sum_tree".
  void wait_for(Counter counter, int other, std::uint32_t phase, const char* call) const;
  void wait_for_all(Counter counter, std::uint32_t phase, const char* call) const;

  /// Throws as a wait does where the process of another rank died; returns at once otherwise. One that has
  /// left may have done all that is waited for; where it left in an error it ends the group.
  void throw_if_any_died(const char* call) const;

  /// Makes waits for this rank throw from now on, except for phases it published.
  void leave() noexcept;
  /// To be called once all ranks are attached: processes that cannot be seen from here (other process
  /// namespaces) are not watched.
  void watch_processes();

 private:
  struct Line;
  struct Member;
  Line& line(Counter counter, int rank) const noexcept;
  Member& member(int rank) const noexcept;
  void throw_if_lost(Counter counter, int other, std::uint32_t phase, const char* call) const;
  [[noreturn]] void throw_lost(int other, const char* what, const char* call, const char* hint) const;

  std::shared_ptr<std::byte> memory_;
  BoardLayout layout_;
  int rank_;
  BoardWaiting waiting_;
  bool watching_ = false;
};

/// Anonymous memory that the threads of this process share, zeroed. Errors: kOutOfMemory.
std::shared_ptr<std::byte> map_private_board(std::size_t bytes);
/// Makes shared memory of this name ("/llm-tp…"), zeroed; null where the host refuses it (the reason in
/// `reason`).
std::shared_ptr<std::byte> create_named_board(const std::string& name, std::size_t bytes,
                                              std::string& reason);
/// Maps shared memory that another process made; null where that fails.
std::shared_ptr<std::byte> open_named_board(const std::string& name, std::size_t bytes, std::string& reason);
/// Takes the name away; the memory lives until the last process unmaps it or dies.
void remove_board_name(const std::string& name) noexcept;

}  // namespace llm_tp
