#include "base/json_file.h"

#include <nlohmann/json.hpp>

#include "base/error.h"
#include "base/mapped_file.h"

namespace llm_tp {

nlohmann::json read_json_object(const std::filesystem::path& path) {
  using nlohmann::json;
  const MappedFile file(path);
  const auto bytes = file.bytes();
  if (bytes.size() > (std::size_t{16} << 20))
    throw Error(ExitCode::kBadData, path.string() + ": larger than 16 MiB");
  const auto* text = reinterpret_cast<const char*>(bytes.data());
  const json::parser_callback_t shallow = [&](int depth, json::parse_event_t, json&) {
    if (depth > 32) throw Error(ExitCode::kBadData, path.string() + ": nested deeper than 32 levels");
    return true;
  };
  try {
    json object = json::parse(text, text + bytes.size(), shallow);
    if (!object.is_object()) throw Error(ExitCode::kBadData, path.string() + ": not a JSON object");
    return object;
  } catch (const json::exception& error) {
    throw Error(ExitCode::kBadData, path.string() + ": not JSON: " + error.what());
  }
}

}  // namespace llm_tp
