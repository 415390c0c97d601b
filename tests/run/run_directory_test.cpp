// Who may work in a run's folder, and what may go on there.
#include "lib/run/run_directory.h"

#include "lib/core/error.h"
#include "tests/support/scratch_folder.h"

#include <gtest/gtest.h>
#include <sys/wait.h>
#include <unistd.h>

#include <fstream>

namespace mta {
namespace {

std::string refusal(const RunFiles& files, const Json& config, bool resume) {
  try {
    check_may_run(files, config, resume);
  } catch (const UserError& error) {
    std::string lines;
    for (const Problem& problem : error.problems()) lines += to_string(problem) + '\n';
    return lines;
  }
  return {};
}

TEST(RunDirectory, OneProcessAtATime) {
  const check::ScratchFolder scratch;
  const RunFiles files(scratch.path() / "run");
  {
    const RunLock lock(files);
    try {
      const RunLock second(files);
      FAIL() << "two at a time";
    } catch (const UserError& error) {
      EXPECT_NE(std::string(error.what()).find("another process"), std::string::npos);
    }
  }
  const RunLock after(files);
}

TEST(RunDirectory, TheLockOfADeadProcessDoesNotHold) {
  const check::ScratchFolder scratch;
  const RunFiles files(scratch.path() / "run");
  const pid_t child = ::fork();
  if (child == 0) {
    const RunLock lock(files);
    ::kill(::getpid(), SIGKILL);
  }
  int status = 0;
  ASSERT_EQ(::waitpid(child, &status, 0), child);
  ASSERT_TRUE(WIFSIGNALED(status));
  ASSERT_TRUE(std::filesystem::exists(files.lock));
  const RunLock lock(files);
}

TEST(RunDirectory, AFolderThatCannotBeMadeIsNamed) {
  const check::ScratchFolder scratch;
  std::ofstream(scratch.path() / "file") << "x";
  try {
    const RunLock lock(RunFiles(scratch.path() / "file" / "run"));
    FAIL() << "made";
  } catch (const UserError& error) {
    EXPECT_NE(std::string(error.what()).find("cannot be made"), std::string::npos) << error.what();
  }
}

TEST(RunDirectory, AnUnfinishedRunNeedsResume) {
  const check::ScratchFolder scratch;
  const RunFiles files(scratch.path());
  const Json config = {{"train", {{"steps", 5}}}};
  EXPECT_EQ(refusal(files, config, false), "");
  std::ofstream(files.config) << config.dump();
  EXPECT_NE(refusal(files, config, false).find("--resume"), std::string::npos);
  EXPECT_EQ(refusal(files, config, true), "");
}

TEST(RunDirectory, EveryKeyThatChangedIsNamed) {
  const check::ScratchFolder scratch;
  const RunFiles files(scratch.path());
  std::ofstream(files.config) << R"({"name": "a", "train": {"steps": 5, "lr": 0.1, "old": 1}})";
  const Json now = {{"name", "a"}, {"train", {{"steps", 6}, {"lr", 0.1}, {"clip", 1}}}};
  const std::string lines = refusal(files, now, true);
  EXPECT_NE(lines.find("/train/steps is 6, but was 5"), std::string::npos) << lines;
  EXPECT_NE(lines.find("/train/clip is 1, but was null"), std::string::npos) << lines;
  EXPECT_NE(lines.find("/train/old is null, but was 1"), std::string::npos) << lines;
  EXPECT_EQ(lines.find("/train/lr"), std::string::npos) << lines;
}

TEST(RunDirectory, HashesTellConfigurationsApart) {
  EXPECT_EQ(config_hash({{"a", 1}}), config_hash({{"a", 1}}));
  EXPECT_NE(config_hash({{"a", 1}}), config_hash({{"a", 2}}));
  EXPECT_EQ(config_hash({{"a", 1}}).size(), 16u);
}

}  // namespace
}  // namespace mta
