#pragma once
#include <memory>
#include <string>
#include <vector>

namespace llm_tp {

struct ChatMessage {
  std::string role, content;
};

struct ChatOptions {
  bool add_generation_prompt = false;
  std::string bos_token, eos_token;  // texts, as the template's variables
};

/// A Jinja2 template of a model's chat format, of the subset that such templates use, rendered byte for byte
/// as Jinja2 does with trim_blocks and lstrip_blocks (as transformers sets them). Immutable; any thread may
/// render.
class ChatTemplate {
 public:
  /// Errors: kBadData with line and column for syntax outside the subset.
  explicit ChatTemplate(const std::string& source);
  ~ChatTemplate();
  /// messages_json: a JSON list of messages as in OpenAI's API (role, content, tool_calls…), kept in its key
  /// order. extra_json: an object of more variables (tools, documents…), may be empty. Errors: kBadData from
  /// raise_exception (its message) and undefined operations, with line.
  std::string render(const std::string& messages_json, const ChatOptions& options,
                     const std::string& extra_json = "") const;
  std::string render(const std::vector<ChatMessage>& messages, const ChatOptions& options) const;

 private:
  struct Program;
  std::unique_ptr<Program> program_;
};

}  // namespace llm_tp
