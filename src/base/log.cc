#include "base/log.h"

#include <unistd.h>

#include <atomic>

namespace llm_tp {
namespace {
std::atomic<LogLevel> most{LogLevel::kInfo};
}

void set_log_level(LogLevel level) noexcept { most = level; }

void log(LogLevel level, const std::string& message) {
  if (level > most) return;
  std::string line = "llm-tp: " + message;
  for (char& c : line)
    if (c == '\n' || c == '\r') c = ' ';
  line += '\n';
  for (std::size_t done = 0; done < line.size();) {
    const ssize_t n = ::write(STDERR_FILENO, line.data() + done, line.size() - done);
    if (n <= 0) return;  // nobody listens
    done += static_cast<std::size_t>(n);
  }
}

}  // namespace llm_tp
