#pragma once
#include <stdexcept>
#include <string>

namespace llm_tp {

/// Process exit codes (sysexits.h); a batch system may requeue on kTryAgain alone.
enum class ExitCode : int {
  kOk = 0,
  kUsage = 64,        // wrong flags or request
  kBadData = 65,      // broken or unsupported model, tokenizer or input file
  kMissingFile = 66,  // a file that was named does not exist or cannot be read
  kUnavailable = 69,  // no device, no peer
  kBug = 70,          // an invariant of ours does not hold
  kOutOfMemory = 71,
  kIoError = 74,
  kTryAgain = 75,  // drained, preempted, or a rank was lost: run it again
  kConfig = 78,    // wrong YAML
};

/// A failure that ends what was asked for. The message is one line that states what was found, what was
/// wanted, where, and what to do. Thrown for broken set-ups, files and devices; expected outcomes are values.
class Error : public std::runtime_error {
 public:
  Error(ExitCode code, const std::string& message) : std::runtime_error(message), code_(code) {}
  ExitCode code() const noexcept { return code_; }

 private:
  ExitCode code_;
};

/// Throws Error(kBug) with file and line: for invariants of our own, never for a user's mistake.
[[noreturn]] void throw_bug(const char* condition, const char* file, int line, const std::string& detail);

}  // namespace llm_tp

/// Checks an invariant of our own in every build type. LLM_TP_CHECK(rows == out.shape[0], "linear: rows")
#define LLM_TP_CHECK(condition, detail)                                            \
  do {                                                                             \
    if (!(condition)) ::llm_tp::throw_bug(#condition, __FILE__, __LINE__, detail); \
  } while (false)
