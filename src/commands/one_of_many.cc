#include "commands/one_of_many.h"

#include <string>

#include "base/error.h"
#include "comm/local_group.h"
#include "comm/null_communicator.h"
#include "comm/single_rank.h"

namespace llm_tp {
namespace {

void check(const Group& group, const EngineConfig& config) {
  if (!config.only_rank || !config.of)
    throw Error(ExitCode::kUsage,
                std::string("only_rank and of go together: give --only-rank R --of N, found ") +
                    (config.of ? "of" : "only_rank") + " alone");
  if (*config.only_rank >= *config.of)
    throw Error(ExitCode::kUsage, "only_rank " + std::to_string(*config.only_rank) + " is not a rank of " +
                                      std::to_string(*config.of) + ", which are 0 to " +
                                      std::to_string(*config.of - 1));
  if (group.world() > 1)
    throw Error(ExitCode::kUsage, "only_rank stands for a group of " + std::to_string(*config.of) +
                                      " by itself, but " + std::to_string(group.world()) +
                                      " ranks were started: start one");
}

}  // namespace

void run_one_of_many(const Group& group, const std::string& command, const EngineConfig& config,
                     const std::function<void(const Group&)>& run) {
  if (!config.only_rank && !config.of) return run(group);
  agree(group, [&] { check(group, config); });
  const auto world = static_cast<int>(*config.of);
  if (command == "bench") {
    NullCommunicator ranks(world);
    SingleRankChannel control;
    return run({ranks, control, 0, 1, group.host, static_cast<int>(*config.only_rank)});
  }
  LocalGroup(world).run_in_turn([&](Communicator& ranks, ControlChannel& control) {
    run({ranks, control, 0, 1, group.host, std::nullopt, true});
  });
}

}  // namespace llm_tp
