#include "command_run.h"

#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <sstream>
#include <stdexcept>

namespace llm_tp {
namespace {

std::string content(const std::string& path) {
  std::ifstream in(path, std::ios::binary);
  return {std::istreambuf_iterator<char>(in), {}};
}

std::string new_folder() {
  std::string name = (std::filesystem::temp_directory_path() / "llm-tp-commands-XXXXXX").string();
  if (::mkdtemp(name.data()) == nullptr) throw std::runtime_error("no temporary folder");
  return name;
}

/// Settings that mpirun wants in containers and on few cores, as launch/run.sh has them.
void set_launcher_environment() {
  for (const char* name :
       {"OMPI_ALLOW_RUN_AS_ROOT", "OMPI_ALLOW_RUN_AS_ROOT_CONFIRM", "OMPI_MCA_rmaps_base_oversubscribe"})
    ::setenv(name, "1", 1);
  ::setenv("OMPI_MCA_btl_vader_single_copy_mechanism", "none", 1);
  ::setenv("OMPI_MCA_oob_tcp_if_include", "lo", 1);
  ::setenv("OMPI_MCA_btl_tcp_if_include", "lo", 1);
  // Open MPI keeps memory until the end of the process, which is no leak of ours.
  ::setenv("ASAN_OPTIONS", "detect_leaks=0", 1);
}

std::vector<std::string> command_of(int ranks, const std::vector<std::string>& words) {
  std::vector<std::string> command;
  if (ranks > 0) command = {LLM_TP_MPIRUN, "--oversubscribe", "-np", std::to_string(ranks)};
  command.emplace_back(LLM_TP_ENGINE);
  command.insert(command.end(), words.begin(), words.end());
  return command;
}

int open_file(const std::string& path, int flags) {
  const int file = ::open(path.c_str(), flags | O_CLOEXEC, 0600);
  if (file < 0) throw std::runtime_error(path + " cannot be opened");
  return file;
}

/// Starts the command with these files as stdin, stdout and stderr; closes them here.
pid_t start(const std::vector<std::string>& command, std::array<int, 3> files) {
  set_launcher_environment();
  std::vector<char*> words;
  for (const std::string& word : command) words.push_back(const_cast<char*>(word.c_str()));
  words.push_back(nullptr);
  const pid_t child = ::fork();
  if (child < 0) throw std::runtime_error("fork");
  if (child == 0) {
    for (int i = 0; i < 3; ++i) ::dup2(files[static_cast<std::size_t>(i)], i);
    ::execvp(words[0], words.data());
    ::_exit(127);
  }
  for (const int file : files) ::close(file);
  return child;
}

int exit_code_of(pid_t child) {
  int status = 0;
  while (::waitpid(child, &status, 0) < 0 && errno == EINTR) {
  }
  return WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status);
}

}  // namespace

std::vector<std::string> Ended::errors() const {
  std::vector<std::string> lines;
  std::istringstream in(err);
  for (std::string line; std::getline(in, line);)
    if (line.starts_with("llm-tp: error: ")) lines.push_back(line);
  return lines;
}

bool can_start_ranks() { return !std::string(LLM_TP_MPIRUN).empty(); }

Ended run_command_line(int ranks, const std::vector<std::string>& words, const std::string& input,
                       const std::string& out) {
  const std::string folder = new_folder();
  std::ofstream(folder + "/in", std::ios::binary) << input;
  const pid_t child =
      start(command_of(ranks, words), {open_file(folder + "/in", O_RDONLY),
                                       open_file(out.empty() ? folder + "/out" : out, O_WRONLY | O_CREAT),
                                       open_file(folder + "/err", O_WRONLY | O_CREAT | O_APPEND)});
  Ended ended;
  ended.code = exit_code_of(child);
  if (out.empty()) ended.out = content(folder + "/out");
  ended.err = content(folder + "/err");
  std::filesystem::remove_all(folder);
  return ended;
}

RunningRanks::RunningRanks(int ranks, const std::vector<std::string>& words)
    : world_(ranks), folder_(new_folder()) {
  std::array<int, 2> ends{};
  if (::pipe2(ends.data(), O_CLOEXEC) != 0) throw std::runtime_error("pipe");
  out_ = ends[0];
  launcher_ = start(command_of(ranks, words), {open_file("/dev/null", O_RDONLY), ends[1],
                                               open_file(folder_ + "/err", O_WRONLY | O_CREAT | O_APPEND)});
}

RunningRanks::~RunningRanks() {
  if (launcher_ > 0) {
    ::kill(launcher_, SIGKILL);
    exit_code_of(launcher_);
  }
  ::close(out_);
  std::filesystem::remove_all(folder_);
}

void RunningRanks::wait_for_output(std::size_t bytes) {
  std::array<char, 4096> part{};
  while (said_.size() < bytes) {
    const ssize_t n = ::read(out_, part.data(), part.size());
    if (n <= 0) return;
    said_.append(part.data(), static_cast<std::size_t>(n));
  }
}

std::vector<pid_t> RunningRanks::ranks() const {
  std::vector<pid_t> ranks(static_cast<std::size_t>(world_), -1);
  const std::string id = std::to_string(launcher_);
  std::istringstream children(content("/proc/" + id + "/task/" + id + "/children"));
  for (pid_t child = 0; children >> child;) {
    const std::string environment = content("/proc/" + std::to_string(child) + "/environ");
    const std::string name = "OMPI_COMM_WORLD_RANK=";
    if (const auto at = environment.find(name); at != std::string::npos)
      ranks.at(static_cast<std::size_t>(std::atoi(environment.c_str() + at + name.size()))) = child;
  }
  return ranks;
}

Ended RunningRanks::end() {
  Ended ended;
  // Ranks that nobody reads from would wait for ever in a full pipe.
  wait_for_output(std::string::npos);
  ended.code = exit_code_of(launcher_);
  launcher_ = -1;
  ended.out = said_;
  ended.err = content(folder_ + "/err");
  return ended;
}

bool ends_soon(pid_t process) {
  const int handle = static_cast<int>(::syscall(SYS_pidfd_open, process, 0));
  if (handle < 0) return errno == ESRCH;
  pollfd end{handle, POLLIN, 0};
  const bool ended = ::poll(&end, 1, 10'000) == 1;
  ::close(handle);
  return ended;
}

}  // namespace llm_tp
