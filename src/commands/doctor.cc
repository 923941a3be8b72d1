#include <algorithm>
#include <cstdio>
#include <map>
#include <set>
#include <string>
#include <vector>

#include "base/error.h"
#include "comm/mpi_group.h"
#include "commands/commands.h"
#include "commands/json_output.h"
#include "commands/rank_facts.h"
#include "engine/memory_plan.h"
#include "kernels/cuda/device_factory.h"

namespace llm_tp {
namespace {

constexpr std::int64_t kMiB = std::int64_t{1} << 20, kGiB = std::int64_t{1} << 30;

struct Check {
  std::string name, status, detail, fix;
};

std::string counted(std::size_t count, const std::string& what) {
  return std::to_string(count) + " " + what + (count == 1 ? "" : "s");
}

/// What all ranks said, and the checks of it. Rank 0.
class Doctor {
 public:
  Doctor(const Group& group, const EngineConfig& config, std::vector<Json> ranks)
      : group_(group), config_(config), ranks_(std::move(ranks)) {
    for (std::size_t r = 0; r < ranks_.size(); ++r) hosts_[ranks_[r].at("host")].push_back(r);
  }

  std::vector<Check> checks(double small_sum, double large_sum) {
    check_ranks();
    check_cores();
    check_instruction_set();
    check_memory();
    check_communication(small_sum, large_sum);
    check_shared_memory();
    check_gpus();
    check_gpu_communication();
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
      int cores = 0;
      for (const std::size_t r : own) cores = std::max(cores, ranks_[r].at("cores").get<int>());
      const std::string detail = "host " + host + ": " + counted(own.size(), "rank") +
                                 ", of which one may use " + counted(static_cast<std::size_t>(cores), "core");
      const bool bound = own.size() > 1 && cores == 1;
      if (own.size() > static_cast<std::size_t>(cores) && !bound)
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

  void check_communication(double small_sum, double large_sum) {
    std::string detail = group_.ranks.description() +
                         (config_.communication == Communication::kAuto ? "" : ", as communication asks for");
    if (ranks_.size() > 1) {
      char times[96];
      std::snprintf(times, sizeof times, "; a sum of 16 KiB takes %.0f us, of 1 MiB %.0f us", small_sum,
                    large_sum);
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
    if (ranks_.size() > 1 && free < wanted)
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

  void check_gpu_communication() {
    if (!cuda_is_built()) return ok("gpu communication", "not in this build");
    if (ranks_.size() == 1) return ok("gpu communication", "one rank needs none");
    if (config_.gpu_communication == GpuCommunication::kHost)
      return ok("gpu communication", "by way of the host, as gpu_communication asks for");
    for (std::size_t r = 0; r < ranks_.size(); ++r) {
      if (ranks_[r].at("nccl_usable").get<bool>()) continue;
      const bool asked = config_.gpu_communication == GpuCommunication::kNccl;
      const bool matters = !ranks_[0].at("gpus").empty();
      return add("gpu communication",
                 asked     ? "error"
                 : matters ? "warning"
                           : "ok",
                 "by way of the host, which is slow: rank " + std::to_string(r) + ": " +
                     ranks_[r].at("nccl").get<std::string>(),
                 asked || matters ? "install NCCL, or say --gpu-communication host" : "");
    }
    ok("gpu communication", *all_of("nccl").begin());
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

  const Group& group_;
  const EngineConfig& config_;
  std::vector<Json> ranks_;
  std::map<std::string, std::vector<std::size_t>> hosts_;  // ranks of each
  std::vector<Check> checks_;
};

void print(const std::vector<Check>& checks, bool json) {
  if (json) {
    Json all = Json::array();
    for (const Check& c : checks)
      all.push_back({{"name", c.name}, {"status", c.status}, {"detail", c.detail}, {"fix", c.fix}});
    return print_json({{"checks", all}});
  }
  for (const Check& c : checks) {
    std::printf("%-8s %-24s %s\n", c.status.c_str(), c.name.c_str(), c.detail.c_str());
    if (!c.fix.empty()) std::printf("%-8s %-24s -> %s\n", "", "", c.fix.c_str());
  }
}

}  // namespace

void doctor_command(const Group& group, const CommandLine& line) {
  const EngineConfig& config = line.resolved.config;
  const std::string mine = facts_of_this_rank(group, config).dump();
  std::vector<Json> ranks;
  for (const auto& bytes : group.ranks.gather(std::as_bytes(std::span(mine))))
    ranks.push_back(Json::parse(reinterpret_cast<const char*>(bytes.data()),
                                reinterpret_cast<const char*>(bytes.data() + bytes.size())));
  const double small_sum = microseconds_of_a_sum(group, (16 << 10) / 4, 100);
  const double large_sum = microseconds_of_a_sum(group, (1 << 20) / 4, 10);
  agree(group, [&] {
    if (!group.leads()) return;
    const std::vector<Check> checks = Doctor(group, config, std::move(ranks)).checks(small_sum, large_sum);
    print(checks, line.json);
    std::string failed;
    for (const Check& c : checks)
      if (c.status == "error") failed += (failed.empty() ? "" : ", ") + c.name;
    if (!failed.empty())
      throw Error(ExitCode::kUnavailable, "doctor found what must be mended first: " + failed);
  });
}

}  // namespace llm_tp
