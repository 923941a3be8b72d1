#include "base/log.h"

#include <unistd.h>

#include <atomic>

namespace llm_tp {
namespace {

std::atomic<LogLevel> most{LogLevel::kInfo};

// Messages quote what files and clients hold, which may be of any length.
constexpr std::size_t kHead = 1500, kTail = 500;

bool continues_code_point(char c) { return (static_cast<unsigned char>(c) & 0xC0) == 0x80; }

/// The message without its middle where it is very long; no code point is cut.
std::string shortened(const std::string& message) {
  if (message.size() <= kHead + kTail) return message;
  std::size_t head = kHead, tail = message.size() - kTail;
  while (head > 0 && continues_code_point(message[head])) --head;
  while (tail < message.size() && continues_code_point(message[tail])) ++tail;
  return message.substr(0, head) + " [" + std::to_string(tail - head) + " bytes left out] " +
         message.substr(tail);
}

/// One line, and no control sequence that a terminal would obey.
void make_printable(std::string& line) {
  for (char& c : line)
    if (static_cast<unsigned char>(c) < 0x20 || c == 0x7F) c = ' ';
}

}  // namespace

void set_log_level(LogLevel level) noexcept { most = level; }

void log(LogLevel level, const std::string& message) {
  if (level > most) return;
  std::string line = "llm-tp: " + shortened(message);
  make_printable(line);
  line += '\n';
  for (std::size_t done = 0; done < line.size();) {
    const ssize_t n = ::write(STDERR_FILENO, line.data() + done, line.size() - done);
    if (n <= 0) return;  // nobody listens
    done += static_cast<std::size_t>(n);
  }
}

}  // namespace llm_tp
