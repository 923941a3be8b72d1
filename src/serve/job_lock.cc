#include "serve/job_lock.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <array>
#include <cerrno>
#include <chrono>
#include <csignal>
#include <cstring>
#include <fstream>
#include <sstream>
#include <thread>

#include "base/error.h"
#include "base/log.h"
#include "serve/random_id.h"

namespace llm_tp {
namespace {

std::string first_line(const std::string& path) {
  std::ifstream file(path);
  std::string line;
  std::getline(file, line);
  return line;
}

/// What tells this host's processes from all others: two containers of one name differ in their process ids.
std::string host_identity() {
  std::array<char, 256> name{};
  ::gethostname(name.data(), name.size() - 1);
  std::array<char, 64> pids{};
  if (::readlink("/proc/self/ns/pid", pids.data(), pids.size() - 1) < 0) pids[0] = '-';
  return std::string(name.data()) + " " + first_line("/proc/sys/kernel/random/boot_id") + " " + pids.data();
}

/// When a process started, in the kernel's ticks; empty where it is gone or dead and not yet waited for.
std::string start_of(long pid) {
  const std::string stat = first_line("/proc/" + std::to_string(pid) + "/stat");
  const std::size_t name_end = stat.rfind(')');
  if (name_end == std::string::npos) return {};
  std::istringstream fields(stat.substr(name_end + 1));
  std::string field, state;
  fields >> state;
  for (int i = 4; i <= 22; ++i) fields >> field;
  return state == "Z" || state == "X" ? std::string() : field;
}

/// "host boot pid-namespace pid start nonce" of a lock file; empty where there is none.
struct Holder {
  std::string text, host, pid, start;
  explicit Holder(const std::string& line) : text(line) {
    std::istringstream words(line);
    std::string name, boot, pids;
    words >> name >> boot >> pids >> pid >> start;
    host = name + " " + boot + " " + pids;
  }
  std::string name() const { return host.substr(0, host.find(' ')); }
};

std::string last_touched(const std::string& path) {
  struct stat status {};
  if (::stat(path.c_str(), &status) != 0) return {};
  return std::to_string(status.st_mtim.tv_sec) + "." + std::to_string(status.st_mtim.tv_nsec);
}

bool is_alive(const std::string& path, const Holder& holder) {
  if (holder.start.empty()) return false;  // its writer died while it wrote
  if (holder.host == host_identity()) return start_of(std::atol(holder.pid.c_str())) == holder.start;
  log_info(path + " belongs to a job on " + holder.name() + "; watching for " +
           std::to_string(JobLock::kLeaseSeconds) + " s whether it lives");
  const std::string before = last_touched(path);
  for (int second = 0; second < JobLock::kLeaseSeconds; ++second) {
    std::this_thread::sleep_for(std::chrono::seconds(1));
    if (last_touched(path) != before) return true;
  }
  return false;
}

void write_whole(const std::string& path, const std::string& text) {
  const int file = ::open(path.c_str(), O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0644);
  const bool written = file >= 0 &&
                       ::write(file, text.data(), text.size()) == static_cast<ssize_t>(text.size()) &&
                       ::fsync(file) == 0;
  const int reason = errno;
  if (file >= 0) ::close(file);
  if (!written)
    throw Error(ExitCode::kIoError, path + ": cannot write the job's lock: " + std::strerror(reason));
}

}  // namespace

JobLock::JobLock(std::string path) : path_(std::move(path)) {
  const long pid = ::getpid();
  const std::string nonce = random_id("");
  identity_ = host_identity() + " " + std::to_string(pid) + " " + start_of(pid) + " " + nonce;
  const std::string mine = path_ + "." + nonce;
  write_whole(mine, identity_ + "\n");
  std::string refused;
  for (int attempt = 0; attempt < 5 && !still_ours() && refused.empty(); ++attempt) {
    // Its answer is not asked: on a network file system the link may be there although the call failed.
    static_cast<void>(::link(mine.c_str(), path_.c_str()));
    if (still_ours()) break;
    const Holder holder(first_line(path_));
    if (holder.text.empty() && last_touched(path_).empty()) continue;  // given back meanwhile
    if (is_alive(path_, holder)) {
      refused = "process " + holder.pid + " on " + holder.name() + " writes this output";
      break;
    }
    const std::string stale = mine + ".stale";
    if (::rename(path_.c_str(), stale.c_str()) != 0) continue;
    // Between the look and the rename another job may have come first: it gets its lock back.
    if (first_line(stale) != holder.text) static_cast<void>(::link(stale.c_str(), path_.c_str()));
    ::unlink(stale.c_str());
  }
  ::unlink(mine.c_str());
  if (!still_ours())
    throw Error(ExitCode::kTryAgain, path_ + ": " + (refused.empty() ? "other jobs took the lock" : refused) +
                                         "; wait for it, or give another --output");
}

bool JobLock::still_ours() const { return first_line(path_) == identity_; }

void JobLock::renew() {
  if (!still_ours())
    throw Error(ExitCode::kTryAgain,
                path_ + ": another job took over this output; stopping before anything is written twice");
  static_cast<void>(::utimensat(AT_FDCWD, path_.c_str(), nullptr, 0));
}

JobLock::~JobLock() {
  if (still_ours()) ::unlink(path_.c_str());
}

}  // namespace llm_tp
