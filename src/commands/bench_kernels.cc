#include <cstdio>

#include "commands/commands.h"
#include "commands/json_output.h"
#include "engine/engine.h"
#include "engine/gpu_choice.h"
#include "engine/kernel_bench.h"
#include "kernels/cuda/device_factory.h"

namespace llm_tp {
namespace {

Json json_of(const KernelTime& k, const KernelTimes& all) {
  return {{"op", k.op},
          {"shape", k.shape},
          {"bytes", k.bytes},
          {"flop", k.flop},
          {"seconds", k.seconds},
          {"bytes_per_second", k.bytes_per_second()},
          {"of_copy", k.bytes_per_second() / all.copy.bytes_per_second()},
          {"flop_per_second", k.flop_per_second()},
          {"of_product", k.flop_per_second() / all.best_product_rate}};
}

void print_text(const KernelTimes& times) {
  std::printf("copy %.1f GB/s (bytes read and written), fastest product %.1f GFLOP/s, %lld MiB in turn\n",
              times.copy.bytes_per_second() / 1e9, times.best_product_rate / 1e9,
              static_cast<long long>(times.bytes_in_turn >> 20));
  std::printf("%-20s %-24s %12s %10s %8s %10s %8s\n", "kernel", "shape", "microseconds", "GB/s", "of copy",
              "GFLOP/s", "of best");
  for (const KernelTime& k : times.kernels) {
    std::printf("%-20s %-24s %12.1f %10.1f %7.1f%%", k.op.c_str(), k.shape.c_str(), k.seconds * 1e6,
                k.bytes_per_second() / 1e9, 100 * k.bytes_per_second() / times.copy.bytes_per_second());
    if (k.flop > 0)
      std::printf(" %10.1f %7.1f%%", k.flop_per_second() / 1e9,
                  100 * k.flop_per_second() / times.best_product_rate);
    std::printf("\n");
  }
}

}  // namespace

void bench_kernels_command(const Group& group, const CommandLine& line) {
  const EngineConfig& config = line.resolved.config;
  if (group.world() > 1)
    throw Error(ExitCode::kUsage, "bench kernels times one device: start it alone, and give --ranks " +
                                      std::to_string(group.world()) + " for the shapes of that many ranks");
  const ModelFiles files = ModelFiles::open(config.model, false);
  const ModelChoices choices = ModelChoices::of(config, group);
  KernelBenchOptions options;
  options.weight_dtype = choices.weight_dtype.value_or(files.shape.checkpoint_dtype);
  options.kv_dtype = choices.kv_dtype;
  options.tokens = config.bench.prompt_tokens;
  options.repetitions = config.bench.repetitions;
  const std::optional<int> gpu = choose_gpu(group, config.device, config.numerics);
  const auto ops = gpu ? make_cuda_backend(*gpu, choices.threads,
                                           many_tokens_as(config.numerics, config.gpu_products), false)
                       : make_device(choices, activations_of(config.activations, files.shape), group);
  const KernelTimes times = time_kernels(*ops, files.shape, line.ranks > 0 ? line.ranks : 1, options);
  if (!line.json) {
    std::printf("%s, %s, weights %s, keys and values %s\n", files.name.c_str(), ops->description().c_str(),
                std::string(name_of(options.weight_dtype)).c_str(),
                std::string(name_of(options.kv_dtype)).c_str());
    return print_text(times);
  }
  Json kernels = Json::array();
  for (const KernelTime& k : times.kernels) kernels.push_back(json_of(k, times));
  print_json({{"model", files.name},
              {"device", ops->description()},
              {"weights", name_of(options.weight_dtype)},
              {"kv", name_of(options.kv_dtype)},
              {"ranks", line.ranks > 0 ? line.ranks : 1},
              {"copy_bytes_per_second", times.copy.bytes_per_second()},
              {"product_flop_per_second", times.best_product_rate},
              {"bytes_in_turn", times.bytes_in_turn},
              {"kernels", kernels}});
}

}  // namespace llm_tp
