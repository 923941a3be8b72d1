#include "commands/doctor_checks.h"

#include <algorithm>
#include <cstdio>
#include <map>
#include <set>
#include <utility>

#include "comm/mpi_group.h"
#include "comm/nccl/gpu_group.h"
#include "engine/memory_plan.h"
#include "kernels/cuda/device_factory.h"

namespace llm_tp {
namespace {

using Check = DoctorCheck;
constexpr std::int64_t kMiB = std::int64_t{1} << 20, kGiB = std::int64_t{1} << 30;

std::string counted(std::size_t count, const std::string& what) {
  return std::to_string(count) + " " + what + (count == 1 ? "" : "s");
}

/// What all ranks said, and the checks of it. Rank 0.
class Doctor {
 public:
  Doctor(const EngineConfig& config, std::vector<Json> ranks, const GroupFacts& group)
      : config_(config), ranks_(std::move(ranks)), group_(group) {
    for (std::size_t r = 0; r < ranks_.size(); ++r) hosts_[ranks_[r].at("host")].push_back(r);
  }

  std::vector<Check> checks() {
    check_ranks();
    check_cores();
    check_instruction_set();
    check_memory();
    check_communication();
    check_shared_memory();
    check_gpus();
    check_gpu_generations();
    check_gpu_communication();
    check_cublaslt();
    check_graphs();
    check_limits();
    check_model();
    return std::move(checks_);
  }

 private:
  void ok(std::string name, std::string detail) {
    checks_.push_back({std::move(name), "ok", std::move(detail), ""});
  }
  void add(std::string name, const char* status, std::string detail, std::string fix) {
    checks_.push_back({std::move(name), status, std::move(detail), std::move(fix)});
  }
  bool several_hosts() const { return hosts_.size() > 1; }

  /// The rank with the least of a number; ranks without a limit (-1) do not count.
  std::int64_t least(const char* what) const {
    std::int64_t least = -1;
    for (const Json& rank : ranks_)
      if (const auto value = rank.at(what).get<std::int64_t>(); value >= 0 && (least < 0 || value < least))
        least = value;
    return least;
  }
  std::set<std::string> all_of(const char* what) const {
    std::set<std::string> values;
    for (const Json& rank : ranks_) values.insert(rank.at(what).get<std::string>());
    return values;
  }

  void check_ranks() {
    std::string detail = counted(ranks_.size(), "rank") + " on " + counted(hosts_.size(), "host") + ":";
    for (const auto& [host, own] : hosts_) detail += " " + host + " (" + std::to_string(own.size()) + ")";
    ok("ranks", detail);
    ok("mpi", mpi_library_version() + ", " + mpi_thread_level());
  }

  void check_cores() {
    for (const auto& [host, own] : hosts_) {
      // Launchers may bind each rank to cores of its own: what counts is all of them together.
      std::set<int> cores;
      std::size_t most = 0;  // of one rank
      for (const std::size_t r : own) {
        const auto of_rank = ranks_[r].at("cores").get<std::vector<int>>();
        cores.insert(of_rank.begin(), of_rank.end());
        most = std::max(most, of_rank.size());
      }
      const std::string detail = "host " + host + ": " + counted(own.size(), "rank") + ", which may use " +
                                 counted(cores.size(), "core");
      const bool bound = own.size() > 1 && most == 1;
      if (own.size() > cores.size())
        add("cores", "warning", detail,
            "start at most a rank a core there: ranks that wait for cores make sums slow");
      else if (bound)
        add("cores", "warning", detail + ": the launcher bound each rank to one",
            "mpirun --bind-to none, or srun --cpus-per-task=N, lets a rank use several threads");
      else
        ok("cores", detail);
    }
  }

  void check_instruction_set() {
    std::string names;
    for (const std::string& name : all_of("instruction_set")) names += (names.empty() ? "" : ", ") + name;
    ok("instruction set",
       names + (all_of("instruction_set").size() > 1 ? ": unlike hosts, the same bits" : ""));
  }

