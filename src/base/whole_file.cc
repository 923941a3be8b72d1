#include "base/whole_file.h"

#include <filesystem>
#include <fstream>

#include "base/error.h"

namespace llm_tp {

void replace_file(const std::string& path, std::string_view text) {
  const std::string temporary = path + ".new";
  std::ofstream file(temporary, std::ios::trunc);
  file << text << std::flush;
  std::error_code failed;
  if (file) std::filesystem::rename(temporary, path, failed);
  if (!file || failed) throw Error(ExitCode::kIoError, path + ": cannot be written");
}

}  // namespace llm_tp
