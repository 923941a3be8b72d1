#include <algorithm>
#include <chrono>
#include <exception>
#include <new>
#include <optional>
#include <string>
#include <thread>

#include "base/error.h"
#include "base/log.h"
#include "comm/mpi_group.h"
#include "commands/commands.h"
#include "kernels/device_error.h"

namespace {

using namespace llm_tp;

GroupKind kind_of(Communication choice) {
  switch (choice) {
    case Communication::kSharedMemory:
      return GroupKind::kSharedMemory;
    case Communication::kMpi:
      return GroupKind::kMpi;
    case Communication::kAuto:
      break;
  }
  return GroupKind::kAuto;
}

/// A rank that fails alone ends all of them: the others may be waiting for it.
int fail(MpiSession* session, ExitCode code, const std::string& message, bool of_device = false) {
  const bool several = session != nullptr && session->world() > 1;
  // A lost rank is seen by all that are left: the lowest of them speaks and ends the others before their
  // turn.
  if (several && code == ExitCode::kTryAgain)
    std::this_thread::sleep_for(std::min(session->rank(), 4) * std::chrono::seconds(1));
  // Which of a cluster's devices failed is worth a name for one rank alone too.
  const bool named = several || (session != nullptr && of_device);
  log_error(named ? "rank " + std::to_string(session->rank()) + " on " + session->host() + ": " + message
                  : message);
  if (several) session->abort(code);
  return static_cast<int>(code);
}

int run(MpiSession& session, int argc, char** argv) {
  // The command line comes first: it says how the ranks talk. What is wrong with it they agree on afterwards.
  CommandLine line;
  std::exception_ptr refused;
  try {
    line = parse_command_line(argc, argv);
  } catch (const Error&) {
    refused = std::current_exception();
  }
  const EngineConfig& config = line.resolved.config;
  const RankGroup ranks =
      make_group(session, kind_of(config.communication), std::chrono::seconds(config.rank_timeout));
  const Group group{*ranks.communicator, *ranks.channel, session.local_rank(), session.local_ranks(),
                    session.host()};
  try {
    agree(group, [&] {
      if (refused) std::rethrow_exception(refused);
    });
    run_command(group, line);
    return 0;
  } catch (const AgreedError& error) {
    if (group.leads()) log_error(error.what());
    // The message must be out before a launcher sees the first exit code and ends the rest.
    std::vector<std::byte> printed;
    group.control.broadcast(printed);
    return static_cast<int>(error.code());
  }
}

}  // namespace

int main(int argc, char** argv) {
  std::optional<MpiSession> session;
  try {
    session.emplace();
    return run(*session, argc, argv);
  } catch (const DeviceError& error) {
    return fail(session ? &*session : nullptr, error.code(), error.what(), true);
  } catch (const Error& error) {
    return fail(session ? &*session : nullptr, error.code(), error.what());
  } catch (const std::bad_alloc&) {
    return fail(session ? &*session : nullptr, ExitCode::kOutOfMemory,
                "out of memory: use more ranks, a smaller --max-context or --dtype q8_0");
  } catch (const std::exception& error) {
    return fail(session ? &*session : nullptr, ExitCode::kBug, std::string("unexpected: ") + error.what());
  }
}
