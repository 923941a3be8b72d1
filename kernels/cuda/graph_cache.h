#pragma once
#include <cstddef>
#include <cstdint>
#include <functional>
#include <list>
#include <string>
#include <vector>

#include "kernels/cuda/handles.h"

namespace llm_tp {

/// Runs of ops that come again and again, each recorded as a CUDA graph when it comes the second time: from
/// then on the host makes one call instead of one a kernel. The least recently used are dropped. One thread,
/// the backend's.
///
/// A graph holds addresses and numbers as they were. So a key must say everything that the calls of a run
/// depend on, but for what lies in device memory at addresses that stay; and where any memory was taken since
/// a graph was recorded, so that something may lie elsewhere now, it is recorded anew.
class GraphCache {
 public:
  using Key = std::vector<std::int64_t>;
  static constexpr std::size_t kMost = 64;

  /// most: keys that are remembered, of runs that were recorded or came once.
  explicit GraphCache(const CudaStream& stream, std::size_t most = kMost) : stream_(stream), most_(most) {}
  /// Queues what body() queues. body() may send nothing to the device and wait for nothing.
  void run(Key key, const std::function<void()>& body);

  struct Figures {
    std::int64_t as_it_is = 0, recorded = 0, replayed = 0;  // replayed: the first time after recording too
  };
  const Figures& figures() const noexcept { return figures_; }

 private:
  struct Entry {
    Key key;
    CudaGraph graph;                // empty: the key came once
    std::int64_t times_taken = -1;  // memory, when the graph was recorded
  };
  Entry* find(const Key& key);

  const CudaStream& stream_;
  std::size_t most_;
  std::list<Entry> entries_;  // the most recently used first
  bool has_memory_ = true;    // the device has some for graphs
  Figures figures_;
};

}  // namespace llm_tp
