#include "serve/journal.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <filesystem>
#include <utility>

#include "base/error.h"
#include "serve/json_text.h"

namespace llm_tp {
namespace {

/// custom_id of a record; empty where the line is none.
std::string id_of_record(const std::string& line) {
  const Json record = Json::parse(line, nullptr, false);
  if (!record.is_object()) return {};
  const auto id = record.find("custom_id");
  return id != record.end() && id->is_string() ? id->get<std::string>() : std::string();
}

std::uint64_t mixed(std::uint64_t x) noexcept {  // the finaliser of SplitMix64 (Steele et al. 2014)
  x = (x ^ (x >> 30)) * 0xbf58476d1ce4e5b9u;
  x = (x ^ (x >> 27)) * 0x94d049bb133111ebu;
  return x ^ (x >> 31);
}

void sync_folder_of(const std::string& path) {
  std::filesystem::path folder = std::filesystem::path(path).parent_path();
  if (folder.empty()) folder = ".";
  const int handle = ::open(folder.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC);
  if (handle < 0) return;
  ::fsync(handle);
  ::close(handle);
}

}  // namespace

TextDigest TextDigest::of(std::string_view text) noexcept {
  std::uint64_t a = 0x9e3779b97f4a7c15u, b = text.size() + 0x6a09e667f3bcc909u;
  for (std::size_t at = 0; at < text.size(); at += sizeof(std::uint64_t)) {
    std::uint64_t word = 0;
    std::memcpy(&word, text.data() + at, std::min(sizeof word, text.size() - at));
    a = mixed(a ^ word);
    b = mixed(b + word) * 3;
  }
  return {a, mixed(b ^ a)};
}

Journal::Journal(std::string path) : path_(std::move(path)) {
  file_ = ::open(path_.c_str(), O_RDWR | O_CREAT | O_APPEND | O_CLOEXEC, 0644);
  if (file_ < 0) fail("cannot be opened for writing", errno);
  try {
    learn();
  } catch (...) {
    ::close(file_);
    throw;
  }
  sync_folder_of(path_);
}

Journal::~Journal() {
  if (file_ >= 0) ::close(file_);
}

void Journal::fail(const char* what, int reason) {
  const bool full = reason == ENOSPC || reason == EDQUOT;
  throw Error(full ? ExitCode::kTryAgain : ExitCode::kIoError,
              path_ + ": " + what + ": " + std::strerror(reason) +
                  (full ? "; make room and run the job again: it goes on where it stopped" : ""));
}

/// Only the end can be torn: everything before was whole when the next record was appended.
void Journal::learn() {
  LineReader lines(path_);
  std::string line;
  std::int64_t first_bad = 0;
  while (lines.next(line)) {
    const std::string id = lines.ended() ? id_of_record(line) : std::string();
    if (id.empty()) {
      if (first_bad == 0) first_bad = lines.number();
      continue;
    }
    if (first_bad != 0)
      throw Error(ExitCode::kBadData,
                  path_ + ":" + std::to_string(first_bad) +
                      ": not a record of a batch job, but whole records follow; give another "
                      "--output, or mend the file");
    met_.emplace(TextDigest::of(id), false);
    ++records_;
    size_ = lines.offset();
  }
  cut_bytes_ = lines.size() - size_;
  if (first_bad != 0 && records_ == 0 && first_bad != lines.number())
    throw Error(ExitCode::kBadData,
                path_ + ": holds something else than records of a batch job; give another --output");
  if (cut_bytes_ > 0 && ::ftruncate(file_, size_) != 0) fail("cannot cut off a torn line", errno);
}

Journal::Meeting Journal::meet(std::string_view custom_id) {
  const auto [at, is_new] = met_.emplace(TextDigest::of(custom_id), true);
  if (is_new) return Meeting::kNew;
  return std::exchange(at->second, true) ? Meeting::kRepeated : Meeting::kAnswered;
}

void Journal::append(std::string record) {
  record += '\n';
  for (std::size_t done = 0; done < record.size();) {
    const ssize_t n = ::write(file_, record.data() + done, record.size() - done);
    if (n < 0 && errno == EINTR) continue;
    if (n <= 0) {
      const int reason = n == 0 ? EIO : errno;
      static_cast<void>(
          ::ftruncate(file_, size_));  // nothing half; where this fails too, the next start does it
      fail("cannot be written", reason);
    }
    done += static_cast<std::size_t>(n);
  }
  size_ += static_cast<std::int64_t>(record.size());
  ++records_;
  dirty_ = true;
}

void Journal::sync() {
  if (!dirty_) return;
  if (::fsync(file_) != 0) fail("cannot be synced", errno);
  dirty_ = false;
}

LineReader::LineReader(const std::string& path) : path_(path) {
  file_ = ::open(path.c_str(), O_RDONLY | O_CLOEXEC);
  if (file_ < 0) throw Error(ExitCode::kMissingFile, path + ": cannot be read: " + std::strerror(errno));
  struct stat status {};
  if (::fstat(file_, &status) == 0) size_ = status.st_size;
}

LineReader::~LineReader() { ::close(file_); }

bool LineReader::next(std::string& line) {
  constexpr std::size_t kPart = std::size_t{1} << 16;
  line.clear();
  too_long_ = ended_ = false;
  bool any = false;
  while (true) {
    const std::size_t newline = buffer_.find('\n', at_);
    const std::size_t end = newline == std::string::npos ? buffer_.size() : newline;
    any = any || end > at_ || newline != std::string::npos;
    if (!too_long_) line.append(buffer_, at_, end - at_);
    if (line.size() > kLongestLine) too_long_ = true, line.clear(), line.shrink_to_fit();
    offset_ += static_cast<std::int64_t>(end - at_);
    if (newline != std::string::npos) {
      at_ = newline + 1;
      ++offset_, ++number_;
      ended_ = true;
      return true;
    }
    if (end_of_file_) {
      at_ = buffer_.size();
      number_ += any ? 1 : 0;
      return any;
    }
    buffer_.resize(kPart);
    at_ = 0;
    ssize_t n = 0;
    do n = ::read(file_, buffer_.data(), kPart);
    while (n < 0 && errno == EINTR);
    if (n < 0) throw Error(ExitCode::kIoError, path_ + ": cannot be read: " + std::strerror(errno));
    buffer_.resize(static_cast<std::size_t>(n));
    end_of_file_ = n == 0;
  }
}

}  // namespace llm_tp