  void check_memory() {
    for (const auto& [host, own] : hosts_) {
      const std::int64_t free = ranks_[own[0]].at("memory").get<std::int64_t>();
      const std::int64_t each = free / static_cast<std::int64_t>(own.size());
      const std::string detail =
          "host " + host + ": " + memory_text(free) + " available, " + memory_text(each) + " a rank";
      if (each < kGiB)
        add("memory", "warning", detail,
            "llm-tp inspect --ranks N says what a rank of a model needs; use more hosts");
      else
        ok("memory", detail);
    }
  }

  void check_communication() {
    std::string detail = group_.communication +
                         (config_.communication == Communication::kAuto ? "" : ", as communication asks for");
    if (ranks_.size() > 1) {
      char times[96];
      std::snprintf(times, sizeof times, "; a sum of 16 KiB takes %.0f us, of 1 MiB %.0f us",
                    group_.small_sum_us, group_.large_sum_us);
      detail += times;
    }
    const bool slow_choice = ranks_.size() > 1 && !several_hosts() && detail.starts_with("MPI");
    if (slow_choice && config_.communication == Communication::kAuto)
      add("communication", "warning", detail + ": the ranks of this host cannot share memory",
          "give /dev/shm more room (docker --shm-size, apptainer --bind)");
    else
      ok("communication", detail);
  }

  void check_shared_memory() {
    const std::int64_t free = least("shared_memory");
    const std::int64_t wanted = 4 * kMiB * static_cast<std::int64_t>(ranks_.size());
    const std::string detail = "/dev/shm has " + memory_text(free) + " free";
    const bool used = ranks_.size() > 1 && group_.communication.starts_with("shared memory");
    if (!used)
      ok("shared memory", detail + "; these ranks need none");
    else if (free < wanted)
      add("shared memory", "warning", detail + ", " + memory_text(wanted) + " are wanted",
          "give /dev/shm more room (docker --shm-size 1g)");
    else
      ok("shared memory", detail);
  }

  void check_gpus() {
    const std::string built =
        cuda_is_built() ? "built with CUDA " + cuda_build_version() : "built without CUDA";
    const char* const missing = config_.device == DeviceChoice::kCuda ? "error" : "ok";
    for (const auto& [host, own] : hosts_) {
      const Json& facts = ranks_[own[0]];
      const std::size_t count = facts.at("gpus").size();
      const std::string where = "host " + host + ": ";
      if (count == 0) {
        add("gpus", missing, where + facts.at("no_gpu").get<std::string>() + " (" + built + ")",
            config_.device == DeviceChoice::kCuda ? "or use --device cpu" : "");
        continue;
      }
      std::map<std::string, std::size_t> kinds;
      for (const Json& gpu : facts.at("gpus"))
        ++kinds[gpu.at("name").get<std::string>() + ", " + memory_text(gpu.at("bytes").get<std::int64_t>())];
      std::string detail = where;
      for (const auto& [kind, number] : kinds) detail += std::to_string(number) + " x " + kind + "; ";
      detail += "driver for CUDA " + facts.at("driver").get<std::string>() + ", " + built;
      std::set<std::string> ids;
      for (const std::size_t r : own)
        for (const Json& gpu : ranks_[r].at("gpus")) ids.insert(gpu.at("id").get<std::string>());
      if (ids.size() < own.size() && config_.device != DeviceChoice::kCpu)
        add("gpus", config_.device == DeviceChoice::kCuda ? "error" : "warning",
            detail + "; fewer GPUs than the " + std::to_string(own.size()) + " ranks there",
            "start at most one rank a GPU, or use --device cpu");
      else if (kinds.size() > 1)
        add("gpus", "warning", detail,
            "unlike GPUs: the key shares weighs their parts, and invariant numerics wants one generation");
      else
        ok("gpus", detail);
    }
  }

