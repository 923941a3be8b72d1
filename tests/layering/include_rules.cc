#include "include_rules.h"

#include <algorithm>
#include <map>
#include <set>

namespace llm_tp {
namespace {

using Folders = std::set<std::string, std::less<>>;

/// What a folder may include besides itself and base. The arrows are those of docs/architecture.md.
const std::map<std::string, Folders, std::less<>>& allowed_folders() {
  static const std::map<std::string, Folders, std::less<>> table = {
      {"base", {}},
      {"config", {}},
      {"text", {}},
      {"weights", {}},
      {"decoding", {}},
      {"kernels", {}},
      {"comm", {"kernels"}},
      {"schedule", {"decoding"}},
      {"model", {"weights", "kernels", "comm"}},
      {"engine", {"model", "schedule", "decoding", "comm", "kernels", "text", "weights", "config"}},
      {"serve", {"engine", "model", "schedule", "decoding", "comm", "kernels", "text", "weights", "config"}},
      {"client", {"config"}},
      {"commands",
       {"serve", "client", "engine", "model", "schedule", "decoding", "comm", "kernels", "text", "weights",
        "config"}},
      {"main",
       {"commands", "serve", "client", "engine", "model", "schedule", "decoding", "comm", "kernels", "text",
        "weights", "config"}},
  };
  return table;
}

bool starts_with(std::string_view text, std::string_view prefix) {
  return text.substr(0, prefix.size()) == prefix;
}

bool is_mpi_header(std::string_view header) { return header == "mpi.h" || header == "mpi-ext.h"; }

bool is_cuda_header(std::string_view header) {
  const std::string_view name =
      header.substr(header.rfind('/') == std::string_view::npos ? 0 : header.rfind('/') + 1);
  return starts_with(name, "cuda") || starts_with(name, "cublas") || starts_with(name, "nccl") ||
         starts_with(header, "cub/");
}

/// The header of an #include line, or empty.
std::string_view included_header(std::string_view line) {
  const auto skip_blanks = [&line] {
    while (!line.empty() && (line.front() == ' ' || line.front() == '\t')) line.remove_prefix(1);
  };
  skip_blanks();
  if (line.empty() || line.front() != '#') return {};
  line.remove_prefix(1);
  skip_blanks();
  if (!starts_with(line, "include")) return {};
  line.remove_prefix(7);
  skip_blanks();
  if (line.empty() || (line.front() != '"' && line.front() != '<')) return {};
  const std::size_t end = line.find(line.front() == '"' ? '"' : '>', 1);
  return end == std::string_view::npos ? std::string_view() : line.substr(1, end - 1);
}

std::string violation_of(std::string_view file, const std::string& from, std::string_view header) {
  if (is_mpi_header(header) && from != "comm") return std::string(header) + " belongs to comm alone";
  if (is_cuda_header(header) && from != "comm" && !starts_with(file, "kernels/cuda/")) {
    return std::string(header) + " belongs to kernels/cuda and comm alone";
  }
  if (header.find("..") != std::string_view::npos)
    return std::string(header) + ": a path from src/ or the root is wanted";
  const std::size_t slash = header.find('/');
  if (slash == std::string_view::npos) return {};
  std::string_view to = header.substr(0, slash);
  if (to == "src") {  // the repository root is an include root too
    const std::string_view rest = header.substr(slash + 1);
    to = rest.substr(0, rest.find('/'));
  }
  if (to == "tests") return "an include of tests/";
  if (allowed_folders().count(to) == 0) return {};  // another project's header
  if (to == from || to == "base" || allowed_folders().find(from)->second.count(to) > 0) return {};
  return from + " must not include " + std::string(to) + " (" + std::string(header) + ")";
}

}  // namespace

std::string folder_of(std::string_view file) {
  if (file == "src/main.cc") return "main";
  const std::size_t begin = starts_with(file, "src/") ? 4 : 0;
  const std::size_t end = file.find('/', begin);
  if (end == std::string_view::npos) return {};
  const std::string folder(file.substr(begin, end - begin));
  const bool below_src = begin > 0;
  if ((folder == "kernels" || folder == "comm") == below_src) return {};
  return allowed_folders().count(folder) > 0 ? folder : std::string();
}

std::vector<Violation> check_includes(std::string_view file, std::string_view text) {
  std::vector<Violation> violations;
  const std::string from = folder_of(file);
  if (from.empty()) {
    if (starts_with(file, "src/"))
      violations.push_back({std::string(file), 0, "its folder has no rules: add them"});
    return violations;
  }
  int line = 0;
  while (!text.empty()) {
    ++line;
    const std::size_t end = std::min(text.find('\n'), text.size());
    const std::string_view header = included_header(text.substr(0, end));
    text.remove_prefix(std::min(end + 1, text.size()));
    if (header.empty()) continue;
    std::string reason = violation_of(file, from, header);
    if (!reason.empty()) violations.push_back({std::string(file), line, std::move(reason)});
  }
  return violations;
}

}  // namespace llm_tp
