#pragma once
#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "comm/communicator.h"
#include "comm/control_channel.h"
#include "comm/rank_board.h"

namespace llm_tp {

/// Sums and gathers of ranks on one host, threads or processes, through a RankBoard. A small sum is one
/// phase: every rank evaluates the whole tree straight from the slots. A large one is two: every rank
/// evaluates its slice of the elements, then copies the slices of the others. What exceeds the slots goes in
/// chunks.
class SharedMemoryCommunicator : public Communicator {
 public:
  explicit SharedMemoryCommunicator(std::shared_ptr<RankBoard> board) : board_(std::move(board)) {}
  int rank() const override { return board_->rank(); }
  int world() const override { return board_->world(); }
  std::string description() const override;
  void sum_tree(TensorView out, TensorView mine, const TreeParts& parts) override;
  void share_rows(TensorView out, TensorView mine, std::span<const int> owners) override;
  std::vector<std::vector<std::byte>> gather(std::span<const std::byte> mine) override;
  void check_peers(const char* call) override { board_->throw_if_any_died(call); }
  CallTimes times() const override { return {seconds_, waiting_}; }

 private:
  struct Chunk {
    std::int64_t begin = 0, end = 0;  // elements of [T,N]
    std::int64_t size() const noexcept { return end - begin; }
  };
  /// Publishes what this rank wrote into its slot of phase_ and waits for the others.
  void meet(const char* call);
  /// roots_ = every root of a chunk: the others' in their slots of phase_, this rank's own where they lie in
  /// mine [R, elements].
  void point_roots_at(const TreeParts& parts, Chunk chunk, TensorView mine, std::int64_t elements);
  void evaluate(TensorView out, Chunk part, std::int64_t chunk_begin, const TreeParts& parts);

  std::shared_ptr<RankBoard> board_;
  std::uint32_t phase_ = 1;  // the one to be written next
  std::vector<const float*> roots_, shifted_roots_;
  double seconds_ = 0, waiting_ = 0;
};

/// Control messages through the same board. Rank 0 does not wait for the others until it is two pieces ahead.
class SharedMemoryChannel : public ControlChannel {
 public:
  /// end_group: what abort() does before this rank leaves the board; empty for threads.
  SharedMemoryChannel(std::shared_ptr<RankBoard> board, std::function<void(ExitCode)> end_group)
      : board_(std::move(board)), end_group_(std::move(end_group)) {}
  int rank() const override { return board_->rank(); }
  int world() const override { return board_->world(); }
  void broadcast(std::vector<std::byte>& bytes) override;
  void abort(ExitCode code) noexcept override;

 private:
  void send(std::span<const std::byte> bytes);
  void receive(std::vector<std::byte>& bytes);

  std::shared_ptr<RankBoard> board_;
  std::function<void(ExitCode)> end_group_;
  std::uint32_t phase_ = 1;
};

}  // namespace llm_tp
