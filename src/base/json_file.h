#pragma once
#include <filesystem>
#include <nlohmann/json_fwd.hpp>

namespace llm_tp {

/// A small JSON file of a model folder that must hold an object. Errors: those of MappedFile; kBadData where
/// it is larger than 16 MiB, nested deeper than 32 levels, not JSON or not an object.
nlohmann::json read_json_object(const std::filesystem::path& path);

}  // namespace llm_tp