  /// The GPUs that the ranks would take, host by host or over hosts.
  void check_gpu_generations() {
    if (config_.device == DeviceChoice::kCpu) return;
    const auto gpu_of = [&](std::size_t r) -> const Json& {
      return ranks_[r].at("gpus").at(ranks_[r].at("own_gpu").get<std::size_t>());
    };
    for (const Json& rank : ranks_)
      if (rank.at("gpus").empty()) return;
    for (std::size_t r = 1; r < ranks_.size(); ++r) {
      if (gpu_of(r).at("generation") == gpu_of(0).at("generation")) continue;
      const auto text = [&](std::size_t of) {
        return "rank " + std::to_string(of) + " on host " + ranks_[of].at("host").get<std::string>() +
               " has " + gpu_of(of).at("name").get<std::string>() + " (sm_" +
               std::to_string(gpu_of(of).at("generation").get<int>()) + ")";
      };
      const std::string detail = text(0) + ", " + text(r);
      if (config_.numerics == Numerics::kFast)
        return add("gpu generations", "warning", detail, "the key shares weighs their parts");
      const bool asked = config_.device == DeviceChoice::kCuda;
      return add("gpu generations", asked ? "error" : "warning",
                 detail + ": generations may round differently, so with invariant numerics " +
                     (asked ? "they cannot share a job" : "the CPUs would compute"),
                 "take GPUs of one generation, or --numerics fast");
    }
    ok("gpu generations", "sm_" + std::to_string(gpu_of(0).at("generation").get<int>()) + " everywhere");
  }

  void check_gpu_communication() {
    if (!cuda_is_built()) return ok("gpu communication", "not in this build");
    if (ranks_.size() == 1) return ok("gpu communication", "one rank needs none");
    sums_by_host_ = config_.gpu_communication == GpuCommunication::kHost;
    if (sums_by_host_) return ok("gpu communication", "by way of the host, as gpu_communication asks for");
    const bool ipc = config_.gpu_communication != GpuCommunication::kNccl && !several_hosts() &&
                     ranks_.size() <= static_cast<std::size_t>(kMostIpcRanks);
    const std::string by_ipc =
        "by CUDA IPC if every GPU can write to the others' memory, which is tried at the start";
    if (config_.gpu_communication == GpuCommunication::kIpc) {
      if (ipc) return ok("gpu communication", by_ipc + "; as gpu_communication asks for");
      return add(
          "gpu communication", "error",
          "gpu_communication ipc is for ranks of one host, " + std::to_string(kMostIpcRanks) + " at most",
          "use --gpu-communication auto");
    }
    for (std::size_t r = 0; r < ranks_.size(); ++r) {
      if (ranks_[r].at("nccl_usable").get<bool>()) continue;
      const std::string why = "rank " + std::to_string(r) + ": " + ranks_[r].at("nccl").get<std::string>();
      if (ipc)
        return ok("gpu communication", by_ipc + "; large sums in pieces, since NCCL cannot be used: " + why);
      const bool asked = config_.gpu_communication == GpuCommunication::kNccl;
      const bool matters = !ranks_[0].at("gpus").empty();
      sums_by_host_ = true;
      return add("gpu communication",
                 asked     ? "error"
                 : matters ? "warning"
                           : "ok",
                 "by way of the host, which is slow: " + why,
                 asked || matters ? "install NCCL, or say --gpu-communication host" : "");
    }
    ok("gpu communication", (ipc ? by_ipc + "; large sums by " : "") + *all_of("nccl").begin());
    check_windows();
  }

  /// Of sums by NCCL.
  void check_windows() {
    if (config_.nccl_windows == NcclWindows::kOff)
      return ok("nccl windows", "none, as nccl_windows asks for");
    for (std::size_t r = 0; r < ranks_.size(); ++r) {
      const auto why = ranks_[r].at("why_no_windows").get<std::string>();
      if (why.empty()) continue;
      const bool asked = config_.nccl_windows == NcclWindows::kOn;
      return add("nccl windows", asked ? "error" : "ok", "none: rank " + std::to_string(r) + ": " + why,
                 asked ? "install NCCL 2.27 or later, or say --nccl-windows auto" : "");
    }
    ok("nccl windows",
       "small sums, and all of NCCL's own, go through symmetric windows if the GPUs reach each other's "
       "memory, "
       "which is tried at the start");
  }

