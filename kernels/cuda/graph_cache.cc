#include "kernels/cuda/graph_cache.h"

#include <algorithm>
#include <utility>

#include "base/log.h"

namespace llm_tp {

GraphCache::Entry* GraphCache::find(const Key& key) {
  const auto at =
      std::find_if(entries_.begin(), entries_.end(), [&key](const Entry& entry) { return entry.key == key; });
  if (at == entries_.end()) return nullptr;
  entries_.splice(entries_.begin(), entries_, at);
  return &entries_.front();
}

void GraphCache::run(Key key, const std::function<void()>& body) {
  DeviceLog& log = DeviceLog::of_this_thread();
  Entry* const entry = find(key);
  if (entry == nullptr || !has_memory_) {
    if (entry == nullptr) entries_.push_front({std::move(key), {}});
    if (entries_.size() > most_) entries_.pop_back();
    ++figures_.as_it_is;
    return body();
  }
  if (!entry->graph || entry->times_taken != log.times_taken()) {
    entry->graph = CudaGraph::record(stream_.get(), body);
    entry->times_taken = log.times_taken();
    ++figures_.recorded;
  }
  if (!entry->graph) {
    // Other ranks may replay: what is queued is the same either way.
    has_memory_ = false;
    log_warning(log.device() +
                " has no memory left for a graph: kernels are launched one by one from here on");
    return run(std::move(key), body);
  }
  log.replays_step();
  entry->graph.launch(stream_.get());
  ++figures_.replayed;
}

}  // namespace llm_tp
