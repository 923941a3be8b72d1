#pragma once
#include <string>

namespace llm_tp {

/// Keeps two jobs from writing one output, on one host or on several that share a file system.
///
/// A file beside the output names the holder: host, process and a random number. Byte-range locks (POSIX, and
/// flock on network file systems, where it becomes one) are not used: a process loses them when any
/// descriptor of the file is closed, and on cluster file systems they may be off, local to a host, or outlive
/// a host that died. What all of them have is an atomic link(2) and rename(2).
///
/// A holder on this host is alive while its process is. One on another host shows that it lives by touching
/// the file; where that stops for kLeaseSeconds, as this host's clock counts them, the lock is taken from it.
/// Not thread-safe.
class JobLock {
 public:
  static constexpr int kLeaseSeconds = 60;
  /// Errors: kTryAgain where a living job holds it, with its host and process; kIoError.
  explicit JobLock(std::string path);
  /// Gives it back, where it is still ours.
  ~JobLock();
  JobLock(const JobLock&) = delete;
  JobLock& operator=(const JobLock&) = delete;
  /// Shows that the holder lives; call every few seconds. Errors: kTryAgain where the lock was taken from us:
  /// then nothing more may be written.
  void renew();

 private:
  bool still_ours() const;
  std::string path_, identity_;
};

}  // namespace llm_tp
