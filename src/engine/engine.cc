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
#include "engine/memory_room.h"
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
  std::optional<MemoryRoom> room;
  agree(group, [&] {
    if (load.draft) {
      ModelChoices plain = choices;
      plain.adapters.clear();
      plain.merged_adapter.clear();
      models.push_back(std::make_unique<RankModel>(config.generation.draft_model.value_or(""), plain,
                                                   config.shares, group));
      require_same_vocabulary(models[0]->files(), models[1]->files());
    }
    room.emplace(group, config, models, *ops, ranks, load.most_rows);
  });
  room->fit(load);
  const std::vector<MemoryRoom::Caches> caches = room->caches(load);  // of each model
  agree(group, [&] {
    room->check(load);
    for (const MemoryRoom::Caches& of_model : caches)
      for (const CacheLimits& cache : of_model)
        if (cache.pages > std::numeric_limits<PageId>::max())
          throw Error(ExitCode::kOutOfMemory, "the requests need " + std::to_string(cache.pages) +
                                                  " KV pages, more than can be numbered: raise page_tokens, "
                                                  "or lower max_tokens or n");
  });
  agree(group, [&] {
    try {
      for (std::size_t m = 0; m < models.size(); ++m)
        models[m]->load(device, ranks,
                        {load.most_rows, load.sequences, load.kv_tokens, caches[m], config.page_tokens});
    } catch (const DeviceError& error) {
      room->rethrow(error, load, *ops);
    }
    if (gpu) check_graphs(config, models, group.leads());
  });

  std::vector<ModelWithCaches> loaded;
  for (const auto& model : models) loaded.push_back(model->loaded());
  const ModelFiles& files = models[0]->files();
  const PlannedMemory planned = room->planned(load, group.share());
  StepRunner runner(std::move(loaded), device, ranks, group.control, files.shape.vocabulary,
                    planned.weights + planned.kv);
  if (gpu) {
    try {
      runner.warm_up(load.most_rows);
    } catch (const DeviceError& error) {
      room->rethrow(error, load, *ops);
    }
    room->report(load);
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
