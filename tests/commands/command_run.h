#pragma once
#include <sys/types.h>

#include <nlohmann/json.hpp>
#include <string>
#include <vector>

namespace llm_tp {

/// How a process of the program ended, and what it said.
struct Ended {
  int code = -1;  // 128 + signal where a signal ended it, as a shell says
  std::string out, err;
  nlohmann::json json() const { return nlohmann::json::parse(out); }
  /// The lines "llm-tp: error: …".
  std::vector<std::string> errors() const;
};

/// True where `ranks` processes can be started here; tests of several ranks skip otherwise.
bool can_start_ranks();

/// llm-tp with these words; 0 ranks: without a launcher. `out`: a file that stdout goes to instead.
Ended run_command_line(int ranks, const std::vector<std::string>& words, const std::string& input = "",
                       const std::string& out = "");

/// llm-tp under mpirun, still running.
class RunningRanks {
 public:
  RunningRanks(int ranks, const std::vector<std::string>& words);
  ~RunningRanks();
  RunningRanks(const RunningRanks&) = delete;
  RunningRanks& operator=(const RunningRanks&) = delete;

  /// Returns once the program has written so many bytes to stdout, or ended.
  void wait_for_output(std::size_t bytes);
  pid_t launcher() const { return launcher_; }
  /// Process of each rank, in rank order.
  std::vector<pid_t> ranks() const;
  /// Waits for the launcher's end.
  Ended end();

 private:
  int world_;
  pid_t launcher_ = -1;
  int out_ = -1;
  std::string folder_, said_;
};

/// The process has ended, or ends within ten seconds: a launcher may be gone before the last of its ranks.
bool ends_soon(pid_t process);

}  // namespace llm_tp
