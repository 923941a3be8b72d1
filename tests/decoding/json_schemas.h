#pragma once
#include <nlohmann/json.hpp>
#include <random>

namespace llm_tp {

/// A schema with the keywords that are supported; texts that fit it end soon.
nlohmann::ordered_json random_schema(std::mt19937& random, int depth);

/// Whether the value validates, for the keywords that random_schema uses.
bool fits(const nlohmann::ordered_json& value, const nlohmann::ordered_json& schema);

}  // namespace llm_tp
