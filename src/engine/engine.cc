#include "engine/engine.h"

#include <unistd.h>

#include <algorithm>
#include <chrono>
#include <thread>

#include "base/byte_stream.h"
#include "base/log.h"
#include "kernels/cpu/cpu_backend.h"

namespace llm_tp {
namespace {

using Clock = std::chrono::steady_clock;
double seconds_since(Clock::time_point begin) {
  return std::chrono::duration<double>(Clock::now() - begin).count();
}

/// One line on rank 0, at most every second, and none for a load that is over at once.
class LoadProgress {
 public:
  explicit LoadProgress(bool speaks) : speaks_(speaks) {}
  void operator()(std::int64_t done, std::int64_t total) {
    if (!speaks_ || seconds_since(last_) < 1.0) return;
    last_ = Clock::now();
    log_info("loading weights: " + std::to_string(100 * done / std::max<std::int64_t>(total, 1)) + "% of " +
             memory_text(total) + " for rank 0");
  }

 private:
  bool speaks_;
  Clock::time_point last_ = Clock::now();
};

int cores_for(const Group& group) {
  const auto cores = static_cast<int>(std::max(1u, std::thread::hardware_concurrency()));
  return std::max(1, cores / std::max(1, group.local_ranks));
}

}  // namespace

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
    case KvDType::kInt8:
      break;
  }
  throw Error(ExitCode::kConfig,
              "kv_dtype: fp8 and int8 are not supported yet; supported are f32, f16 and bf16");
}

ModelChoices ModelChoices::of(const EngineConfig& config, const Group& group) {
  ModelChoices choices;
  if (config.device == DeviceChoice::kCuda)
    throw Error(ExitCode::kUnavailable,
                "device cuda: this build has no CUDA backend; use --device cpu or auto");
  if (config.numerics == Numerics::kFast)
    throw Error(ExitCode::kConfig,
                "numerics fast: CPU ranks have the invariant arithmetic alone; use --numerics invariant");
  choices.weight_dtype = config.dtype;
  choices.kv_dtype = kv_dtype_of(config.kv_dtype);
  if (config.activations == Activations::kF32) choices.activations = ActivationKind::kF32;
  choices.threads = config.threads > 0 ? config.threads : cores_for(group);
  return choices;
}

std::unique_ptr<DeviceBackend> make_sizing_device() { return std::make_unique<CpuBackend>(CpuOptions{}); }

std::unique_ptr<DeviceBackend> make_device(const ModelChoices& choices, const Group& group) {
  CpuOptions options;
  options.threads = choices.threads;
  options.activations = choices.activations;
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
  ModelFiles files;
  ModelChoices choices;
  std::unique_ptr<DeviceBackend> ops;
  std::unique_ptr<WeightLoader> loader;
  ShardPlan plan;
  LoadPlan load;
  agree(group, [&] {
    choices = ModelChoices::of(config, group);
    files = ModelFiles::open(config.model, group.leads());
    loader = std::make_unique<WeightLoader>(files.shape, *files.weights, choices.weight_dtype);
    plan = ShardPlan::make(files.shape, group.world(), loader->units(), config.shares);
    ops = make_device(choices, group);
    if (group.leads()) load = prepare(files);
  });
  ByteWriter message;
  message.value(load);
  std::vector<std::byte> bytes = message.take();
  group.control.broadcast(bytes);
  load = ByteReader(bytes).value<LoadPlan>();

  const auto rank = static_cast<std::size_t>(group.rank());
  const int pages =
      static_cast<int>((load.kv_tokens + config.page_tokens - 1) / config.page_tokens + load.sequences);
  std::unique_ptr<LlamaModel> model;
  std::unique_ptr<KvCache> cache;
  std::int64_t weights_and_kv = 0;
  agree(group, [&] {
    const auto memory = plan_memory(files.shape, *loader, plan, *ops, choices.kv_dtype, load.most_rows);
    const std::int64_t kv_tokens = std::int64_t{pages} * config.page_tokens;
    // Ranks are numbered host by host; what the neighbours on this host take is counted with the largest
    // share of all.
    std::int64_t most = 0;
    for (const RankMemory& m : memory) most = std::max(most, m.total(kv_tokens));
    const std::int64_t needed = memory[rank].total(kv_tokens) + (group.local_ranks - 1) * most;
    if (config.kv_memory && memory[rank].kv_per_token * kv_tokens > *config.kv_memory)
      throw Error(ExitCode::kOutOfMemory, "the requests need a KV cache of " +
                                              memory_text(memory[rank].kv_per_token * kv_tokens) +
                                              ", kv_memory allows " + memory_text(*config.kv_memory) +
                                              ": raise it, or lower max_tokens or n");
    weights_and_kv = memory[rank].weights + memory[rank].kv_per_token * kv_tokens;
    check_memory(group.rank(), memory[rank], kv_tokens, needed, available_memory());
  });
  agree(group, [&] {
    RankWeights weights = loader->load(plan, group.rank(), *ops, LoadProgress(group.leads()));
    model = std::make_unique<LlamaModel>(files.shape, plan, group.rank(), std::move(weights), *ops,
                                         group.ranks, load.most_rows);
    cache = ops->make_kv_cache(
        kv_shape_of(files.shape, plan.ranks[rank], choices.kv_dtype, pages, config.page_tokens));
  });

  StepRunner runner(*model, *ops, *cache, group.ranks, group.control, files.shape.vocabulary, weights_and_kv);
  if (!group.leads()) return work(runner, group.control);
  log(LogLevel::kDebug, ops->description() + "; " + group.ranks.description());
  Leader leader(runner, group.control,
                {static_cast<std::int32_t>(load.most_rows), config.page_tokens, pages});
  lead(leader, files, seconds_since(begin));
  leader.stop();
}

}  // namespace llm_tp
