#include "engine/engine.h"

#include <unistd.h>

#include <algorithm>
#include <chrono>
#include <limits>
#include <thread>

#include "base/byte_stream.h"
#include "base/log.h"
#include "comm/nccl/gpu_group.h"
#include "comm/null_communicator.h"
#include "engine/gpu_choice.h"
#include "engine/rank_model.h"
#include "engine/rank_place.h"
#include "kernels/checking_backend.h"
#include "kernels/cpu/cpu_backend.h"
#include "kernels/cuda/device_factory.h"
#include "kernels/device_error.h"

namespace llm_tp {
namespace {

using Clock = std::chrono::steady_clock;
double seconds_since(Clock::time_point begin) {
  return std::chrono::duration<double>(Clock::now() - begin).count();
}

int cores_for(const Group& group) {
  const auto cores = static_cast<int>(std::max(1u, std::thread::hardware_concurrency()));
  return std::max(1, cores / std::max(1, group.local_ranks));
}

GpuGroupOptions gpu_options(const Group& group, const EngineConfig& config) {
  GpuGroupOptions options;
  // Ranks that share a GPU take turns: none of them may wait there for another.
  options.wanted = group.one_device ? GpuCommunication::kHost : config.gpu_communication;
  options.one_host = group.local_ranks == group.world();
  options.tree_order = config.numerics == Numerics::kInvariant;
  options.windows = config.nccl_windows;
  options.limit = std::chrono::seconds(config.rank_timeout);
  return options;
}

using Caches = std::vector<CacheLimits>;

Caches caches_for(const LoadPlan& load, const EngineConfig& config, const ModelShape& shape) {
  return plan_caches(shape, load.kv_tokens, load.sequences, load.most_rows, config.page_tokens);
}

/// The most positions, least to most, whose caches take no more than `bytes`; least where none does.
std::int64_t fitting_positions(const LoadPlan& load, const EngineConfig& config, const ModelShape& shape,
                               const RankMemory& mine, std::int64_t least, std::int64_t bytes) {
  const auto fits = [&](std::int64_t positions) {
    LoadPlan smaller = load;
    smaller.kv_tokens = positions;
    return mine.kv(caches_for(smaller, config, shape), config.page_tokens) <= bytes;
  };
  std::int64_t fitting = least, too_many = load.kv_tokens + 1;
  while (too_many - fitting > 1) {
    const std::int64_t middle = fitting + (too_many - fitting) / 2;
    (fits(middle) ? fitting : too_many) = middle;
  }
  return fitting;
}

/// Bytes of this rank's weights and KV caches; caches: of each model. Errors: kOutOfMemory where they do not
/// fit.
std::int64_t check_room(const Group& group, const EngineConfig& config,
                        const std::vector<std::unique_ptr<RankModel>>& models, DeviceBackend& ops,
                        const LoadPlan& load, const std::vector<Caches>& caches) {
  std::vector<RankMemory> memory(static_cast<std::size_t>(group.world()));
  std::vector<std::int64_t> kv(memory.size());
  const auto rank = static_cast<std::size_t>(group.share());
  for (std::size_t m = 0; m < models.size(); ++m) {
    const std::vector<RankMemory> own = models[m]->memory(ops, load.most_rows);
    for (std::size_t r = 0; r < own.size(); ++r) {
      memory[r].weights += own[r].weights;
      memory[r].workspace += own[r].workspace;
      kv[r] += own[r].kv(caches[m], config.page_tokens);
    }
  }
  const auto total = [&](std::size_t r) { return memory[r].weights + kv[r] + memory[r].workspace; };
  // Ranks are numbered host by host; what the neighbours on this host take is counted with the largest
  // share of all.
  std::int64_t most = 0;
  for (std::size_t r = 0; r < memory.size(); ++r) most = std::max(most, total(r));
  const RankMemory& mine = memory[rank];
  if (config.kv_memory && kv[rank] > *config.kv_memory)
    throw Error(ExitCode::kOutOfMemory, "the requests need a KV cache of " + memory_text(kv[rank]) +
                                            ", kv_memory allows " + memory_text(*config.kv_memory) +
                                            ": raise it, or lower max_tokens, n or num_beams");
  const std::optional<std::int64_t> free = ops.free_bytes();
  const std::int64_t neighbours = (group.ranks_in_memory(free.has_value()) - 1) * most;
  const std::int64_t available = free ? *free : available_memory();
  const std::int64_t needed = total(rank) + neighbours;
  std::string advice;
  if (needed > available) {
    const RankMemory first = models[0]->memory(ops, load.most_rows)[rank];
    const std::int64_t room = available - (needed - first.kv(caches[0], config.page_tokens));
    const std::int64_t fitting = fitting_positions(load, config, models[0]->files().shape, first, 0, room);
    if (fitting > 0)
      advice = "of the " + std::to_string(load.kv_tokens) + " positions that are wanted " +
               std::to_string(fitting) + " fit: lower --max-tokens, --max-context, --n or --max-batch";
  }
  check_memory(group.share(), mine, kv[rank], needed, available, advice);
  return mine.weights + kv[rank];
}

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

/// Where a device ran out of memory although the plan fitted: the same error, and what would fit.
/// free_before: the first allocation.
[[noreturn]] void throw_with_advice(const DeviceError& error, const LoadPlan& load,
                                    const EngineConfig& config, RankModel& model, DeviceBackend& ops,
                                    const Group& group, std::int64_t free_before) {
  if (error.code() != ExitCode::kOutOfMemory) throw DeviceError(error);
  const RankMemory mine = model.memory(ops, load.most_rows)[static_cast<std::size_t>(group.share())];
  const std::int64_t had = free_before - ops.free_bytes().value_or(0) + largest_piece(ops);
  // A twentieth for what the plan does not know of.
  const std::int64_t room = had / 20 * 19 - mine.weights - mine.workspace;
  const std::int64_t fitting = fitting_positions(load, config, model.files().shape, mine, 0, room);
  throw DeviceError(error.code(),
                    std::string(error.what()) + "; it had " + memory_text(had) + " where it had said " +
                        memory_text(free_before) + ", so of " + std::to_string(load.kv_tokens) +
                        " positions for " + std::to_string(load.sequences) + " sequences about " +
                        std::to_string(fitting) + " fit: lower --max-context, --max-batch or --max-tokens");
}

/// What stands against graphs is an error where they are asked for, and else told, as it costs time.
void check_graphs(const EngineConfig& config, const std::vector<std::unique_ptr<RankModel>>& models,
                  bool leads) {
  std::string why = config.check_numerics ? "check_numerics looks at every result" : "";
  for (const auto& model : models)
    if (why.empty()) why = model->loaded().model->why_not_recorded();
  if (why.empty() || config.gpu_graphs == GpuGraphs::kOff) return;
  if (config.gpu_graphs == GpuGraphs::kOn)
    throw Error(ExitCode::kConfig, "gpu_graphs on: steps cannot be recorded: " + why);
  if (leads) log_info("kernels are launched one by one, without CUDA graphs: " + why);
}

/// Shrinks a KV cache that may be smaller to what every rank has room for. All ranks call it.
void fit_to_memory(LoadPlan& load, const Group& group, const EngineConfig& config, RankModel& model,
                   DeviceBackend& ops) {
  if (load.least_kv_tokens == 0) return;
  const RankMemory mine = model.memory(ops, load.most_rows)[static_cast<std::size_t>(group.share())];
  // Half of what is there: other processes, the page cache of the weights' files and the host itself need
  // theirs.
  const std::optional<std::int64_t> of_device = ops.free_bytes();
  const std::int64_t own =
      of_device.value_or(available_memory()) / group.ranks_in_memory(of_device.has_value());
  const std::int64_t free = own / 2 - mine.weights - mine.workspace;
  const std::int64_t bytes = config.kv_memory ? *config.kv_memory : std::max<std::int64_t>(0, free);
  std::int64_t fitting =
      fitting_positions(load, config, model.files().shape, mine, load.least_kv_tokens, bytes);
  ByteWriter tokens;
  tokens.value(fitting);
  for (const auto& bytes_of_rank : group.ranks.gather(tokens.take()))
    fitting = std::min(fitting, ByteReader(bytes_of_rank).value<std::int64_t>());
  ByteWriter agreed;
  agreed.value(fitting);
  std::vector<std::byte> message = agreed.take();
  group.control.broadcast(message);
  const auto agreed_tokens = ByteReader(message).value<std::int64_t>();
  if (group.leads() && agreed_tokens < load.kv_tokens)
    log_info("the KV cache holds " + std::to_string(agreed_tokens) + " positions; " +
             std::to_string(load.sequences) + " sequences of the whole context would need " +
             std::to_string(load.kv_tokens));
  load.kv_tokens = agreed_tokens;
}

}  // namespace

namespace {

/// Whether a key's rotation depends on the length of the prompt: then pages of one prompt are no good for
/// another.
bool depends_on_length(const RopeSettings& rope) {
  return rope.kind == RopeSettings::Kind::kDynamic || rope.kind == RopeSettings::Kind::kLongRope;
}

}  // namespace

LoadPlan LoadPlan::for_many(const EngineConfig& config, const ModelFiles& files) {
  if (config.max_context > files.shape.context)
    throw Error(ExitCode::kUsage, "max_context " + std::to_string(config.max_context) +
                                      " is above the model's " + std::to_string(files.shape.context));
  const std::int64_t context = config.max_context > 0 ? config.max_context : files.shape.context;
  LoadPlan load;
  load.sequences = config.max_batch;
  load.kv_tokens = context * config.max_batch;
  load.most_rows = std::max(config.prefill_chunk, config.max_batch);
  load.least_kv_tokens = context;
  load.prefix_cache = true;
  return load;
}

DType kv_dtype_of(KvDType choice) {
  switch (choice) {
    case KvDType::kF32:
      return DType::kF32;
    case KvDType::kBF16:
      return DType::kBF16;
    case KvDType::kAuto:
    case KvDType::kF16:
      return DType::kF16;
    case KvDType::kFp8:
      return DType::kE4M3;
    case KvDType::kInt8:
      return DType::kInt8;
  }
  return DType::kF16;
}

ModelChoices ModelChoices::of(const EngineConfig& config, const Group& group) {
  ModelChoices choices;
  choices.weight_dtype = config.dtype;
  choices.expert_parallel = config.expert_parallel;
  choices.kv_dtype = kv_dtype_of(config.kv_dtype);
  for (const std::string& adapter : config.adapters) {
    const std::size_t at = adapter.find('=');  // load_config saw to it
    choices.adapters.push_back({adapter.substr(0, at), adapter.substr(at + 1)});
  }
  choices.merged_adapter = config.merge_adapter;
  choices.threads = config.threads > 0 ? config.threads : cores_for(group);
  return choices;
}

ActivationKind activations_of(Activations choice, const ModelShape& shape) {
  const bool narrow = shape.hidden < kNarrowHidden;
  const bool exact = choice == Activations::kF32 || (choice == Activations::kAuto && narrow);
  return exact ? ActivationKind::kF32 : ActivationKind::kInt8;
}

std::unique_ptr<DeviceBackend> make_sizing_device() { return std::make_unique<CpuBackend>(CpuOptions{}); }

std::unique_ptr<DeviceBackend> make_device(const ModelChoices& choices, ActivationKind activations,
                                           const Group& group) {
  CpuOptions options;
  options.threads = choices.threads;
  options.activations = activations;
  options.local_rank = group.local_rank;
  options.local_ranks = group.local_ranks;
  options.oversubscribed =
      choices.threads * group.local_ranks > static_cast<int>(std::thread::hardware_concurrency());
  return std::make_unique<CpuBackend>(options);
}

void run_engine(const Group& group, const EngineConfig& config,
                const std::function<LoadPlan(ModelFiles&)>& prepare,
                const std::function<void(Leader&, const ModelFiles&, double)>& lead) {
  const auto begin = Clock::now();
  ModelChoices choices;
  std::unique_ptr<DeviceBackend> ops;
  std::unique_ptr<Communicator> device_ranks;      // where they do not sum as the host does
  std::unique_ptr<CheckingBackend> checking;       // of ops, where every result is looked at
  std::vector<std::unique_ptr<RankModel>> models;  // by ModelSlot
  LoadPlan load;
  const std::optional<int> gpu = choose_gpu(group, config.device, config.numerics);
  agree(group, [&] {
    if (config.numerics == Numerics::kFast && !gpu)
      throw Error(ExitCode::kConfig,
                  "numerics fast is a way of GPU ranks (docs/cuda.md); on the CPU use --numerics invariant");
    choices = ModelChoices::of(config, group);
    if (gpu)
      ops = make_cuda_backend(*gpu, choices.threads, many_tokens_as(config.numerics, config.gpu_products),
                              config.gpu_graphs != GpuGraphs::kOff);
    models.push_back(std::make_unique<RankModel>(config.model, choices, config.shares, group));
    if (!gpu) ops = make_device(choices, activations_of(config.activations, models[0]->files().shape), group);
    if (group.leads()) load = prepare(models[0]->files());
  });
  ByteWriter message;
  message.value(load);
  std::vector<std::byte> bytes = message.take();
  group.control.broadcast(bytes);
  load = ByteReader(bytes).value<LoadPlan>();

  if (group.only_share) {
    device_ranks = std::make_unique<NullCommunicator>(group.world(), ops.get());
  } else if (gpu) {
    const GpuGroupOptions options = gpu_options(group, config);
    GpuSums sums;
    agree(group, [&] { sums = choose_gpu_sums(*ops, group.ranks, group.control, options); });
    // Not inside agree(): a rank that fails here is waited for by the others on the device's side, and would
    // wait for them in vain.
    device_ranks = make_gpu_communicator(*ops, group.ranks, group.control, sums, options);
  }
  if (config.check_numerics) checking = std::make_unique<CheckingBackend>(*ops);
  DeviceBackend& device = checking ? *checking : *ops;
  Communicator& ranks = device_ranks ? *device_ranks : group.ranks;
  fit_to_memory(load, group, config, *models[0], *ops);
  std::int64_t weights_and_kv = 0;
  std::vector<Caches> caches;  // of each model
  agree(group, [&] {
    if (load.draft) {
      ModelChoices plain = choices;
      plain.adapters.clear();
      plain.merged_adapter.clear();
      models.push_back(std::make_unique<RankModel>(config.generation.draft_model.value_or(""), plain,
                                                   config.shares, group));
      require_same_vocabulary(models[0]->files(), models[1]->files());
    }
    for (const auto& model : models) caches.push_back(caches_for(load, config, model->files().shape));
    weights_and_kv = check_room(group, config, models, *ops, load, caches);
    for (const Caches& of_model : caches)
      for (const CacheLimits& cache : of_model)
        if (cache.pages > std::numeric_limits<PageId>::max())
          throw Error(ExitCode::kOutOfMemory, "the requests need " + std::to_string(cache.pages) +
                                                  " KV pages, more than can be numbered: raise page_tokens, "
                                                  "or lower max_tokens or n");
  });
  const std::int64_t free_before = ops->free_bytes().value_or(0);
  const auto name_what_fits = [&](const DeviceError& error) {
    throw_with_advice(error, load, config, *models[0], *ops, group, free_before);
  };
  agree(group, [&] {
    try {
      for (std::size_t m = 0; m < models.size(); ++m)
        models[m]->load(device, ranks, load.most_rows, load.sequences, load.kv_tokens, caches[m],
                        config.page_tokens);
    } catch (const DeviceError& error) {
      name_what_fits(error);
    }
    if (gpu) check_graphs(config, models, group.leads());
  });

  std::vector<ModelWithCaches> loaded;
  for (const auto& model : models) loaded.push_back(model->loaded());
  const ModelFiles& files = models[0]->files();
  StepRunner runner(std::move(loaded), device, ranks, group.control, files.shape.vocabulary, weights_and_kv);
  if (gpu) {
    try {
      runner.warm_up(load.most_rows);
    } catch (const DeviceError& error) {
      name_what_fits(error);
    }
    const std::int64_t free = ops->free_bytes().value_or(0);
    std::int64_t planned = weights_and_kv;
    for (const auto& model : models)
      planned += model->memory(*ops, load.most_rows)[static_cast<std::size_t>(group.share())].workspace;
    if (group.leads())
      log_info("memory of " + device.description() + ": planned " + memory_text(planned) + ", took " +
               memory_text(free_before - free) + ", " + memory_text(free) + " are free");
  }
  std::vector<RankPlace> places = gather_places(group, device.description(), choices.threads);
  if (!group.leads()) return work(runner, group.control);
  log(LogLevel::kDebug, device.description() + "; " + ranks.description());
  SchedulerLimits limits;
  limits.step_tokens = static_cast<std::int32_t>(load.most_rows);
  limits.page_tokens = config.page_tokens;
  limits.caches = caches[0];
  if (load.draft) limits.draft_caches = caches[1];
  limits.sequences = load.sequences;
  limits.prefix_cache = load.prefix_cache && !depends_on_length(files.shape.rope);
  Leader leader(runner, group.control, limits, std::move(places));
  lead(leader, files, seconds_since(begin));
  leader.stop();
}

}  // namespace llm_tp
