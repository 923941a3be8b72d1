// What `doctor` makes of the facts of ranks on hosts that are not here.
#include <gtest/gtest.h>

#include <map>
#include <string>
#include <vector>

#include "commands/doctor_checks.h"

namespace llm_tp {
namespace {

Json gpu(int generation, int number = 0) {
  return {{"name", "GPU of sm_" + std::to_string(generation)},
          {"id", "GPU-" + std::to_string(generation) + "-" + std::to_string(number)},
          {"generation", generation},
          {"bytes", std::int64_t{80} << 30}};
}

Json rank_of(const std::string& host, std::vector<int> cores, Json gpus = Json::array()) {
  return {{"host", host},
          {"pid", 1},
          {"instruction_set", "avx2"},
          {"cores", std::move(cores)},
          {"memory", std::int64_t{64} << 30},
          {"memlock", -1},
          {"open_files", -1},
          {"address_space", -1},
          {"shared_memory", std::int64_t{1} << 20},
          {"own_gpu", 0},
          {"no_gpu", "no driver"},
          {"driver", "13.0"},
          {"nccl", "NCCL 2.28.9"},
          {"nccl_usable", true},
          {"why_no_windows", ""},
          {"cublaslt", "cuBLASLt 13.1.0 (/lib/libcublasLt.so.13)"},
          {"cublaslt_usable", true},
          {"model", ""},
          {"gpus", std::move(gpus)}};
}

std::map<std::string, DoctorCheck> checks_of(std::vector<Json> ranks, const EngineConfig& config = {},
                                             const std::string& communication = "MPI, 2 ranks on 2 hosts") {
  std::map<std::string, DoctorCheck> checks;
  for (const DoctorCheck& check : doctor_checks(config, std::move(ranks), {communication, 1, 2}))
    checks[check.name] = check;
  return checks;
}

TEST(DoctorChecks, CoresOfAHostAreThoseOfAllItsRanks) {
  // srun --cpus-per-task=2 binds each rank to cores of its own.
  EXPECT_EQ(checks_of({rank_of("a", {0, 1}), rank_of("a", {2, 3}), rank_of("a", {4, 5})}).at("cores").status,
            "ok");
  const DoctorCheck shared =
      checks_of({rank_of("a", {0, 1}), rank_of("a", {0, 1}), rank_of("a", {0, 1})}).at("cores");
  EXPECT_EQ(shared.status, "warning");
  EXPECT_NE(shared.detail.find("3 ranks, which may use 2 cores"), std::string::npos) << shared.detail;
  EXPECT_NE(shared.fix.find("at most a rank a core"), std::string::npos);
  const DoctorCheck bound = checks_of({rank_of("a", {0}), rank_of("a", {1})}).at("cores");
  EXPECT_EQ(bound.status, "warning");
  EXPECT_NE(bound.fix.find("--bind-to none"), std::string::npos);
}

TEST(DoctorChecks, SharedMemoryMattersWhereItIsUsed) {
  const std::vector<Json> ranks{rank_of("a", {0, 1}), rank_of("a", {0, 1})};
  EXPECT_EQ(checks_of(ranks).at("shared memory").status, "ok");
  EXPECT_EQ(checks_of(ranks, {}, "shared memory, 2 ranks on one host").at("shared memory").status, "warning");
}

TEST(DoctorChecks, UnlikeGenerationsOverHostsAreSaid) {
  const std::vector<Json> unlike{rank_of("a", {0}, Json::array({gpu(90)})),
                                 rank_of("b", {0}, Json::array({gpu(80)}))};
  EngineConfig config;
  DoctorCheck check = checks_of(unlike, config).at("gpu generations");
  EXPECT_EQ(check.status, "warning");
  EXPECT_NE(check.detail.find("rank 1 on host b has GPU of sm_80"), std::string::npos) << check.detail;
  config.device = DeviceChoice::kCuda;
  EXPECT_EQ(checks_of(unlike, config).at("gpu generations").status, "error");
  config.numerics = Numerics::kFast;
  EXPECT_EQ(checks_of(unlike, config).at("gpu generations").status, "warning");
  const std::vector<Json> like{rank_of("a", {0}, Json::array({gpu(90)})),
                               rank_of("b", {0}, Json::array({gpu(90, 1)}))};
  EXPECT_EQ(checks_of(like, config).at("gpu generations").status, "ok");
  config.device = DeviceChoice::kCpu;
  EXPECT_FALSE(checks_of(unlike, config).count("gpu generations"));
}

}  // namespace
}  // namespace llm_tp
