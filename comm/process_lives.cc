#include "comm/process_lives.h"

#include <signal.h>

#include <cerrno>
#include <cstdio>
#include <cstring>

namespace llm_tp {

bool process_lives(int pid) {
  if (kill(pid, 0) != 0 && errno == ESRCH) return false;
  char path[64];
  std::snprintf(path, sizeof path, "/proc/%d/stat", pid);
  std::FILE* const file = std::fopen(path, "re");
  if (file == nullptr) return true;  // kill() has seen it; /proc may be hidden
  char text[512];
  const std::size_t size = std::fread(text, 1, sizeof text - 1, file);
  std::fclose(file);
  text[size] = '\0';
  // "pid (name) state": the name may itself hold brackets.
  const char* const bracket = std::strrchr(text, ')');
  if (bracket == nullptr || bracket[1] == '\0') return true;
  const char state = bracket[2];
  return state != 'Z' && state != 'X';
}

}  // namespace llm_tp
