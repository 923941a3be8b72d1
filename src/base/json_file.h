#pragma once
#include <filesystem>
#include <nlohmann/json_fwd.hpp>
#include <string>
#include <string_view>

namespace llm_tp {

/// A small JSON file of a model folder that must hold an object. Errors: those of MappedFile and of
/// parse_json_object.
nlohmann::json read_json_object(const std::filesystem::path& path);

/// Errors: kBadData, which begins with `where`, for text that is larger than 16 MiB, nested deeper than 32
/// levels, not JSON or not an object, or in which an object holds a key twice.
nlohmann::json parse_json_object(std::string_view text, const std::string& where);

}  // namespace llm_tp
