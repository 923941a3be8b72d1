#include "engine/memory_room.h"

#include <algorithm>
#include <utility>

#include "base/byte_stream.h"
#include "base/log.h"

namespace llm_tp {
namespace {

/// The largest piece of memory that the device still gives, as a try shows: what it says is free may be in
/// fragments, or gone to another process.
std::int64_t largest_piece(DeviceBackend& ops) {
  for (std::int64_t bytes = ops.free_bytes().value_or(0); bytes >= 1 << 16; bytes -= bytes / 4) {
    try {
      ops.allocate(static_cast<std::size_t>(bytes));
      return bytes;
    } catch (const DeviceError&) {
    }
  }
  return 0;
}

std::string whole_mib(std::int64_t bytes) { return std::to_string(bytes >> 20) + "MiB"; }

}  // namespace

MemoryRoom::MemoryRoom(const Group& group, const EngineConfig& config, const Models& models,
                       const DeviceBackend& ops, const Communicator& ranks, std::int64_t most_rows)
    : group_(group),
      config_(config),
      models_(models),
      ops_(ops),
      ranks_(ranks),
      device_free_(ops.free_bytes()),
      in_use_(ops.memory_in_use()) {
  for (const auto& model : models_) memory_.push_back(model->memory(ops, most_rows));
}

std::vector<MemoryRoom::Caches> MemoryRoom::caches(const LoadPlan& load) const {
  std::vector<Caches> all;
  for (const auto& model : models_)
    all.push_back(plan_caches(model->files().shape, load.kv_tokens, load.sequences, load.most_rows,
                              config_.page_tokens));
  return all;
}

PlannedMemory MemoryRoom::planned(const LoadPlan& load, int rank) const {
  const std::vector<Caches> of_models = caches(load);
  PlannedMemory planned;
  std::vector<ModelNeeds> needs;
  for (std::size_t m = 0; m < models_.size(); ++m) {
    const RankMemory& memory = memory_[m][static_cast<std::size_t>(rank)];
    planned.weights += memory.weights;
    planned.workspace += memory.workspace;
    planned.kv += memory.kv(of_models[m], config_.page_tokens);
    needs.push_back(models_[m]->needs(
        memory, rank,
        {load.most_rows, load.sequences, load.kv_tokens, of_models[m], static_cast<int>(config_.page_tokens)},
        ranks_.queues_on_device()));
  }
  planned.own = ops_.own_memory(needs) + ranks_.own_memory();
  return planned;
}

template <class Fits>
std::int64_t MemoryRoom::fitting_positions(const LoadPlan& load, std::int64_t least, const Fits& fits) const {
  LoadPlan smaller = load;
  std::int64_t fitting = least, too_many = load.kv_tokens + 1;
  while (too_many - fitting > 1) {
    smaller.kv_tokens = fitting + (too_many - fitting) / 2;
    (fits(planned(smaller, share())) ? fitting : too_many) = smaller.kv_tokens;
  }
  return fitting;
}

std::int64_t MemoryRoom::still_needed(const PlannedMemory& planned) const {
  return planned.total().device - in_use_.device;
}

void MemoryRoom::fit(LoadPlan& load) const {
  if (load.least_kv_tokens == 0) return;
  const std::int64_t ranks = group_.ranks_in_memory(device_free_.has_value());
  // Of a device's memory a tenth is left to its driver: kernels, libraries, graphs. Of a host's half: other
  // processes, the page cache of the weights' files and the host itself need theirs.
  const std::int64_t room = device_free_ ? *device_free_ / ranks / 10 * 9 : available_memory() / ranks / 2;
  std::int64_t fitting = fitting_positions(load, load.least_kv_tokens, [&](const PlannedMemory& planned) {
    return config_.kv_memory ? planned.kv <= *config_.kv_memory : still_needed(planned) <= room;
  });
  ByteWriter tokens;
  tokens.value(fitting);
  for (const auto& bytes_of_rank : group_.ranks.gather(tokens.take()))
    fitting = std::min(fitting, ByteReader(bytes_of_rank).value<std::int64_t>());
  ByteWriter agreed;
  agreed.value(fitting);
  std::vector<std::byte> message = agreed.take();
  group_.control.broadcast(message);
  const auto agreed_tokens = ByteReader(message).value<std::int64_t>();
  if (group_.leads() && agreed_tokens < load.kv_tokens)
    log_info("the KV cache holds " + std::to_string(agreed_tokens) + " positions; " +
             std::to_string(load.sequences) + " sequences of the whole context would need " +
             std::to_string(load.kv_tokens));
  load.kv_tokens = agreed_tokens;
}

/// After "of … positions that are wanted": how many fit and what to ask for instead.
std::string MemoryRoom::advice(const LoadPlan& load, std::int64_t fitting) const {
  std::string text = std::to_string(fitting) + " fit";
  if (fitting == 0) return text + ": start more ranks, or lower --prefill-chunk";
  if (load.least_kv_tokens > 0) {
    // Sequences share the cache, so that it needs to hold one of the whole context.
    if (fitting < load.least_kv_tokens) return text + ": lower --max-context to " + std::to_string(fitting);
    LoadPlan smaller = load;
    smaller.kv_tokens = fitting;
    return text + ": say --kv-memory " + whole_mib(planned(smaller, share()).kv);
  }
  const std::int64_t each = load.kv_tokens / load.sequences, sequences = each > 0 ? fitting / each : 0;
  if (load.sequences > 1) {
    text += ", as " + std::to_string(load.sequences) + " sequences of " +
            std::to_string(fitting / load.sequences);
    if (sequences > 0) text += " or as " + std::to_string(sequences) + " of " + std::to_string(each);
  }
  return text + ": lower --max-tokens, --max-context, --n or --max-batch";
}

void MemoryRoom::check(const LoadPlan& load) const {
  const PlannedMemory mine = planned(load, share());
  if (config_.kv_memory && mine.kv > *config_.kv_memory)
    throw Error(ExitCode::kOutOfMemory, "the requests need a KV cache of " + memory_text(mine.kv) +
                                            ", kv_memory allows " + memory_text(*config_.kv_memory) +
                                            ": raise it, or lower max_tokens, n or num_beams");
  // Ranks are numbered host by host; what the neighbours in this memory take is counted with the largest
  // share of all.
  const std::int64_t neighbours = group_.ranks_in_memory(device_free_.has_value()) - 1;
  std::int64_t most = 0;
  for (int rank = 0; neighbours > 0 && rank < group_.world(); ++rank)
    most = std::max(most, still_needed(planned(load, rank)));
  const std::int64_t available = device_free_ ? *device_free_ : available_memory();
  const auto needed = [&](const PlannedMemory& of_mine) { return still_needed(of_mine) + neighbours * most; };
  std::string advised;
  if (needed(mine) > available) {
    const std::int64_t fitting =
        fitting_positions(load, 0, [&](const PlannedMemory& less) { return needed(less) <= available; });
    if (fitting > 0)
      advised =
          "of the " + std::to_string(load.kv_tokens) + " positions that are wanted " + advice(load, fitting);
  }
  check_memory(share(), mine, needed(mine), available, device_free_.has_value(), advised);
  const std::int64_t pinned = mine.total().pinned * std::max(1, group_.local_ranks);
  if (pinned > available_memory())
    throw Error(ExitCode::kOutOfMemory, "the ranks of this host pin " + memory_text(pinned) +
                                            " of its memory for copies to and from " +
                                            "their GPUs, and it has " + memory_text(available_memory()) +
                                            "; start fewer ranks here, or lower --prefill-chunk");
}

void MemoryRoom::rethrow(const DeviceError& error, const LoadPlan& load, DeviceBackend& ops) const {
  if (error.code() != ExitCode::kOutOfMemory) throw DeviceError(error);
  const std::int64_t free_before = device_free_.value_or(0);
  const std::int64_t had = free_before - ops.free_bytes().value_or(0) + largest_piece(ops);
  // A twentieth for what the driver takes.
  const std::int64_t fitting = fitting_positions(
      load, 0, [&](const PlannedMemory& less) { return still_needed(less) <= had / 20 * 19; });
  throw DeviceError(error.code(), std::string(error.what()) + "; it had " + memory_text(had) +
                                      " where it had said " + memory_text(free_before) + ", so of " +
                                      std::to_string(load.kv_tokens) + " positions for " +
                                      std::to_string(load.sequences) + " sequences about " +
                                      advice(load, fitting));
}

void MemoryRoom::report(const LoadPlan& load) const {
  const PlannedMemory mine = planned(load, share());
  const MemoryUse wanted = mine.total(), taken = ops_.memory_in_use();
  const std::int64_t free = ops_.free_bytes().value_or(0);
  const std::int64_t of_driver = device_free_.value_or(0) - free - (taken - in_use_).device;
  if (group_.leads())
    log_info("memory of " + ops_.description() + ": planned " + memory_text(wanted.device) + " (" +
             text_of(mine) + "), took " + memory_text(taken.device) + "; the driver took " +
             memory_text(std::max<std::int64_t>(of_driver, 0)) + " for itself since its start, " +
             memory_text(free) + " are free; pinned on the host: planned " + memory_text(wanted.pinned) +
             ", took " + memory_text(taken.pinned));
  // What looks at every result fetches larger ones than steps do.
  const bool differ =
      taken.device != wanted.device || (!config_.check_numerics && taken.pinned != wanted.pinned);
  if (differ)
    log_warning("rank " + std::to_string(share()) +
                ": the memory plan is wrong: " + std::to_string(wanted.device) + " bytes were planned and " +
                std::to_string(taken.device) + " taken on the device, " + std::to_string(wanted.pinned) +
                " and " + std::to_string(taken.pinned) + " pinned; please report it with the command line");
}

}  // namespace llm_tp
