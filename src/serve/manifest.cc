#include "serve/manifest.h"

#include <array>
#include <ctime>
#include <filesystem>
#include <fstream>
#include <iterator>

#include "base/error.h"
#include "base/whole_file.h"
#include "serve/batch_job.h"
#include "serve/json_text.h"

namespace llm_tp {
namespace fs = std::filesystem;

namespace {

constexpr std::size_t kMostRuns = 100;  // the last ones: a job may be requeued for ever

/// Keys whose other value may give other tokens. Threads, ranks, batches and chunks change none.
bool may_change_tokens(const std::string& key) {
  for (const char* name : {"dtype", "kv_dtype", "activations", "numerics", "max_context"})
    if (key == name) return true;
  return key.starts_with("generation.");
}

std::string utc_now() {
  const std::time_t now = std::time(nullptr);
  std::tm parts{};
  ::gmtime_r(&now, &parts);
  std::array<char, 32> text{};
  std::strftime(text.data(), text.size(), "%Y-%m-%dT%H:%M:%SZ", &parts);
  return text.data();
}

Json parsed(const std::string& text) { return Json::parse(text, nullptr, false); }

/// The value of a key as a manifest has it; null where it has none.
Json value_of(const Json& configuration, const std::string& key) {
  const auto at = configuration.find(key);
  return at != configuration.end() && at->is_object() ? at->value("value", Json()) : Json();
}

}  // namespace

Manifest::Manifest(std::string output, JobIdentity identity,
                   std::vector<std::pair<std::string, std::string>> fixed)
    : output_(std::move(output)),
      path_(output_ + ".manifest.json"),
      identity_(std::move(identity)),
      fixed_(std::move(fixed)) {
  std::ifstream file(path_);
  earlier_.assign(std::istreambuf_iterator<char>(file), {});
  if (!parsed(earlier_).is_object()) earlier_.clear();
  std::error_code ignored;
  const bool has_answers = fs::exists(output_, ignored) && fs::file_size(output_, ignored) > 0;
  if (has_answers && !earlier_.empty()) check();
  if (!has_answers) earlier_.clear();  // of an output that is gone
}

void Manifest::check() const {
  const Json earlier = parsed(earlier_);
  const Json before = earlier.value("model_fingerprint", Json());
  if (!before.is_null() && before != identity_.model_fingerprint)
    throw Error(ExitCode::kConfig, output_ + ": was begun with another model (fingerprint " +
                                       to_text(before) + ", now \"" + identity_.model_fingerprint +
                                       "\"); give that --model, or another --output");
  const Json then = earlier.value("configuration", Json::object()), now = parsed(identity_.configuration);
  if (!then.is_object() || then.empty()) return;
  for (const auto& [key, entry] : now.items()) {
    if (!may_change_tokens(key)) continue;
    const Json old_value = value_of(then, key), new_value = value_of(now, key);
    if (old_value != new_value)
      throw Error(ExitCode::kConfig, output_ + ": was begun with " + key + " " + to_text(old_value) +
                                         ", now it is " + to_text(new_value) +
                                         ": answers would not be of one kind; set it as it was, or give "
                                         "another --output");
  }
}

void Manifest::write(const std::string& ended, const BatchSummary* summary) const {
  const Json earlier = earlier_.empty() ? Json::object() : parsed(earlier_);
  Json manifest;
  for (const auto& [name, value] : fixed_) manifest[name] = value;
  manifest["model_fingerprint"] = identity_.model_fingerprint;
  manifest["model_fingerprint_of"] = "names, sizes and first 4096 bytes of the model's files";
  manifest["seeds"] = "a request's own, else made from its custom_id";
  manifest["configuration"] = parsed(identity_.configuration);
  Json run{{"began", began_}, {"ended", ended.empty() ? Json() : Json(ended)}};
  for (const auto& [name, value] : identity_.run) run[name] = value;
  if (summary != nullptr)
    run.update({{"lines", summary->total},
                {"answers_in_output", summary->completed},
                {"refused", summary->failed},
                {"answers_before", summary->resumed},
                {"stopped_early", summary->stopped}});
  Json runs = earlier.value("runs", Json::array());
  if (!runs.is_array()) runs = Json::array();
  while (runs.size() >= kMostRuns) runs.erase(runs.begin());
  runs.push_back(std::move(run));
  manifest["runs"] = std::move(runs);
  replace_file(path_, manifest.dump(2, ' ', false, Json::error_handler_t::replace) + "\n");
}

void Manifest::begin() {
  began_ = utc_now();
  write({}, nullptr);
}

void Manifest::end(const BatchSummary& summary) { write(utc_now(), &summary); }

}  // namespace llm_tp
