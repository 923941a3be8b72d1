#include "comm/shared_memory.h"

#include <algorithm>
#include <cstring>

#include "comm/tree_reduce.h"

namespace llm_tp {
namespace {

// Up to this many bytes of roots it is cheaper to read all of them on every rank than to wait a second time.
constexpr std::int64_t kOnePhaseBytes = 128 << 10;
constexpr std::int64_t kElementBytes = sizeof(float);
// Slices start on cache lines so that two ranks never write the same one.
constexpr std::int64_t kSliceUnit = 64 / kElementBytes;

constexpr auto kTensors = RankBoard::Counter::kTensors;
constexpr auto kControl = RankBoard::Counter::kControl;

/// Rank's slice of `elements`, relative to their begin.
Range slice_of(std::int64_t elements, int rank, int world) {
  const std::int64_t units = (elements + kSliceUnit - 1) / kSliceUnit;
  return {std::min(elements, units * rank / world * kSliceUnit),
          std::min(elements, units * (rank + 1) / world * kSliceUnit)};
}

void copy(void* out, const void* from, std::int64_t bytes) {
  if (bytes > 0) std::memcpy(out, from, static_cast<std::size_t>(bytes));
}

}  // namespace

std::string SharedMemoryCommunicator::description() const {
  return "shared memory, " + std::to_string(world()) + " ranks on one host";
}

void SharedMemoryCommunicator::meet(const char* call) {
  board_->publish(kTensors, phase_);
  const CallTimer timer(waiting_);
  board_->wait_for_all(kTensors, phase_, call);
  ++phase_;
}

void SharedMemoryCommunicator::point_roots_at(const TreeParts& parts, Chunk chunk, TensorView mine,
                                              std::int64_t elements) {
  roots_.clear();
  const auto* const own = reinterpret_cast<const float*>(mine.data);
  for (int other = 0; other < world(); ++other) {
    const auto* const slot = reinterpret_cast<const float*>(board_->slot(other, phase_));
    for (int i = 0; i < parts.roots_of_rank(other); ++i)
      roots_.push_back(other == rank() ? own + i * elements + chunk.begin : slot + i * chunk.size());
  }
}

void SharedMemoryCommunicator::evaluate(TensorView out, Chunk part, std::int64_t chunk_begin,
                                        const TreeParts& parts) {
  for_each_run(out, part.begin, part.end, [&](float* run, std::int64_t first, std::int64_t count) {
    shifted_roots_.resize(roots_.size());
    for (std::size_t i = 0; i < roots_.size(); ++i) shifted_roots_[i] = roots_[i] + (first - chunk_begin);
    evaluate_tree(parts.additions(), shifted_roots_, run, count);
  });
}

void SharedMemoryCommunicator::sum_tree(TensorView out, TensorView mine, const TreeParts& parts) {
  const CallTimer timer(seconds_);
  const std::int64_t elements = checked_elements(out, mine, parts, rank(), world());
  if (elements == 0) return;
  int most_roots = 1;
  for (int other = 0; other < world(); ++other) most_roots = std::max(most_roots, parts.roots_of_rank(other));
  const auto slot_elements = static_cast<std::int64_t>(board_->layout().slot_bytes) / kElementBytes;
  const std::int64_t chunk_elements = slot_elements / most_roots;
  LLM_TP_CHECK(chunk_elements > 0, "sum_tree: more roots than a slot holds");
  const bool one_phase =
      elements <= chunk_elements && elements * parts.total_roots() * kElementBytes <= kOnePhaseBytes;
  const auto* const my_roots = reinterpret_cast<const float*>(mine.data);

  for (Chunk chunk{0, 0}; chunk.begin < elements; chunk.begin = chunk.end) {
    chunk.end = std::min(elements, chunk.begin + chunk_elements);
    // In two phases nobody but this rank reads its own slice.
    const Range slice = one_phase ? Range{0, 0} : slice_of(chunk.size(), rank(), world());
    auto* const my_slot = reinterpret_cast<float*>(board_->slot(rank(), phase_));
    for (int i = 0; i < parts.roots_of_rank(rank()); ++i) {
      const float* const root = my_roots + i * elements + chunk.begin;
      float* const into = my_slot + i * chunk.size();
      copy(into, root, slice.begin * kElementBytes);
      copy(into + slice.end, root + slice.end, (chunk.size() - slice.end) * kElementBytes);
    }
    point_roots_at(parts, chunk, mine, elements);
    meet("sum_tree");
    if (one_phase) {
      evaluate(out, chunk, chunk.begin, parts);
      return;
    }
    // The other slot is free: all ranks have published this phase, so they have read what it held before.
    auto* const result = reinterpret_cast<float*>(board_->slot(rank(), phase_));
    if (!slice.empty()) {
      shifted_roots_.resize(roots_.size());
      for (std::size_t i = 0; i < roots_.size(); ++i) shifted_roots_[i] = roots_[i] + slice.begin;
      evaluate_tree(parts.additions(), shifted_roots_, result, slice.size());
    }
    const std::uint32_t results = phase_;
    meet("sum_tree");
    for (int other = 0; other < world(); ++other) {
      const Range theirs = slice_of(chunk.size(), other, world());
      const auto* const from = reinterpret_cast<const float*>(board_->slot(other, results));
      const std::int64_t base = chunk.begin + theirs.begin;
      for_each_run(out, base, chunk.begin + theirs.end,
                   [&](float* run, std::int64_t first, std::int64_t count) {
                     copy(run, from + (first - base), count * kElementBytes);
                   });
    }
  }
}

void SharedMemoryCommunicator::share_rows(TensorView out, TensorView mine, std::span<const int> owners) {
  const CallTimer timer(seconds_);
  check_shared_rows(out, mine, owners, world());
  const std::int64_t columns = out.columns();
  const std::int64_t elements = out.shape[0] * columns;
  const auto slot_elements = static_cast<std::int64_t>(board_->layout().slot_bytes) / kElementBytes;
  // Every element has the same place in the slot of its owner; the places of other owners stay as they are.
  const auto for_each_row = [&](Chunk chunk, const auto& visit) {
    for (std::int64_t at = chunk.begin; at < chunk.end;) {
      const std::int64_t row = at / columns;
      const std::int64_t count = std::min(chunk.end, (row + 1) * columns) - at;
      visit(row, at - row * columns, at - chunk.begin, count * kElementBytes);
      at += count;
    }
  };
  for (Chunk chunk{0, 0}; chunk.begin < elements; chunk.begin = chunk.end) {
    chunk.end = std::min(elements, chunk.begin + slot_elements);
    auto* const my_slot = reinterpret_cast<float*>(board_->slot(rank(), phase_));
    for_each_row(chunk, [&](std::int64_t row, std::int64_t column, std::int64_t place, std::int64_t bytes) {
      if (owners[static_cast<std::size_t>(row)] == rank())
        copy(my_slot + place, mine.row(row) + column, bytes);
    });
    const std::uint32_t rows_of = phase_;
    meet("share_rows");
    for_each_row(chunk, [&](std::int64_t row, std::int64_t column, std::int64_t place, std::int64_t bytes) {
      const int owner = owners[static_cast<std::size_t>(row)];
      const auto* const from = reinterpret_cast<const float*>(board_->slot(owner, rows_of));
      copy(out.row(row) + column, from + place, bytes);
    });
  }
}

std::vector<std::vector<std::byte>> SharedMemoryCommunicator::gather(std::span<const std::byte> mine) {
  const CallTimer timer(seconds_);
  // The first slot starts with the size, so that short messages need one phase; every rank then knows how
  // many follow.
  std::vector<std::uint64_t> sizes(static_cast<std::size_t>(world()));
  std::vector<std::vector<std::byte>> all(rank() == 0 ? sizes.size() : 0);
  std::uint64_t longest = mine.size();
  std::uint64_t done = 0;
  bool first = true;
  while (first || done < longest) {
    const std::uint64_t header = first ? sizeof(std::uint64_t) : 0;
    const std::uint64_t room = board_->layout().slot_bytes - header;
    std::byte* const my_slot = board_->slot(rank(), phase_);
    if (first) {
      const std::uint64_t size = mine.size();
      std::memcpy(my_slot, &size, sizeof size);
    }
    if (done < mine.size()) {
      copy(my_slot + header, mine.data() + done,
           static_cast<std::int64_t>(std::min(room, mine.size() - done)));
    }
    const std::uint32_t pieces = phase_;
    meet("gather");
    for (int other = 0; other < world(); ++other) {
      const auto index = static_cast<std::size_t>(other);
      const std::byte* const from = board_->slot(other, pieces);
      if (first) {
        std::memcpy(&sizes[index], from, sizeof(std::uint64_t));
        longest = std::max(longest, sizes[index]);
      }
      if (rank() == 0 && done < sizes[index]) {
        const std::uint64_t count = std::min(room, sizes[index] - done);
        all[index].insert(all[index].end(), from + header, from + header + count);
      }
    }
    done += room;
    first = false;
  }
  return all;
}

void SharedMemoryChannel::broadcast(std::vector<std::byte>& bytes) {
  if (rank() == 0) {
    send(bytes);
  } else {
    receive(bytes);
  }
}

void SharedMemoryChannel::send(std::span<const std::byte> bytes) {
  const std::uint64_t size = bytes.size();
  std::uint64_t done = 0;
  bool first = true;
  while (first || done < size) {
    const std::uint64_t header = first ? sizeof size : 0;
    const std::uint64_t count = std::min(board_->layout().control_bytes - header, size - done);
    // The slot held the piece before the last one, which every rank must have read.
    board_->wait_for_all(kControl, phase_ - 2, "broadcast");
    std::byte* const slot = board_->control_slot(phase_);
    if (first) std::memcpy(slot, &size, sizeof size);
    copy(slot + header, bytes.data() + done, static_cast<std::int64_t>(count));
    board_->publish(kControl, phase_++);
    done += count;
    first = false;
  }
}

void SharedMemoryChannel::receive(std::vector<std::byte>& bytes) {
  bytes.clear();
  std::uint64_t size = 0;
  bool first = true;
  while (first || bytes.size() < size) {
    board_->wait_for(kControl, 0, phase_, "broadcast");
    const std::byte* const slot = board_->control_slot(phase_);
    const std::uint64_t header = first ? sizeof size : 0;
    if (first) std::memcpy(&size, slot, sizeof size);
    const std::uint64_t count = std::min(board_->layout().control_bytes - header, size - bytes.size());
    bytes.insert(bytes.end(), slot + header, slot + header + count);
    board_->publish(kControl, phase_++);
    first = false;
  }
}

void SharedMemoryChannel::abort(ExitCode code) noexcept {
  // Processes end by this call; leaving first would let another rank end the group with its code, "a rank was
  // lost".
  if (end_group_) end_group_(code);
  board_->leave();
}

}  // namespace llm_tp
