#pragma once
#include <vector_types.h>

#include <cstddef>
#include <cstdint>
#include <functional>
#include <memory>
#include <stdexcept>
#include <string>

namespace llm_tp::emulator {

/// Where in a kernel something happened.
struct Site {
  const char* file;
  int line;
};

/// What a kernel did that a GPU forbids or leaves undefined: names kernel, block, thread, file and line.
class Violation : public std::runtime_error {
 public:
  using std::runtime_error::runtime_error;
};

/// In which order the threads that can run are picked.
enum class ThreadOrder { kAscending, kDescending, kRandom };
void set_thread_order(ThreadOrder order, std::uint64_t seed = 1);

/// The built-in variables of the running thread.
extern uint3 thread_index, block_index;
extern dim3 block_size, grid_size;

/// A grid on its way: its blocks one after the other, each with its threads as fibers. Several may be under
/// way at a time, as those of several streams are. One host thread.
class GridRun {
 public:
  GridRun(std::string kernel, dim3 grid, dim3 block, std::size_t dynamic_shared_bytes,
          std::function<void()> body);
  ~GridRun();
  GridRun(const GridRun&) = delete;
  GridRun& operator=(const GridRun&) = delete;
  /// True once the grid has ended. False: it let others run (hand_over), and is to be called again. Errors:
  /// Violation; then the grid is abandoned.
  bool advance();

 private:
  std::unique_ptr<struct Grid> grid_;
};

// What follows is called by the running thread of a kernel.

/// Ends the grid with a Violation.
[[noreturn]] void fail(const std::string& what, Site site);
int lane();
void block_barrier(Site site);
/// Lets other streams, the host and other processes run before this thread goes on; other threads of the
/// block may go on before.
void hand_over();

/// Shared memory of the block, of exactly the bytes asked for, filled with 0xff (NaN).
void* dynamic_shared();
void* static_shared(const void* variable, std::size_t bytes, std::size_t alignment);
/// Fails unless [pointer, pointer + bytes) lies in this block's shared memory at a multiple of alignment.
void check_shared(const void* pointer, std::size_t bytes, std::size_t alignment, const char* what, Site site);

enum class WarpOp : std::uint8_t { kSync, kShuffle, kVote, kMma, kLoadMatrix };
/// Runs once all lanes of the mask have arrived, with their arguments; lanes that do not take part have
/// nullptr. Returns what is wrong, or an empty string.
using WarpAction = std::string (*)(void* const arguments[32]);
/// Waits until all lanes of `mask` called this with the same op, mask and site. kSync orders memory among
/// them.
void meet(WarpOp op, std::uint32_t mask, void* argument, WarpAction action, Site site);

/// cp.async: the bytes are read now and land at the wait that covers their group.
void start_copy(void* to, const std::byte (&bytes)[16]);
void commit_copies();
/// Lands all groups but the newest `still_open` through `land`.
void wait_for_copies(int still_open, void (*land)(void* to, const std::byte* bytes));

}  // namespace llm_tp::emulator
