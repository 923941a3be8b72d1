#include "kernels/cpu/thread_pool.h"

#include <hwloc.h>

#include <algorithm>
#include <utility>

namespace llm_tp {
namespace {

constexpr int kSpins = 20000;     // some tens of microseconds: longer than the gaps between the ops of a step
constexpr int kShortSpins = 100;  // where threads share cores, the one that is waited for needs the core

void pause_briefly() {
#if defined(__x86_64__)
  __builtin_ia32_pause();
#else
  std::this_thread::yield();
#endif
}

/// Binds the calling thread to core `index` of those that the process may use. Failure is harmless: the
/// thread stays free.
void bind_to_core(int index) {
  hwloc_topology_t topology = nullptr;
  if (hwloc_topology_init(&topology) != 0) return;
  hwloc_topology_set_flags(topology, HWLOC_TOPOLOGY_FLAG_IS_THISSYSTEM);
  if (hwloc_topology_load(topology) == 0) {
    const hwloc_const_bitmap_t allowed = hwloc_topology_get_allowed_cpuset(topology);
    hwloc_bitmap_t mine = hwloc_bitmap_alloc();
    int seen = 0;
    unsigned unit = 0;
    for (int i = hwloc_bitmap_first(allowed); i >= 0 && seen <= index;
         i = hwloc_bitmap_next(allowed, i), ++seen)
      unit = static_cast<unsigned>(i);
    if (seen == index + 1) {
      hwloc_bitmap_only(mine, unit);
      hwloc_set_cpubind(topology, mine, HWLOC_CPUBIND_THREAD);
    }
    hwloc_bitmap_free(mine);
  }
  hwloc_topology_destroy(topology);
}

}  // namespace

ThreadPool::ThreadPool(int threads, ThreadPlaces places)
    : threads_(std::max(1, threads)),
      spins_(places.oversubscribed ? kShortSpins : kSpins),
      shares_(std::make_unique<Share[]>(static_cast<std::size_t>(threads_))) {
  const int cores = static_cast<int>(std::thread::hardware_concurrency());
  const bool bind = !places.oversubscribed && threads_ * places.local_ranks <= cores && threads_ > 1;
  for (int t = 1; t < threads_; ++t)
    workers_.emplace_back([this, t, bind, core = places.local_rank * threads_ + t] {
      if (bind) bind_to_core(core);
      work(t);
    });
}

ThreadPool::~ThreadPool() {
  {
    const std::lock_guard lock(mutex_);
    stopping_ = true;
  }
  awake_.notify_all();
  for (std::thread& worker : workers_) worker.join();
}

void ThreadPool::run(int chunks, const std::function<void(int, int)>& body) {
  if (threads_ == 1 || chunks <= 1) {
    for (int chunk = 0; chunk < chunks; ++chunk) body(chunk, 0);
    return;
  }
  body_ = &body;
  for (int t = 0; t < threads_; ++t) {
    shares_[static_cast<std::size_t>(t)].next.store(static_cast<int>(std::int64_t{chunks} * t / threads_),
                                                    std::memory_order_relaxed);
    shares_[static_cast<std::size_t>(t)].end = static_cast<int>(std::int64_t{chunks} * (t + 1) / threads_);
  }
  at_work_.store(threads_ - 1, std::memory_order_relaxed);
  job_.fetch_add(1);  // publishes the job; ordered before the look at sleeping_
  if (sleeping_.load() > 0) {
    { const std::lock_guard lock(mutex_); }
    awake_.notify_all();
  }
  take_part(0);
  for (int spins = 0; at_work_.load(std::memory_order_acquire) > 0; ++spins)
    if (spins < spins_)
      pause_briefly();
    else
      std::this_thread::yield();
  if (error_) std::rethrow_exception(std::exchange(error_, nullptr));
}

void ThreadPool::take_part(int thread) {
  try {
    for (int i = 0; i < threads_; ++i) {
      Share& share = shares_[static_cast<std::size_t>((thread + i) % threads_)];
      for (int chunk; (chunk = share.next.fetch_add(1, std::memory_order_relaxed)) < share.end;)
        (*body_)(chunk, thread);
    }
  } catch (...) {
    const std::lock_guard lock(error_mutex_);
    if (!error_) error_ = std::current_exception();
  }
}

bool ThreadPool::wait_for_work(std::uint64_t seen) {
  for (int spins = 0; spins < spins_; ++spins) {
    if (job_.load(std::memory_order_acquire) != seen) return true;
    if (stopping_.load(std::memory_order_relaxed)) return false;
    pause_briefly();
  }
  std::unique_lock lock(mutex_);
  sleeping_.fetch_add(1);
  awake_.wait(lock, [&] { return job_.load() != seen || stopping_; });
  sleeping_.fetch_sub(1);
  return job_.load() != seen;
}

void ThreadPool::work(int thread) {
  for (std::uint64_t seen = 0; wait_for_work(seen); ++seen) {
    take_part(thread);
    at_work_.fetch_sub(1, std::memory_order_release);
  }
}

}  // namespace llm_tp
