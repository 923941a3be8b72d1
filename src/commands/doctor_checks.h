#pragma once
#include <string>
#include <vector>

#include "commands/json_output.h"
#include "config/engine_config.h"

namespace llm_tp {

/// One line of `doctor`: ok has nothing to mend; error ends it with an exit code.
struct DoctorCheck {
  std::string name, status, detail, fix;  // status: ok, warning, error
};

/// What the group as a whole knows.
struct GroupFacts {
  std::string communication;                  // Communicator::description()
  double small_sum_us = 0, large_sum_us = 0;  // of 16 KiB and of 1 MiB
};

/// What the facts of all ranks (rank_facts.h), in rank order, mean for a run with this configuration.
std::vector<DoctorCheck> doctor_checks(const EngineConfig& config, std::vector<Json> ranks,
                                       const GroupFacts& group);

}  // namespace llm_tp
