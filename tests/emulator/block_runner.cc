// Never compiled with a sanitizer: what the emulator itself does is not part of the program under test.
#include "emulator/block_runner.h"

#include <algorithm>
#include <array>
#include <cstdlib>
#include <cstring>
#include <deque>
#include <map>
#include <memory>
#include <random>
#include <utility>
#include <vector>

#include "emulator/fiber.h"

namespace llm_tp::emulator {

uint3 thread_index, block_index;
dim3 block_size, grid_size;

namespace {

enum class State : std::uint8_t { kReady, kAtBarrier, kInWarpOp, kHandingOver, kDone };

struct PendingCopy {
  void* to;
  std::byte bytes[16];
};

struct Thread {
  int number = 0;
  uint3 index{};
  State state = State::kReady;
  WarpOp op = WarpOp::kSync;
  Site site{};
  std::vector<PendingCopy> open;                 // since the last commit
  std::vector<std::vector<PendingCopy>> groups;  // committed and not landed, oldest first
};

/// Lanes of one warp that wait for the rest of their mask.
struct Meeting {
  WarpOp op{};
  std::uint32_t mask = 0, arrived = 0;
  Site site{};
  char* order = nullptr;  // of memory, for kSync
  std::array<void*, 32> arguments{};
};

struct SharedPiece {
  std::byte* data = nullptr;
  std::size_t bytes = 0;
};

struct Free {
  void operator()(std::byte* at) const { std::free(at); }
};

using Fibers = std::vector<std::unique_ptr<Fiber>>;

/// Fibers of grids that have ended, for the next ones.
std::vector<Fibers>& idle_fibers() {
  static std::vector<Fibers> sets;
  return sets;
}

}  // namespace

struct Grid {
  std::string kernel;
  std::function<void()> body;
  dim3 blocks, block;
  std::size_t dynamic_bytes = 0;
  unsigned next_block = 0;
  bool in_block = false;
  Fibers fibers;
  // Of the running block:
  bool hands_over = false;
  std::vector<Thread> threads;
  std::vector<std::vector<Meeting>> meetings;  // by warp
  std::deque<int> ready, handing_over;
  int done = 0, at_barrier = 0;
  std::array<char*, 2>
      barrier_order{};  // of barriers with even and odd numbers: one is left while the next fills
  std::size_t barriers = 0;
  SharedPiece dynamic;
  std::map<const void*, SharedPiece> statics;
  std::size_t first_fiber = 0;
  // Kept to the end of the grid, so that ThreadSanitizer never sees two blocks at one address.
  std::vector<std::unique_ptr<std::byte, Free>> shared_memory;
  std::deque<char> order_objects;
};

namespace {

Grid* grid = nullptr;  // the one that runs
Thread* current = nullptr;
std::string violation;
ThreadOrder thread_order = ThreadOrder::kAscending;
std::mt19937_64 random_bits;
char start_of_block, end_of_grid;

/// A block's threads begin one fiber on from the block's before, so that ThreadSanitizer takes threads of one
/// number in two blocks for two.
Fiber& fiber_of(int thread) {
  return *grid->fibers[(grid->first_fiber + static_cast<std::size_t>(thread)) % grid->fibers.size()];
}

const char* name_of(WarpOp op) {
  constexpr std::array<const char*, 5> kNames{"__syncwarp", "a shuffle", "a vote", "mma", "ldmatrix"};
  return kNames[static_cast<std::size_t>(op)];
}
std::string text_of(Site site) {
  const std::string file = site.file;
  return file.substr(file.rfind('/') + 1) + ":" + std::to_string(site.line);
}
bool same(Site a, Site b) {
  return a.line == b.line && (a.file == b.file || std::strcmp(a.file, b.file) == 0);
}

/// Ends the grid. What its threads did so far is over: none of them runs again.
[[noreturn]] void report(const std::string& what) {
  for (const Thread& t : grid->threads) fiber_of(t.number).publish_for(&end_of_grid);
  observe(&end_of_grid);
  throw Violation("kernel " + grid->kernel + ", block (" + std::to_string(block_index.x) + "," +
                  std::to_string(block_index.y) + "," + std::to_string(block_index.z) + "): " + what);
}

SharedPiece allocate_shared(std::size_t bytes, std::size_t alignment) {
  void* at = nullptr;
  if (posix_memalign(&at, std::max<std::size_t>(alignment, 16), std::max<std::size_t>(bytes, 1)) != 0)
    throw std::bad_alloc();
  auto* data = static_cast<std::byte*>(at);
  grid->shared_memory.emplace_back(data);
  for (std::size_t i = 0; i < bytes; ++i) data[i] = std::byte{0xff};
  return {data, bytes};
}

void start_thread() {
  Fiber::arrived();
  observe(&start_of_block);
  grid->body();
  if (!current->open.empty() || !current->groups.empty())
    fail("the thread ends with asynchronous copies that were never waited for", {"", 0});
  publish(&end_of_grid);
  current->state = State::kDone;
  ++grid->done;
  fiber_of(current->number).leave(true);
}

int take_ready() {
  std::deque<int>& ready = grid->ready;
  if (thread_order == ThreadOrder::kRandom) std::swap(ready[random_bits() % ready.size()], ready.back());
  if (thread_order == ThreadOrder::kAscending) {
    const int thread = ready.front();
    ready.pop_front();
    return thread;
  }
  const int thread = ready.back();
  ready.pop_back();
  return thread;
}

/// No thread can run: either all wait at one barrier, or never will.
void open_barrier() {
  const auto count = static_cast<int>(grid->threads.size());
  if (grid->at_barrier < count) {
    std::string what = grid->at_barrier > 0 && grid->at_barrier + grid->done == count
                           ? "some threads ended while others wait at __syncthreads:"
                           : "threads wait for each other for ever:";
    Site last{"", 0};
    for (const Thread& t : grid->threads) {
      if (t.state == State::kDone || same(t.site, last)) continue;
      last = t.site;
      what += " thread " + std::to_string(t.number) + " in " +
              (t.state == State::kAtBarrier ? "__syncthreads" : name_of(t.op)) + " at " + text_of(t.site) +
              ";";
    }
    report(what);
  }
  for (const Thread& t : grid->threads)
    if (!same(t.site, grid->threads[0].site))
      report("threads wait at different __syncthreads: " + text_of(grid->threads[0].site) + " and " +
             text_of(t.site));
  grid->at_barrier = 0;
  ++grid->barriers;
  for (Thread& t : grid->threads) {
    t.state = State::kReady;
    grid->ready.push_back(t.number);
  }
}

char* new_order_object() { return &grid->order_objects.emplace_back(); }

void start_block() {
  const std::size_t count = std::size_t{block_size.x} * block_size.y * block_size.z;
  grid->threads.assign(count, {});
  grid->meetings.assign((count + 31) / 32, {});
  grid->ready.clear();
  grid->handing_over.clear();
  grid->done = grid->at_barrier = 0;
  grid->barrier_order = {new_order_object(), new_order_object()};
  grid->statics.clear();
  grid->dynamic = allocate_shared(grid->dynamic_bytes, 128);
  publish(&start_of_block);
  while (grid->fibers.size() <= count) grid->fibers.push_back(std::make_unique<Fiber>());
  ++grid->first_fiber;
  for (std::size_t i = 0; i < count; ++i) {
    Thread& t = grid->threads[i];
    const auto number = static_cast<unsigned>(i);
    t.number = static_cast<int>(i);
    t.index = {number % block_size.x, number / block_size.x % block_size.y,
               number / (block_size.x * block_size.y)};
    fiber_of(t.number).reset(start_thread);
    grid->ready.push_back(t.number);
  }
}

/// False: the grid hands over.
bool run_block() {
  while (grid->done < static_cast<int>(grid->threads.size())) {
    if (grid->hands_over) return false;
    if (grid->ready.empty()) open_barrier();
    current = &grid->threads[static_cast<std::size_t>(take_ready())];
    thread_index = current->index;
    fiber_of(current->number).resume();
    if (!violation.empty()) report(std::exchange(violation, {}));
  }
  return true;
}

void yield() { fiber_of(current->number).leave(false); }

std::uint32_t lanes_of_warp(int warp) {
  const auto left = static_cast<int>(grid->threads.size()) - 32 * warp;
  return left >= 32 ? ~std::uint32_t{0} : (std::uint32_t{1} << left) - 1;
}

}  // namespace

void set_thread_order(ThreadOrder order, std::uint64_t seed) {
  thread_order = order;
  random_bits.seed(seed);
}

GridRun::GridRun(std::string kernel, dim3 blocks, dim3 block, std::size_t dynamic_shared_bytes,
                 std::function<void()> body)
    : grid_(std::make_unique<Grid>()) {
  grid_->kernel = std::move(kernel);
  grid_->body = std::move(body);
  grid_->blocks = blocks;
  grid_->block = block;
  grid_->dynamic_bytes = dynamic_shared_bytes;
  if (!idle_fibers().empty()) {
    grid_->fibers = std::move(idle_fibers().back());
    idle_fibers().pop_back();
  }
}

GridRun::~GridRun() { idle_fibers().push_back(std::move(grid_->fibers)); }

bool GridRun::advance() {
  grid = grid_.get();
  grid_size = grid->blocks;
  block_size = grid->block;
  violation.clear();
  const dim3 size = grid->blocks;
  while (grid->in_block || grid->next_block < size.x * size.y * size.z) {
    const unsigned i = grid->next_block;
    block_index = {i % size.x, i / size.x % size.y, i / (size.x * size.y)};
    if (!std::exchange(grid->in_block, true)) start_block();
    // Those that handed over last time.
    grid->hands_over = false;
    for (const int thread : std::exchange(grid->handing_over, {})) {
      grid->threads[static_cast<std::size_t>(thread)].state = State::kReady;
      grid->ready.push_back(thread);
    }
    if (!run_block()) return false;
    grid->in_block = false;
    ++grid->next_block;
  }
  observe(&end_of_grid);
  return true;
}

void fail(const std::string& what, Site site) {
  publish(&end_of_grid);  // `what` may be this thread's
  {
    const AsHost host;
    observe(&end_of_grid);
    violation = "thread " + std::to_string(current->number) + ": " + what +
                (site.line > 0 ? ", at " + text_of(site) : std::string());
  }
  fiber_of(current->number).leave(false);  // and is never resumed
  __builtin_unreachable();
}

int lane() { return current->number % 32; }

void block_barrier(Site site) {
  Thread& me = *current;
  char* const order = grid->barrier_order[grid->barriers % 2];
  publish(order);
  me.state = State::kAtBarrier;
  me.site = site;
  ++grid->at_barrier;
  yield();
  observe(order);
}

void hand_over() {
  {
    const AsHost host;
    current->state = State::kHandingOver;
    grid->handing_over.push_back(current->number);
    grid->hands_over = true;
  }
  yield();
}

void* dynamic_shared() { return grid->dynamic.data; }

void* static_shared(const void* variable, std::size_t bytes, std::size_t alignment) {
  std::byte* data = nullptr;
  {
    const AsHost host;
    SharedPiece& piece = grid->statics[variable];
    if (piece.data == nullptr) {
      piece = allocate_shared(bytes, alignment);
      publish(piece.data);
    }
    data = piece.data;
  }
  observe(data);
  return data;
}

void check_shared(const void* pointer, std::size_t bytes, std::size_t alignment, const char* what,
                  Site site) {
  const auto* at = static_cast<const std::byte*>(pointer);
  const auto inside = [&](const SharedPiece& piece) {
    return at >= piece.data && at + bytes <= piece.data + piece.bytes;
  };
  bool found = inside(grid->dynamic);
  for (const auto& [variable, piece] : grid->statics) found = found || inside(piece);
  if (!found) fail(std::string(what) + " leaves the block's shared memory", site);
  if (reinterpret_cast<std::uintptr_t>(pointer) % alignment != 0)
    fail(std::string(what) + " is not aligned to " + std::to_string(alignment) + " bytes", site);
}

void meet(WarpOp op, std::uint32_t mask, void* argument, WarpAction action, Site site) {
  Thread& me = *current;
  const int warp = me.number / 32;
  const std::uint32_t bit = std::uint32_t{1} << lane();
  if ((mask & bit) == 0) fail("the calling lane is not in the mask of " + std::string(name_of(op)), site);
  mask &= lanes_of_warp(warp);
  std::vector<Meeting>& open = grid->meetings[static_cast<std::size_t>(warp)];
  std::string wrong;
  std::size_t mine = 0;  // place in `open`; no other thread runs before this one waits
  char* order = nullptr;
  {
    const AsHost host;
    while (mine < open.size() && (open[mine].mask & mask) == 0) ++mine;
    if (mine == open.size())
      open.push_back({op, mask, 0, site, op == WarpOp::kSync ? new_order_object() : nullptr, {}});
    const Meeting& meeting = open[mine];
    order = meeting.order;
    if (meeting.mask != mask || meeting.op != op || !same(meeting.site, site))
      wrong = "lanes of one warp meet at different instructions or with different masks: " +
              std::string(name_of(meeting.op)) + " at " + text_of(meeting.site) + " and " + name_of(op);
  }
  if (!wrong.empty()) fail(wrong, site);
  if (op == WarpOp::kSync) publish(order);
  bool complete = false;
  {
    const AsHost host;
    Meeting& meeting = open[mine];
    meeting.arrived |= bit;
    meeting.arguments[static_cast<std::size_t>(lane())] = argument;
    complete = meeting.arrived == mask;
    if (complete) {
      if (action != nullptr) wrong = action(meeting.arguments.data());
      for (int l = 0; l < 32; ++l) {
        if ((mask >> l & 1) == 0 || l == lane()) continue;
        Thread& other = grid->threads[static_cast<std::size_t>(32 * warp + l)];
        other.state = State::kReady;
        grid->ready.push_back(other.number);
      }
      open.erase(open.begin() + static_cast<std::ptrdiff_t>(mine));
    }
  }
  if (!wrong.empty()) fail(wrong, site);
  if (!complete) {
    me.state = State::kInWarpOp;
    me.op = op;
    me.site = site;
    yield();
  }
  if (op == WarpOp::kSync) observe(order);
}

void start_copy(void* to, const std::byte (&bytes)[16]) {
  const AsHost host;
  PendingCopy copy{to, {}};
  for (int i = 0; i < 16; ++i) copy.bytes[i] = bytes[i];
  current->open.push_back(copy);
}

void commit_copies() {
  const AsHost host;
  current->groups.push_back(std::exchange(current->open, {}));
}

void wait_for_copies(int still_open, void (*land)(void* to, const std::byte* bytes)) {
  Thread& me = *current;
  while (static_cast<int>(me.groups.size()) > still_open) {
    std::vector<PendingCopy> group;
    {
      const AsHost host;
      group = std::move(me.groups.front());
      me.groups.erase(me.groups.begin());
    }
    for (const PendingCopy& copy : group) {
      std::byte bytes[16];  // of this thread: `land` is the kernel's, and the group the host's
      for (int i = 0; i < 16; ++i) bytes[i] = copy.bytes[i];
      land(copy.to, bytes);
    }
    const AsHost host;
    std::vector<PendingCopy>().swap(group);
  }
}

}  // namespace llm_tp::emulator
