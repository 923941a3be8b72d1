#include "commands/rank_facts.h"

#include <sys/resource.h>
#include <sys/statvfs.h>
#include <unistd.h>

#include <cerrno>
#include <chrono>
#include <cstring>
#include <vector>

#include "base/usable_cores.h"
#include "comm/nccl/gpu_group.h"
#include "engine/gpu_choice.h"
#include "engine/memory_plan.h"
#include "kernels/cpu/instruction_set.h"
#include "kernels/cuda/device_factory.h"

namespace llm_tp {
namespace {

std::int64_t limit_of(int resource) {
  rlimit limit{};
  if (::getrlimit(static_cast<__rlimit_resource>(resource), &limit) != 0 || limit.rlim_cur == RLIM_INFINITY)
    return -1;
  return static_cast<std::int64_t>(limit.rlim_cur);
}

std::int64_t free_shared_memory() {
  struct statvfs room {};
  if (::statvfs("/dev/shm", &room) != 0) return 0;
  return static_cast<std::int64_t>(room.f_bavail) * static_cast<std::int64_t>(room.f_frsize);
}

std::string why_model_cannot_be_read(const std::string& model) {
  const std::string path = model.starts_with("dummy:") ? model.substr(6) : model;
  return path.empty() || ::access(path.c_str(), R_OK) == 0 ? "" : std::strerror(errno);
}

}  // namespace

Json facts_of_this_rank(const Group& group, const EngineConfig& config) {
  const CudaDevices cuda = cuda_devices();
  const NcclPresence nccl = find_nccl();
  const LibraryPresence cublaslt = find_cublaslt();
  Json gpus = Json::array();
  for (const CudaDevice& gpu : cuda.devices)
    gpus.push_back(
        {{"name", gpu.name}, {"id", gpu.id}, {"generation", gpu.generation}, {"bytes", gpu.bytes}});
  return {{"host", group.host},
          {"pid", ::getpid()},
          {"instruction_set", std::string(name_of(instruction_set()))},
          {"cores", usable_cores()},
          {"memory", available_memory()},
          {"memlock", limit_of(RLIMIT_MEMLOCK)},
          {"open_files", limit_of(RLIMIT_NOFILE)},
          {"address_space", limit_of(RLIMIT_AS)},
          {"shared_memory", free_shared_memory()},
          {"gpus", gpus},
          {"own_gpu", gpu_of_rank(group, cuda.devices.size())},
          {"no_gpu", cuda.reason},
          {"driver", cuda.driver},
          {"nccl", nccl.text},
          {"nccl_usable", nccl.usable},
          {"why_no_windows", nccl.why_no_windows},
          {"cublaslt", cublaslt.text},
          {"cublaslt_usable", cublaslt.usable},
          {"model", why_model_cannot_be_read(config.model)}};
}

double microseconds_of_a_sum(const Group& group, std::int64_t numbers, int repetitions) {
  std::vector<Range> runs;
  for (int rank = 0; rank < group.world(); ++rank) runs.push_back({rank, rank + 1});
  const TreeParts parts(runs);
  std::vector<float> mine(static_cast<std::size_t>(numbers), 1.0F), out(mine.size());
  const TensorView root{
      reinterpret_cast<std::byte*>(mine.data()), DType::kF32, 3, {1, 1, numbers, 0}, numbers};
  const auto sum = [&] { group.ranks.sum_tree(TensorView::matrix(out.data(), 1, numbers), root, parts); };
  sum();
  const auto begin = std::chrono::steady_clock::now();
  for (int i = 0; i < repetitions; ++i) sum();
  const std::chrono::duration<double, std::micro> taken = std::chrono::steady_clock::now() - begin;
  return taken.count() / repetitions;
}

}  // namespace llm_tp
