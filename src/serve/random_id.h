#pragma once
#include <string>

namespace llm_tp {

/// A name that nobody else has: prefix and 24 random hexadecimal digits. Any thread.
std::string random_id(const std::string& prefix);

}  // namespace llm_tp
