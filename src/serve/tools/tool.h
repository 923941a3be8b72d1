#pragma once
#include <cstddef>
#include <optional>
#include <string>
#include <vector>

namespace llm_tp {

/// A function that a model may call.
struct Tool {
  std::string name;
  std::string parameters;  // JSON schema of its arguments; empty: it has none
  bool strict = false;     // the arguments must validate
};

/// What a chat says of tools.
struct ToolRequest {
  enum class Choice { kNone, kAuto, kRequired };
  std::vector<Tool> tools;  // of different names
  std::string json;         // as the chat template gets them; empty where there are none
  Choice choice = Choice::kNone;
  std::optional<std::size_t> only;  // kRequired: the one tool that must be called
  bool parallel = true;             // several calls in one reply

  /// Whether the model learns of the tools and its calls are read.
  bool in_use() const noexcept { return choice != Choice::kNone; }
};

}  // namespace llm_tp
