#include "client/event_reader.h"

#include "base/error.h"

namespace llm_tp {

void EventReader::push(std::string_view bytes) {
  constexpr std::size_t kLongestLine = std::size_t{16} << 20;
  for (std::size_t end; (end = bytes.find('\n')) != std::string_view::npos; bytes.remove_prefix(end + 1)) {
    held_.append(bytes.substr(0, end));
    if (held_.ends_with('\r')) held_.pop_back();
    line(held_);
    held_.clear();
  }
  held_.append(bytes);
  if (held_.size() > kLongestLine)
    throw Error(ExitCode::kIoError, "the server sends a line of over 16 MiB: that is no stream of events");
}

void EventReader::line(std::string_view text) {
  if (text.empty()) {
    if (has_data_) on_data_(data_);
    data_.clear();
    has_data_ = false;
    return;
  }
  constexpr std::string_view kField = "data:";
  if (!text.starts_with(kField)) return;
  text.remove_prefix(kField.size());
  if (text.starts_with(' ')) text.remove_prefix(1);
  if (has_data_) data_ += '\n';
  data_ += text;
  has_data_ = true;
}

}  // namespace llm_tp
