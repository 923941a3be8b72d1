#include <array>
#include <cstddef>
#include <cstdint>
#include <cstdlib>
#include <map>
#include <string>
#include <string_view>

#include "serve/tools/tool_call_parser.h"

namespace {

/// What a client of a stream has at its end.
struct Reply {
  std::string content;
  std::map<std::size_t, std::array<std::string, 3>> calls;  // name, id, arguments
  void add(const llm_tp::ReplyDelta& delta) {
    content += delta.content;
    for (const llm_tp::ToolCallDelta& call : delta.calls) {
      if (call.index > calls.size()) std::abort();
      auto& [name, id, arguments] = calls[call.index];
      name += call.name, id += call.id, arguments += call.arguments;
    }
  }
  friend bool operator==(const Reply&, const Reply&) = default;
};

Reply read(llm_tp::ToolStyle style, std::string_view text, std::size_t piece) {
  const std::vector<llm_tp::Tool> tools{{"tide", {}, false}, {"a", {}, false}};
  llm_tp::ToolCallParser parser(style, tools);
  Reply reply;
  for (std::size_t at = 0; at < text.size(); at += piece) reply.add(parser.push(text.substr(at, piece)));
  reply.add(parser.finish());
  return reply;
}

}  // namespace

/// The first byte chooses the style, the second how long the pieces are that the text comes in: what a model
/// wrote reads the same however it is cut, and nothing is made up.
extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  using llm_tp::ToolStyle;
  if (size < 2) return 0;
  constexpr std::array kStyles{ToolStyle::kHermes, ToolStyle::kLlama3, ToolStyle::kMistralList,
                               ToolStyle::kMistralNamed};
  const ToolStyle style = kStyles[data[0] % kStyles.size()];
  const std::string_view text(reinterpret_cast<const char*>(data) + 2, size - 2);
  const Reply whole = read(style, text, text.size() + 1);
  if (whole != read(style, text, 1 + data[1] % 7u)) std::abort();
  std::size_t told = whole.content.size();
  for (const auto& [index, call] : whole.calls) {
    if (call[0] != "tide" && call[0] != "a") std::abort();
    told += call[2].size();
  }
  if (told > text.size()) std::abort();
  return 0;
}
