#pragma once
#include <vector>

namespace llm_tp {

/// Numbers of the processor cores that this process may run on, ascending; empty where the system does not
/// tell.
std::vector<int> usable_cores();

}  // namespace llm_tp
