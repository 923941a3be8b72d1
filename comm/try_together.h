#pragma once
#include <functional>
#include <optional>
#include <vector>

#include "base/error.h"
#include "comm/communicator.h"
#include "comm/control_channel.h"

namespace llm_tp {

/// An error that every rank of the group knows of: rank 0 prints it and all end by themselves with its code.
class AgreedError : public Error {
 public:
  using Error::Error;
};

/// Collective: runs part() on every rank and waits for all. Returns the same on every rank: the Error of the
/// first rank where it threw one, with that rank's name, or nothing where it did nowhere. all, where given,
/// gets the bytes that part() returned on every rank, in rank order.
std::optional<AgreedError> try_together(Communicator& host, ControlChannel& control,
                                        const std::function<std::vector<std::byte>()>& part,
                                        std::vector<std::vector<std::byte>>* all = nullptr);
/// The same, thrown.
void do_together(Communicator& host, ControlChannel& control, const std::function<void()>& part);

}  // namespace llm_tp
