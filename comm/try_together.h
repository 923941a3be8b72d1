#pragma once
#include <functional>
#include <string>
#include <vector>

#include "comm/communicator.h"
#include "comm/control_channel.h"

namespace llm_tp {

/// Collective: runs part() on every rank and waits for all. Returns the same on every rank: the first rank
/// where it threw an Error and what that said, or nothing where it did nowhere. all, where given, gets the
/// bytes that part() returned on every rank, in rank order.
std::string try_together(Communicator& host, ControlChannel& control,
                         const std::function<std::vector<std::byte>()>& part,
                         std::vector<std::vector<std::byte>>* all = nullptr);

}  // namespace llm_tp
