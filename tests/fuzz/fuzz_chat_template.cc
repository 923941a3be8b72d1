#include <cstddef>
#include <cstdint>
#include <string>

#include "base/error.h"
#include "text/chat_template.h"

namespace {

constexpr const char* kMessages = R"([
  {"role": "system", "content": "Answer in one line."},
  {"role": "user", "content": "What is 2 + 2?\n \u00e9\ud83d\ude42"},
  {"role": "assistant", "content": null, "tool_calls": [
    {"id": "call00001", "type": "function", "function": {"name": "add", "arguments": {"a": 2, "b": 2.5}}}]},
  {"role": "tool", "content": [1, true, null, 1e300], "tool_call_id": "call00001"},
  {"role": "user", "content": ""}])";
constexpr const char* kVariables = R"({
  "tools": [{"type": "function", "function": {"name": "add", "description": "Adds <two>.", "parameters":
    {"type": "object", "properties": {"a": {"type": "number"}}, "required": ["a"]}}}],
  "documents": [{"title": "T", "text": "x"}], "date_string": "26 Jul 2024"})";

}  // namespace

/// Any bytes are a template, or an Error kBadData of one line. What stands behind the first NUL is rendered
/// as the messages, if there is one. A render within the limits ends soon and in little memory.
extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  const std::string input(reinterpret_cast<const char*>(data), size);
  const std::size_t end = input.find('\0');
  const std::string messages = end == std::string::npos ? kMessages : input.substr(end + 1);
  llm_tp::ChatOptions options;
  options.add_generation_prompt = true;
  options.bos_token = "<s>";
  options.eos_token = "</s>";
  try {
    const llm_tp::ChatTemplate chat(input.substr(0, end));
    chat.render(messages, options, kVariables);
  } catch (const llm_tp::Error& error) {
    if (error.code() != llm_tp::ExitCode::kBadData) throw;
  }
  return 0;
}
