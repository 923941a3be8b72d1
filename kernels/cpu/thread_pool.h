#pragma once
#include <atomic>
#include <condition_variable>
#include <cstdint>
#include <exception>
#include <functional>
#include <memory>
#include <mutex>
#include <thread>
#include <vector>

namespace llm_tp {

/// Where the threads of one rank may run.
struct ThreadPlaces {
  int local_rank = 0, local_ranks = 1;  // among the ranks of this host, which share its cores
  bool oversubscribed = false;          // more threads than cores: never spin, never bind
};

/// The threads of one rank. The caller of run() is one of them. Threads that wait spin for some microseconds,
/// so that the next op of a step finds them awake, and sleep then. One thread calls run() at a time.
class ThreadPool {
 public:
  explicit ThreadPool(int threads, ThreadPlaces places = {});
  ~ThreadPool();
  ThreadPool(const ThreadPool&) = delete;
  ThreadPool& operator=(const ThreadPool&) = delete;

  int threads() const noexcept { return threads_; }
  /// Calls body(chunk, thread) for every chunk of [0, chunks), each once, and returns when all are done. A
  /// thread takes its own contiguous share first, then helps others. The first exception reaches the caller.
  void run(int chunks, const std::function<void(int chunk, int thread)>& body);

 private:
  struct alignas(64) Share {
    std::atomic<int> next{0};
    int end = 0;
  };
  void work(int thread);
  void take_part(int thread);
  bool wait_for_work(std::uint64_t seen);

  int threads_;
  int spins_;
  std::unique_ptr<Share[]> shares_;
  const std::function<void(int, int)>* body_ = nullptr;
  std::atomic<std::uint64_t> job_{0};
  std::atomic<int> at_work_{0};  // threads that have not finished the current job
  std::atomic<bool> stopping_{false};
  std::atomic<int> sleeping_{0};
  std::mutex mutex_;
  std::condition_variable awake_;
  std::mutex error_mutex_;
  std::exception_ptr error_;
  std::vector<std::thread> workers_;
};

}  // namespace llm_tp
