#include <cstdio>
#include <string>
#include <vector>

#include "base/error.h"
#include "commands/commands.h"
#include "commands/doctor_checks.h"
#include "commands/json_output.h"
#include "commands/rank_facts.h"

namespace llm_tp {
namespace {

void print(const std::vector<DoctorCheck>& checks, bool json) {
  if (json) {
    Json all = Json::array();
    for (const DoctorCheck& c : checks)
      all.push_back({{"name", c.name}, {"status", c.status}, {"detail", c.detail}, {"fix", c.fix}});
    return print_json({{"checks", all}});
  }
  for (const DoctorCheck& c : checks) {
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
  const GroupFacts facts{group.ranks.description(), microseconds_of_a_sum(group, (16 << 10) / 4, 100),
                         microseconds_of_a_sum(group, (1 << 20) / 4, 10)};
  agree(group, [&] {
    if (!group.leads()) return;
    const std::vector<DoctorCheck> checks = doctor_checks(config, std::move(ranks), facts);
    print(checks, line.json);
    std::string failed;
    for (const DoctorCheck& c : checks)
      if (c.status == "error") failed += (failed.empty() ? "" : ", ") + c.name;
    if (!failed.empty())
      throw Error(ExitCode::kUnavailable, "doctor found what must be mended first: " + failed);
  });
}

}  // namespace llm_tp
