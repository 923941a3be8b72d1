#include "engine/agreement.h"

#include <new>
#include <optional>
#include <string>

#include "base/byte_stream.h"
#include "kernels/device_error.h"

namespace llm_tp {
namespace {

struct Outcome {
  ExitCode code = ExitCode::kOk;
  std::string message;
  bool placed = false;  // the message names the rank
};

Outcome outcome_of(const Group& group, const std::function<void()>& part) {
  try {
    part();
    return {};
  } catch (const DeviceError& error) {
    return {error.code(), "rank " + std::to_string(group.rank()) + " on " + group.host + ": " + error.what(),
            true};
  } catch (const Error& error) {
    return {error.code(), error.what(), false};
  } catch (const std::bad_alloc&) {
    return {ExitCode::kOutOfMemory, "out of memory: use more ranks, a smaller --max-context or --dtype q8_0",
            false};
  } catch (const std::exception& error) {
    return {ExitCode::kBug, std::string("unexpected: ") + error.what(), false};
  }
}

std::vector<std::byte> to_bytes(const Outcome& outcome) {
  ByteWriter out;
  out.value(outcome.code);
  out.value(outcome.placed);
  out.text(outcome.message);
  return out.take();
}

Outcome from_bytes(std::span<const std::byte> bytes) {
  ByteReader in(bytes);
  Outcome outcome;
  outcome.code = in.value<ExitCode>();
  outcome.placed = in.value<bool>();
  outcome.message = in.text();
  return outcome;
}

}  // namespace

void agree(const Group& group, const std::function<void()>& part) {
  std::vector<std::byte> verdict = to_bytes(outcome_of(group, part));
  const auto all = group.ranks.gather(verdict);
  for (std::size_t rank = 0; rank < all.size(); ++rank) {
    Outcome outcome = from_bytes(all[rank]);
    if (outcome.code == ExitCode::kOk) continue;
    if (rank > 0 && !outcome.placed)
      outcome.message = "rank " + std::to_string(rank) + ": " + outcome.message;
    verdict = to_bytes(outcome);
    break;
  }
  group.control.broadcast(verdict);
  const Outcome outcome = from_bytes(verdict);
  if (outcome.code != ExitCode::kOk) throw AgreedError(outcome.code, outcome.message);
}

}  // namespace llm_tp
