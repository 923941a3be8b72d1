#include "serve/job_lock.h"

#include <gtest/gtest.h>
#include <sys/wait.h>
#include <unistd.h>

#include <csignal>
#include <filesystem>

#include "base/error.h"
#include "temporary_folder.h"

namespace llm_tp {
namespace {

bool taken(const std::string& path) {
  try {
    const JobLock lock(path);
    return true;
  } catch (const Error& error) {
    EXPECT_EQ(error.code(), ExitCode::kTryAgain);
    return false;
  }
}

TEST(JobLock, OneHolderAtATime) {
  const TemporaryFolder folder;
  const std::string path = folder / "out.lock";
  {
    JobLock lock(path);
    EXPECT_FALSE(taken(path));
    lock.renew();
  }
  EXPECT_FALSE(std::filesystem::exists(path));
  EXPECT_TRUE(taken(path));
}

TEST(JobLock, AKilledHolderLosesIt) {
  const TemporaryFolder folder;
  const std::string path = folder / "out.lock";
  std::array<int, 2> pipe{};
  ASSERT_EQ(::pipe(pipe.data()), 0);
  const pid_t child = ::fork();
  if (child == 0) {
    const JobLock lock(path);
    const char ready = 1;
    if (::write(pipe[1], &ready, 1) != 1) ::_exit(1);
    for (;;) ::pause();
  }
  char ready = 0;
  ASSERT_EQ(::read(pipe[0], &ready, 1), 1);
  EXPECT_FALSE(taken(path));
  ::kill(child, SIGKILL);
  siginfo_t info{};
  ASSERT_EQ(::waitid(P_PID, static_cast<id_t>(child), &info, WEXITED | WNOWAIT),
            0);  // dead, and not waited for yet
  EXPECT_TRUE(taken(path));
  ::waitpid(child, nullptr, 0);
  ::close(pipe[0]);
  ::close(pipe[1]);
}

TEST(JobLock, AHalfWrittenLockBelongsToNobody) {
  const TemporaryFolder folder;
  const std::string path = folder / "out.lock";
  write_file(path, "host boot");
  EXPECT_TRUE(taken(path));
}

TEST(JobLock, AHolderThatWasRobbedStops) {
  const TemporaryFolder folder;
  const std::string path = folder / "out.lock";
  JobLock lock(path);
  write_file(path, "another host with another process\n");
  EXPECT_THROW(lock.renew(), Error);
}

TEST(JobLock, NothingIsLeftInTheFolder) {
  const TemporaryFolder folder;
  const std::string path = folder / "out.lock";
  {
    const JobLock lock(path);
    EXPECT_FALSE(taken(path));
  }
  EXPECT_TRUE(std::filesystem::is_empty(std::filesystem::path(path).parent_path()));
}

}  // namespace
}  // namespace llm_tp
