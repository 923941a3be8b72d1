#include "engine/engine.h"

#include <unistd.h>

#include <algorithm>
#include <chrono>
#include <limits>
#include <thread>

#include "base/byte_stream.h"
#include "base/log.h"
#include "comm/staged_communicator.h"
#include "kernels/cpu/cpu_backend.h"
#include "kernels/cuda/device_factory.h"

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

/// Errors: kUnavailable where this rank has no GPU of its own.
void check_own_gpu(const Group& group) {
  const CudaDevices devices = cuda_devices();
  if (devices.count == 0)
    throw Error(ExitCode::kUnavailable, "device cuda: " + devices.reason + "; or use --device cpu");
  if (devices.count < group.local_ranks)
    throw Error(ExitCode::kUnavailable,
                "device cuda: host " + group.host + " has " + std::to_string(devices.count) +
                    (devices.count == 1 ? " GPU for " : " GPUs for ") + std::to_string(group.local_ranks) +
                    " ranks: start at most one rank a GPU there, or use --device cpu");
}

/// Collective: whether the ranks compute on GPUs. auto takes them where every rank has one. Errors:
/// AgreedError.
bool uses_cuda(const Group& group, DeviceChoice choice) {
  if (choice == DeviceChoice::kCuda) {
    agree(group, [&] { check_own_gpu(group); });
    return true;
  }
  if (choice == DeviceChoice::kCpu || !cuda_is_built()) return false;
  const std::byte mine{static_cast<unsigned char>(cuda_devices().count >= group.local_ranks)};
  std::vector<std::byte> all_have{std::byte{1}};
  for (const auto& own : group.ranks.gather({&mine, 1})) all_have[0] &= own[0];
  group.control.broadcast(all_have);
  return all_have[0] != std::byte{0};
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
  if (config.numerics == Numerics::kFast)
    throw Error(ExitCode::kConfig,
                "numerics fast: there is the invariant arithmetic alone so far; use --numerics invariant");
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
  std::unique_ptr<Communicator> device_ranks;  // where tensors are not in host memory
  std::unique_ptr<WeightLoader> loader;
  ShardPlan plan;
  LoadPlan load;
  const bool cuda = uses_cuda(group, config.device);
  agree(group, [&] {
    choices = ModelChoices::of(config, group);
    files = ModelFiles::open(config.model, group.leads());
    loader = std::make_unique<WeightLoader>(files.shape, *files.weights, choices.weight_dtype);
    plan = ShardPlan::make(files.shape, group.world(), loader->units(), config.shares);
    if (cuda) {
      ops = make_cuda_backend(group.local_rank);
      device_ranks = std::make_unique<StagedCommunicator>(*ops, group.ranks);
    } else {
      ops = make_device(choices, group);
    }
    if (group.leads()) load = prepare(files);
  });
  ByteWriter message;
  message.value(load);
  std::vector<std::byte> bytes = message.take();
  group.control.broadcast(bytes);
  load = ByteReader(bytes).value<LoadPlan>();

  Communicator& ranks = device_ranks ? *device_ranks : group.ranks;
  const auto rank = static_cast<std::size_t>(group.rank());
  // Every sequence may leave its last page partly empty.
  const std::int64_t pages = (load.kv_tokens + config.page_tokens - 1) / config.page_tokens + load.sequences;
  std::unique_ptr<Decoder> model;
  std::unique_ptr<KvCache> cache;
  std::int64_t weights_and_kv = 0;
  agree(group, [&] {
    const auto memory = plan_memory(files.shape, *loader, plan, *ops, choices.kv_dtype, load.most_rows);
    const std::int64_t kv_tokens = pages * config.page_tokens;
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
    if (const auto free = ops->free_bytes())
      check_memory(group.rank(), memory[rank], kv_tokens, memory[rank].total(kv_tokens), *free);
    else
      check_memory(group.rank(), memory[rank], kv_tokens, needed, available_memory());
    if (pages > std::numeric_limits<PageId>::max())
      throw Error(ExitCode::kOutOfMemory, "the requests need " + std::to_string(pages) +
                                              " KV pages, more than can be numbered: raise page_tokens, or "
                                              "lower max_tokens or n");
  });
  const auto page_count = static_cast<PageId>(pages);
  agree(group, [&] {
    RankWeights weights = loader->load(plan, group.rank(), *ops, LoadProgress(group.leads()));
    model = std::make_unique<Decoder>(files.shape, plan, group.rank(), std::move(weights), *ops, ranks,
                                      load.most_rows);
    cache = ops->make_kv_cache(
        kv_shape_of(files.shape, plan.ranks[rank], choices.kv_dtype, page_count, config.page_tokens));
  });

  StepRunner runner(*model, *ops, *cache, ranks, group.control, files.shape.vocabulary, weights_and_kv);
  if (!group.leads()) return work(runner, group.control);
  log(LogLevel::kDebug, ops->description() + "; " + ranks.description());
  Leader leader(runner, group.control,
                {static_cast<std::int32_t>(load.most_rows), config.page_tokens, page_count});
  lead(leader, files, seconds_since(begin));
  leader.stop();
}

}  // namespace llm_tp
