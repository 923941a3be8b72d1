#pragma once
#include <string>

namespace llm_tp {

/// Log lines go to stderr, "llm-tp: …", one write a line so that the lines of ranks never mix. Any thread may
/// log. Control characters become spaces, and of a message beyond 2,000 bytes the middle is left out.
enum class LogLevel { kError = 0, kWarning = 1, kInfo = 2, kDebug = 3 };

/// What is printed: messages up to this level. Ranks other than 0 should ask for kError. Default kInfo.
void set_log_level(LogLevel level) noexcept;
void log(LogLevel level, const std::string& message);
inline void log_info(const std::string& message) { log(LogLevel::kInfo, message); }
inline void log_warning(const std::string& message) { log(LogLevel::kWarning, "warning: " + message); }
/// The one line that every failure ends with: "llm-tp: error: …".
inline void log_error(const std::string& message) { log(LogLevel::kError, "error: " + message); }

}  // namespace llm_tp
