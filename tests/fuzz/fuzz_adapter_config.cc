#include <cstdint>
#include <nlohmann/json.hpp>

#include "base/error.h"
#include "model/adapters/config.h"

/// Any JSON is either a configuration whose numbers can be asked for, or an Error kBadData.
extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  const auto object = nlohmann::json::parse(data, data + size, nullptr, false);
  if (!object.is_object()) return 0;
  try {
    const auto config = llm_tp::AdapterConfig::from_json(object, "fuzz");
    (void)config.rank_of("model.layers.0.self_attn.q_proj");
    (void)config.scale_of("model.layers.0.self_attn.q_proj");
  } catch (const llm_tp::Error& error) {
    if (error.code() != llm_tp::ExitCode::kBadData) throw;
  }
  return 0;
}
