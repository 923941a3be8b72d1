#include "base/json_file.h"

#include <nlohmann/json.hpp>
#include <set>
#include <vector>

#include "base/error.h"
#include "base/mapped_file.h"

namespace llm_tp {
namespace {

using nlohmann::json;
using Event = json::parse_event_t;

constexpr int kMostLevels = 32;

/// Sees a document while it is parsed and refuses what the parser itself lets through.
class Watch {
 public:
  explicit Watch(const std::string& where) : where_(where) {}

  bool operator()(int depth, Event event, json& parsed) {
    if (depth > kMostLevels) refuse("nested deeper than " + std::to_string(kMostLevels) + " levels");
    if (event == Event::object_start) keys_.emplace_back();
    if (event == Event::object_end) keys_.pop_back();
    if (event == Event::key && !keys_.back().insert(parsed.get<std::string>()).second)
      refuse("the key " + parsed.dump() + " stands twice");
    return true;
  }

 private:
  [[noreturn]] void refuse(const std::string& what) const {
    throw Error(ExitCode::kBadData, where_ + ": " + what);
  }

  const std::string& where_;
  std::vector<std::set<std::string>> keys_;  // of the objects that are open
};

}  // namespace

json parse_json_object(std::string_view text, const std::string& where) {
  if (text.size() > (std::size_t{16} << 20)) throw Error(ExitCode::kBadData, where + ": larger than 16 MiB");
  try {
    Watch watch(where);
    json object = json::parse(text.begin(), text.end(), [&](int depth, Event event, json& parsed) {
      return watch(depth, event, parsed);
    });
    if (!object.is_object()) throw Error(ExitCode::kBadData, where + ": not a JSON object");
    return object;
  } catch (const json::exception& error) {
    throw Error(ExitCode::kBadData, where + ": not JSON: " + error.what());
  }
}

json read_json_object(const std::filesystem::path& path) {
  const MappedFile file(path);
  const auto bytes = file.bytes();
  return parse_json_object({reinterpret_cast<const char*>(bytes.data()), bytes.size()}, path.string());
}

}  // namespace llm_tp
