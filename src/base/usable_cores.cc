#include "base/usable_cores.h"

#include <sched.h>

namespace llm_tp {

std::vector<int> usable_cores() {
  std::vector<int> numbers;
  cpu_set_t cores;
  if (sched_getaffinity(0, sizeof cores, &cores) != 0) return numbers;
  for (int core = 0; core < CPU_SETSIZE; ++core)
    if (CPU_ISSET(core, &cores)) numbers.push_back(core);
  return numbers;
}

}  // namespace llm_tp
