#include "comm/local_group.h"

#include <exception>
#include <memory>
#include <mutex>
#include <thread>
#include <vector>

#include "base/usable_cores.h"
#include "comm/rank_board.h"
#include "comm/shared_memory.h"
#include "comm/single_rank.h"
#include "comm/turns.h"

namespace llm_tp {
namespace {

bool is_lost_rank(const std::exception_ptr& error) {
  try {
    std::rethrow_exception(error);
  } catch (const LostRankError&) {
    return true;
  } catch (...) {
    return false;
  }
}

}  // namespace

LocalGroup::LocalGroup(int world, std::size_t slot_bytes) : world_(world), slot_bytes_(slot_bytes) {
  LLM_TP_CHECK(world >= 1, "a group has a rank or more");
}

void LocalGroup::run(const std::function<void(Communicator&, ControlChannel&)>& rank_main) {
  if (world_ == 1) {
    SingleRank communicator;
    SingleRankChannel channel;
    rank_main(communicator, channel);
    return;
  }
  BoardLayout layout;
  layout.world = world_;
  layout.slot_bytes = slot_bytes_;
  const std::shared_ptr<std::byte> memory = map_private_board(layout.total_bytes());
  RankBoard::format(memory.get(), layout);
  const bool crowded = world_ > std::ssize(usable_cores());

  std::vector<std::exception_ptr> errors(static_cast<std::size_t>(world_));
  const auto run_rank = [&](int rank) {
    auto board = std::make_shared<RankBoard>(memory, layout, rank, BoardWaiting{crowded, false, {}, {}});
    try {
      SharedMemoryCommunicator communicator(board);
      SharedMemoryChannel channel(board, {});
      rank_main(communicator, channel);
    } catch (...) {
      errors[static_cast<std::size_t>(rank)] = std::current_exception();
    }
    board->leave();
  };
  {
    std::vector<std::jthread> threads;
    for (int rank = 1; rank < world_; ++rank) threads.emplace_back(run_rank, rank);
    run_rank(0);
  }

  std::exception_ptr first;
  for (const std::exception_ptr& error : errors) {
    if (error == nullptr) continue;
    if (!is_lost_rank(error)) std::rethrow_exception(error);
    if (first == nullptr) first = error;
  }
  if (first != nullptr) std::rethrow_exception(first);
}

void LocalGroup::run_in_turn(const std::function<void(Communicator&, ControlChannel&)>& rank_main) {
  std::mutex one_at_a_time;
  run([&](Communicator& communicator, ControlChannel& channel) {
    Turn turn(one_at_a_time);
    CommunicatorInTurn communicator_in_turn(communicator, turn);
    ChannelInTurn channel_in_turn(channel, turn);
    rank_main(communicator_in_turn, channel_in_turn);
  });
}

}  // namespace llm_tp
