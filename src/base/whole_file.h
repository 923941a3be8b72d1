#pragma once
#include <string>
#include <string_view>

namespace llm_tp {

/// Puts `text` in the place of what the file held, or makes it: readers see the old text or the new one,
/// never a part. Uses PATH.new meanwhile. Errors: kIoError; the file is then as it was.
void replace_file(const std::string& path, std::string_view text);

}  // namespace llm_tp
