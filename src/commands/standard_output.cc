#include "commands/standard_output.h"

#include <cerrno>
#include <cstdio>
#include <cstring>
#include <string>

#include "base/error.h"

namespace llm_tp {

void flush_stdout() {
  errno = 0;
  if (std::fflush(stdout) == 0 && std::ferror(stdout) == 0) return;
  throw Error(ExitCode::kIoError, std::string("standard output cannot be written") +
                                      (errno != 0 ? std::string(": ") + std::strerror(errno) : "") +
                                      "; is the disk full, or was the pipe closed?");
}

}  // namespace llm_tp
