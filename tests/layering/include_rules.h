#pragma once
#include <string>
#include <string_view>
#include <vector>

namespace llm_tp {

/// One include that runs up, or a header that must stay in another folder.
struct Violation {
  std::string file;  // relative to the repository
  int line = 0;
  std::string reason;
};

/// The folder whose rules hold for a file: "src/model/x.cc" -> "model", "comm/y.h" -> "comm", "src/main.cc"
/// -> "main"; empty for files without rules (tests, configs…).
std::string folder_of(std::string_view file);

/// The violations in one file's text. `file` is its path relative to the repository, with '/'.
std::vector<Violation> check_includes(std::string_view file, std::string_view text);

}  // namespace llm_tp
