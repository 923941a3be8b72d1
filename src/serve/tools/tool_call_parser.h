#pragma once
#include <cstddef>
#include <string>
#include <string_view>
#include <vector>

#include "serve/tools/call_object.h"
#include "serve/tools/tool.h"
#include "serve/tools/tool_style.h"

namespace llm_tp {

/// What a piece of text added to one call.
struct ToolCallDelta {
  std::size_t index = 0;  // of the call in the reply
  std::string name;       // once a call, with its first delta
  std::string id;         // with the name, where the model wrote one
  std::string arguments;  // more of the arguments' JSON, as the model wrote it
};

struct ReplyDelta {
  std::string content;
  std::vector<ToolCallDelta> calls;  // ascending, one an index
};

/// Takes the calls of functions out of a model's text while it comes. What cannot become a call any more is
/// content, to the byte: a reply without calls is its text. A call begins to be one when its name, which must
/// be one of `tools`, and the first byte of its arguments are known; arguments that break JSON's rules later
/// end there, and the rest is content. Blanks before a call, and those that only a call or the end follows,
/// are nobody's. The deltas of any way to cut a text add up to the same.
class ToolCallParser {
 public:
  /// `tools` is borrowed.
  ToolCallParser(ToolStyle style, const std::vector<Tool>& tools);
  ReplyDelta push(std::string_view text);
  /// What is held back, at the end of the text: what is a call by then stays one, with the arguments that it
  /// has.
  ReplyDelta finish();

 private:
  enum class At {
    kText,           // outside of calls
    kOpen,           // behind the marker
    kObject,         // inside {"name": …}
    kFirstItem,      // of a list of calls: an object
    kNextItem,       // a comma or the end of the list
    kName,           // of [TOOL_CALLS]name
    kMark,           // inside [ARGS] or [CALL_ID]
    kId,             // behind [CALL_ID]
    kBareArguments,  // the arguments alone
    kClose           // behind a call: </tool_call> may follow
  };
  void take(char byte);
  void in_text(char byte);
  void in_open(char byte);
  void in_object(char byte);
  void in_list(char byte);
  void in_name(char byte);
  void in_mark(char byte);
  void begin_bare_arguments(char byte);
  void in_bare_arguments(char byte);
  void in_close(char byte);

  void pass(char byte);
  void begin_object(char byte);
  bool knows(std::string_view name) const;
  void begin_call(const std::string& name);
  void add_arguments(std::string_view more);
  void end_call();
  void no_call(char byte);

  const ToolStyle style_;
  const std::vector<Tool>& tools_;
  const std::string_view marker_;
  At at_ = At::kText;
  std::string blanks_;    // of the content, held until something follows
  std::string pending_;   // what may become the marker
  std::string held_;      // what is content if no call comes of it
  bool in_call_ = false;  // the call is one: nothing is held
  bool in_list_ = false;
  bool marked_ = false;    // the marker stood before the object
  bool plain_ = false;     // text that is no blank since the last call, or since the start
  std::size_t calls_ = 0;  // that began
  CallObject object_;
  JsonScanner bare_;
  std::string name_, id_, mark_;
  std::size_t told_ = 0;  // bytes of object_'s arguments that were given
  ReplyDelta delta_;
};

}  // namespace llm_tp
