// Whatever bytes a configuration file holds: it loads, or it is refused with kConfig and a place in the file.
#include <cstddef>
#include <cstdint>
#include <cstdlib>
#include <string>
#include <string_view>

#include "base/error.h"
#include "config/describe.h"
#include "config/load_config.h"

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  const std::string_view text(reinterpret_cast<const char*>(data), size);
  try {
    const llm_tp::ResolvedConfig resolved = llm_tp::load_config_text(text, "fuzz.yaml");
    if (llm_tp::to_json(resolved).empty() || llm_tp::render_table(resolved).empty()) std::abort();
  } catch (const llm_tp::Error& error) {
    const std::string message = error.what();
    if (error.code() != llm_tp::ExitCode::kConfig || !message.starts_with("fuzz.yaml:")) std::abort();
    if (message.find('\n') != std::string::npos) std::abort();
  }
  return 0;
}