  /// What multiplies many tokens.
  void check_cublaslt() {
    if (!cuda_is_built()) return ok("cublaslt", "not in this build");
    const std::string many = "products of more than " + std::to_string(kLibraryTokens) + " tokens";
    const std::string use = config_.gpu_products == GpuProducts::kOwn ? "not used, as gpu_products asks for"
                            : config_.numerics == Numerics::kFast
                                ? "for " + many
                                : "with --numerics fast for " + many + ", not used now";
    const bool asked = config_.gpu_products == GpuProducts::kCublasLt;
    for (std::size_t r = 0; r < ranks_.size(); ++r) {
      if (ranks_[r].at("cublaslt_usable").get<bool>()) continue;
      // The text says what to install.
      const std::string why =
          "rank " + std::to_string(r) + ": " + ranks_[r].at("cublaslt").get<std::string>() + " (" + use + ")";
      const bool matters = config_.numerics == Numerics::kFast &&
                           config_.gpu_products == GpuProducts::kAuto && !ranks_[0].at("gpus").empty();
      if (asked) return add("cublaslt", "error", why, "install it, or say --gpu-products auto");
      if (matters)
        return add("cublaslt", "warning", why + ": " + many + " are our own, which are slower",
                   "install it, or say --gpu-products own");
      return ok("cublaslt", why);
    }
    ok("cublaslt", *all_of("cublaslt").begin() + ", " + use);
  }

  /// Whether steps are replayed, as far as it can be told without a model.
  void check_graphs() {
    if (!cuda_is_built() || ranks_[0].at("gpus").empty()) return;
    if (config_.gpu_graphs == GpuGraphs::kOff)
      return ok("gpu graphs", "none, as gpu_graphs asks for: kernels are launched one by one");
    std::string why;
    if (config_.check_numerics) why = "check_numerics looks at every result";
    if (sums_by_host_) why = "sums go by way of the host";
    const bool asked = config_.gpu_graphs == GpuGraphs::kOn;
    if (why.empty())
      return ok(
          "gpu graphs",
          "steps that come again are replayed, but for mixtures of experts, adapters, and on several ranks "
          "norms over the heads of all");
    add("gpu graphs", asked ? "error" : "ok", "none: " + why, asked ? "say --gpu-graphs auto" : "");
  }

  void check_limits() {
    const std::int64_t memlock = least("memlock");
    const bool needs_pinned = several_hosts() || !ranks_[0].at("gpus").empty();
    const std::string locked = memlock < 0 ? "unlimited" : memory_text(memlock);
    if (memlock >= 0 && memlock < 64 * kMiB && needs_pinned)
      add("limit of locked memory", "warning", locked,
          "ulimit -l unlimited: networks and GPUs lock their buffers");
    else
      ok("limit of locked memory", locked);
    const std::int64_t files = least("open_files");
    const std::string open = files < 0 ? "unlimited" : std::to_string(files);
    if (files >= 0 && files < 4096)
      add("limit of open files", "warning", open, "ulimit -n 65536: serve takes up to 4096 connections");
    else
      ok("limit of open files", open);
    if (const std::int64_t space = least("address_space"); space >= 0)
      add("limit of address space", "warning", memory_text(space),
          "ulimit -v unlimited: the files of a model are mapped whole");
  }

  void check_model() {
    if (config_.model.empty()) return;
    for (std::size_t r = 0; r < ranks_.size(); ++r) {
      const auto why = ranks_[r].at("model").get<std::string>();
      if (why.empty()) continue;
      return add("model", "error",
                 "rank " + std::to_string(r) + " on host " + ranks_[r].at("host").get<std::string>() +
                     " cannot read " + config_.model + ": " + why,
                 "put it where every host sees it under the same path");
    }
    ok("model", config_.model + " can be read by every rank");
  }

  const EngineConfig& config_;
  std::vector<Json> ranks_;
  const GroupFacts& group_;
  std::map<std::string, std::vector<std::size_t>> hosts_;  // ranks of each
  bool sums_by_host_ = false;                              // of GPUs
  std::vector<Check> checks_;
};

}  // namespace

std::vector<DoctorCheck> doctor_checks(const EngineConfig& config, std::vector<Json> ranks,
                                       const GroupFacts& group) {
  return Doctor(config, std::move(ranks), group).checks();
}

}  // namespace llm_tp
