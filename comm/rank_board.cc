#include "comm/rank_board.h"

#include <fcntl.h>
#include <linux/futex.h>
#include <sched.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <chrono>
#include <climits>
#include <cstdio>
#include <cstring>
#include <ctime>
#include <new>
#include <thread>
#include <utility>

#include "comm/patience.h"
#include "comm/process_lives.h"

namespace llm_tp {
namespace {

using Clock = std::chrono::steady_clock;

constexpr std::size_t kLineBytes = 64;
constexpr int kCounters = 2;
// Waits of the inner loop take microseconds. Later the core is offered to others, and after some milliseconds
// nothing but the kernel's wake-up is waited for: an idle rank must leave its core to the rest of the
// machine.
constexpr int kSpins = 4000;
constexpr int kSpinsIfCrowded = 20;
constexpr auto kAwake = std::chrono::milliseconds(3);
constexpr auto kTimeToEndTheGroup = std::chrono::milliseconds(250);
constexpr const char* kHint = "see what it said last, then start the job again";
constexpr long kSleepNanoseconds = 20'000'000;  // then the other rank's process is looked at

void pause_core() noexcept {
#if defined(__x86_64__)
  __builtin_ia32_pause();
#elif defined(__aarch64__)
  asm volatile("yield");
#endif
}

bool reached(std::uint32_t now, std::uint32_t phase) noexcept {
  // Counters wrap around; ranks are never more than a few phases apart.
  return static_cast<std::int32_t>(now - phase) >= 0;
}

void futex_sleep(std::atomic<std::uint32_t>& word, std::uint32_t seen) noexcept {
  const timespec limit{0, kSleepNanoseconds};
  syscall(SYS_futex, &word, FUTEX_WAIT, seen, &limit, nullptr, 0);
}

void futex_wake(std::atomic<std::uint32_t>& word) noexcept {
  syscall(SYS_futex, &word, FUTEX_WAKE, INT_MAX, nullptr, nullptr, 0);
}

std::shared_ptr<std::byte> map_shared(int descriptor, int flags, std::size_t bytes) {
  void* const memory = mmap(nullptr, bytes, PROT_READ | PROT_WRITE, MAP_SHARED | flags, descriptor, 0);
  if (memory == MAP_FAILED) return nullptr;
  return {static_cast<std::byte*>(memory), [bytes](std::byte* at) { munmap(at, bytes); }};
}

}  // namespace

struct alignas(kLineBytes) RankBoard::Line {
  std::atomic<std::uint32_t> phase{0};
  std::atomic<std::uint32_t> sleepers{0};
};

struct alignas(kLineBytes) RankBoard::Member {
  std::atomic<int> pid{0};
  std::atomic<int> left{0};
};

std::size_t BoardLayout::total_bytes() const noexcept {
  const auto ranks = static_cast<std::size_t>(world);
  return ranks * (kCounters + 1) * kLineBytes + 2 * ranks * slot_bytes + 2 * control_bytes;
}

void RankBoard::format(std::byte* memory, const BoardLayout& layout) {
  static_assert(sizeof(Line) == kLineBytes && sizeof(Member) == kLineBytes);
  static_assert(std::atomic<std::uint32_t>::is_always_lock_free);
  LLM_TP_CHECK(layout.world >= 1 && layout.slot_bytes % kLineBytes == 0 && layout.slot_bytes > 0 &&
                   layout.control_bytes % kLineBytes == 0 && layout.control_bytes > 0,
               "shared memory: slots are whole cache lines");
  for (int i = 0; i < kCounters * layout.world; ++i)
    new (memory + static_cast<std::size_t>(i) * kLineBytes) Line;
  for (int i = 0; i < layout.world; ++i) {
    new (memory + static_cast<std::size_t>(kCounters * layout.world + i) * kLineBytes) Member;
  }
}

RankBoard::RankBoard(std::shared_ptr<std::byte> memory, const BoardLayout& layout, int rank,
                     BoardWaiting waiting)
    : memory_(std::move(memory)), layout_(layout), rank_(rank), waiting_(std::move(waiting)) {
  LLM_TP_CHECK(rank >= 0 && rank < layout.world, "shared memory: rank outside the group");
  if (waiting_.ranks_are_processes) member(rank).pid.store(getpid());
}

RankBoard::Line& RankBoard::line(Counter counter, int rank) const noexcept {
  const auto index =
      static_cast<std::size_t>(static_cast<int>(counter)) * static_cast<std::size_t>(layout_.world) +
      static_cast<std::size_t>(rank);
  return *reinterpret_cast<Line*>(memory_.get() + index * kLineBytes);
}

RankBoard::Member& RankBoard::member(int rank) const noexcept {
  const auto index = static_cast<std::size_t>(kCounters) * static_cast<std::size_t>(layout_.world) +
                     static_cast<std::size_t>(rank);
  return *reinterpret_cast<Member*>(memory_.get() + index * kLineBytes);
}

std::byte* RankBoard::slot(int rank, std::uint32_t phase) const noexcept {
  const auto ranks = static_cast<std::size_t>(layout_.world);
  const std::size_t index = static_cast<std::size_t>(rank) * 2 + (phase & 1);
  return memory_.get() + ranks * (kCounters + 1) * kLineBytes + index * layout_.slot_bytes;
}

std::byte* RankBoard::control_slot(std::uint32_t phase) const noexcept {
  return slot(layout_.world, 0) + (phase & 1) * layout_.control_bytes;
}

void RankBoard::publish(Counter counter, std::uint32_t phase) noexcept {
  Line& mine = line(counter, rank_);
  // Sequentially consistent with the sleeper's order (count itself, then look at the phase): one of the two
  // sees the other, so no wake-up is lost.
  mine.phase.store(phase);
  if (mine.sleepers.load() != 0) futex_wake(mine.phase);
}

void RankBoard::wait_for_all(Counter counter, std::uint32_t phase, const char* call) const {
  for (int other = 0; other < layout_.world; ++other) {
    if (other != rank_) wait_for(counter, other, phase, call);
  }
}

void RankBoard::wait_for(Counter counter, int other, std::uint32_t phase, const char* call) const {
  Line& theirs = line(counter, other);
  const int spins = waiting_.more_ranks_than_cores ? kSpinsIfCrowded : kSpins;
  for (int i = 0; i < spins; ++i) {
    if (reached(theirs.phase.load(std::memory_order_acquire), phase)) return;
    pause_core();
  }
  const Clock::time_point asleep_from = Clock::now() + kAwake;
  while (Clock::now() < asleep_from) {
    for (int i = 0; i < kSpinsIfCrowded; ++i) {
      if (reached(theirs.phase.load(std::memory_order_acquire), phase)) return;
      pause_core();
    }
    if (member(other).left.load(std::memory_order_acquire) != 0) throw_if_lost(counter, other, phase, call);
    sched_yield();
  }
  const bool may_be_silent = counter == Counter::kControl && other == 0;
  Patience patience(may_be_silent ? std::chrono::milliseconds(0) : waiting_.limit);
  while (true) {
    theirs.sleepers.fetch_add(1);
    const std::uint32_t seen = theirs.phase.load();
    const bool done = reached(seen, phase);
    if (!done && member(other).left.load() == 0) futex_sleep(theirs.phase, seen);
    theirs.sleepers.fetch_sub(1);
    if (done || reached(theirs.phase.load(std::memory_order_acquire), phase)) return;
    throw_if_lost(counter, other, phase, call);
    if (patience.ended())
      throw_lost(other, " did not come within rank_timeout", call,
                 "it hangs or is stopped; look at its host, then start the job again, or raise rank_timeout");
  }
}

void RankBoard::throw_if_any_died(const char* call) const {
  for (int other = 0; other < layout_.world && watching_; ++other)
    if (other != rank_ && member(other).left.load() == 0 && !process_lives(member(other).pid.load()))
      throw_lost(other, " died", call, kHint);
}

void RankBoard::throw_if_lost(Counter counter, int other, std::uint32_t phase, const char* call) const {
  const int pid = member(other).pid.load();
  const bool left = member(other).left.load() != 0;
  if (!left && !(watching_ && pid != 0 && !process_lives(pid))) return;
  // It may have published the phase and then ended: then nothing is missing here.
  if (reached(line(counter, other).phase.load(std::memory_order_acquire), phase)) return;
  // A rank that left in an error is about to end the group with the code of the cause, which must win over
  // ours.
  if (left && waiting_.ranks_are_processes) std::this_thread::sleep_for(kTimeToEndTheGroup);
  throw_lost(other, left ? " left the group" : " died", call, kHint);
}

void RankBoard::throw_lost(int other, const char* what, const char* call, const char* hint) const {
  const int pid = member(other).pid.load();
  const auto index = static_cast<std::size_t>(other);
  std::string who = "rank " + std::to_string(other);
  if (pid != 0) {
    who += " (pid " + std::to_string(pid);
    if (index < waiting_.hosts.size()) who += ", host " + waiting_.hosts[index];
    who += ")";
  }
  throw LostRankError(who + what + " while rank " + std::to_string(rank_) + " waited for it in " + call +
                      "; " + hint);
}

void RankBoard::leave() noexcept {
  if (member(rank_).left.exchange(1) != 0) return;
  for (int counter = 0; counter < kCounters; ++counter)
    futex_wake(line(static_cast<Counter>(counter), rank_).phase);
}

void RankBoard::watch_processes() {
  watching_ = waiting_.ranks_are_processes;
  for (int other = 0; other < layout_.world; ++other) {
    const int pid = member(other).pid.load();
    if (pid == 0 || !process_lives(pid)) watching_ = false;
  }
}

std::shared_ptr<std::byte> map_private_board(std::size_t bytes) {
  std::shared_ptr<std::byte> memory = map_shared(-1, MAP_ANONYMOUS, bytes);
  if (memory == nullptr) {
    throw Error(ExitCode::kOutOfMemory, "cannot map " + std::to_string(bytes) + " bytes of memory for sums");
  }
  return memory;
}

std::shared_ptr<std::byte> create_named_board(const std::string& name, std::size_t bytes,
                                              std::string& reason) {
  const int descriptor = shm_open(name.c_str(), O_RDWR | O_CREAT | O_EXCL, 0600);
  if (descriptor < 0) {
    reason = std::string("shm_open: ") + std::strerror(errno);
    return nullptr;
  }
  // Pages are taken now: a full /dev/shm is an error here and a SIGBUS later.
  const int refused = posix_fallocate(descriptor, 0, static_cast<off_t>(bytes));
  std::shared_ptr<std::byte> memory;
  if (refused != 0) {
    reason = "/dev/shm has no room for " + std::to_string(bytes >> 20) + " MiB: " + std::strerror(refused);
  } else {
    memory = map_shared(descriptor, 0, bytes);
    if (memory == nullptr) reason = std::string("mmap: ") + std::strerror(errno);
  }
  close(descriptor);
  if (memory == nullptr) remove_board_name(name);
  return memory;
}

std::shared_ptr<std::byte> open_named_board(const std::string& name, std::size_t bytes, std::string& reason) {
  const int descriptor = shm_open(name.c_str(), O_RDWR, 0);
  if (descriptor < 0) {
    reason = std::string("shm_open: ") + std::strerror(errno);
    return nullptr;
  }
  std::shared_ptr<std::byte> memory = map_shared(descriptor, 0, bytes);
  if (memory == nullptr) reason = std::string("mmap: ") + std::strerror(errno);
  close(descriptor);
  return memory;
}

void remove_board_name(const std::string& name) noexcept { shm_unlink(name.c_str()); }

}  // namespace llm_tp
