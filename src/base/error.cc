#include "base/error.h"

#include <cstring>

namespace llm_tp {

void throw_bug(const char* condition, const char* file, int line, const std::string& detail) {
  const char* name = std::strrchr(file, '/');
  throw Error(ExitCode::kBug, std::string("bug: ") + detail + " (" + condition + " does not hold at " +
                                  (name ? name + 1 : file) + ":" + std::to_string(line) +
                                  "); please report it with the command line");
}

}  // namespace llm_tp
