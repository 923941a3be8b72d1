#pragma once
#include <functional>
#include <string>
#include <string_view>

namespace llm_tp {

/// The data of server-sent events (WHATWG HTML, 9.2) out of bytes that come in any pieces. Other fields are
/// skipped; a field's line may have 16 MiB.
class EventReader {
 public:
  using OnData = std::function<void(std::string_view data)>;
  explicit EventReader(OnData on_data) : on_data_(std::move(on_data)) {}
  /// Errors: kIoError for a longer line.
  void push(std::string_view bytes);

 private:
  void line(std::string_view text);
  OnData on_data_;
  std::string held_;  // of a line whose end has not come yet
  std::string data_;  // of an event that has not ended yet
  bool has_data_ = false;
};

}  // namespace llm_tp
