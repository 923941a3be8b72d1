#pragma once
#include <string>
#include <vector>

#include "engine/agreement.h"

namespace llm_tp {

/// Where one rank runs.
struct RankPlace {
  std::string host;
  int pid = 0;
  std::string device;  // "cpu avx512 vnni, 2 threads"
  int threads = 0;     // of the host that it computes or prepares with
};

/// Of every rank on rank 0, in rank order; elsewhere empty. Collective.
std::vector<RankPlace> gather_places(const Group& group, const std::string& device, int threads);

}  // namespace llm_tp
