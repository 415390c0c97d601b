// What is read off a run directory, and how failures are put into words.
#include "lib/sweep/run_state.h"

#include "lib/sweep/command.h"
#include "lib/sweep/failure.h"
#include "tests/sweep/support.h"

#include <gtest/gtest.h>

#include <fstream>

namespace mta {
namespace {

class RunStates : public ::testing::Test {
 protected:
  void write(const std::string& name, const std::string& text) const {
    std::ofstream(folder_.path() / name) << text;
  }
  PointStatus inspect(const Json& config, const Json& given = {}) const {
    return inspect_run(folder_.path(), config, given);
  }

  check::ScratchFolder folder_;
  const Json config_ = {{"train", {{"steps", 5}, {"threads", nullptr}}}, {"name", "a"}};
};

TEST_F(RunStates, FollowTheFilesOfARun) {
  EXPECT_EQ(inspect(config_).state, PointState::Missing);
  write("config.json", R"({"train": {"steps": 5, "threads": 2}, "name": "a"})");
  EXPECT_EQ(inspect(config_).state, PointState::Unfinished);
  EXPECT_EQ(inspect(config_).threads, 2);
  write("report.json", R"({"status": "stopped"})");
  EXPECT_EQ(inspect(config_).state, PointState::Unfinished);
  write("report.json", R"({"status": "failed", "error": "no space"})");
  EXPECT_EQ(inspect(config_).state, PointState::Failed);
  EXPECT_EQ(inspect(config_).error, "no space");
  write("report.json", R"({"status": "done"})");
  EXPECT_EQ(inspect(config_).state, PointState::Done);
}

TEST_F(RunStates, AnotherConfigurationIsNamedKeyByKey) {
  write("config.json", R"({"train": {"steps": 6, "threads": 2}, "name": "a", "old": 1})");
  write("report.json", R"({"status": "done"})");
  const PointStatus status = inspect(config_);
  EXPECT_EQ(status.state, PointState::Changed);
  EXPECT_EQ(status.differences,
            (std::vector<std::string>{"/train/steps is 5, but was 6", "/old is null, but was 1"}));
  // A number of threads that the experiment asks for is part of it.
  Json asked = config_;
  asked["train"] = {{"steps", 6}, {"threads", 4}};
  EXPECT_EQ(inspect(asked).differences.front(), "/train/threads is 4, but was 2");
}

TEST_F(RunStates, AKeyThatTheOlderProgramDidNotHaveCountsOnlyWhereItIsGiven) {
  write("config.json", R"({"train": {"steps": 5, "threads": 2}, "name": "a"})");
  write("report.json", R"({"status": "done"})");
  Json newer = config_;
  newer["train"]["fresh"] = {{"deep", 7}};
  EXPECT_EQ(inspect(newer).state, PointState::Done);
  EXPECT_EQ(inspect(newer, {{"name", "a"}}).state, PointState::Done);
  const Json given = {{"train", {{"fresh", {{"deep", 7}}}}}};
  EXPECT_EQ(inspect(newer, given).differences,
            std::vector<std::string>{R"(/train/fresh is {"deep":7}, but was null)"});
}

TEST_F(RunStates, ProgressComesFromTheLastWholeLines) {
  EXPECT_EQ(run_progress(folder_.path()).step, 0);
  write("metrics.jsonl",
        "{\"step\": 10, \"loss\": 2.5}\n{\"step\": 20, \"loss\": 1.5}\n{\"step\": 3");
  write("evaluations.jsonl", "{\"step\": 15, \"err_seq\": 0.5}\n");
  const RunProgress progress = run_progress(folder_.path());
  EXPECT_EQ(progress.step, 20);
  EXPECT_EQ(progress.loss, 1.5);
  EXPECT_EQ(progress.err_seq, 0.5);
}

TEST(SweepFailures, SayTheMostTellingThing) {
  const PointStatus reported{.state = PointState::Failed, .error = "loss is not finite"};
  EXPECT_EQ(failure_text({.code = 0, .signal = 9}, "mta: error: x\n", {}),
            "killed by signal 9 (Killed)");
  EXPECT_EQ(failure_text({.code = 2}, "noise\nmta: error: a: b\nmta: error: c\n", reported),
            "a: b; c");
  EXPECT_EQ(failure_text({.code = 3}, "noise\n", reported), "loss is not finite");
  EXPECT_EQ(failure_text({.code = 5}, "one\ntwo\n\n", {}), "exit code 5: two");
  EXPECT_EQ(failure_text({.code = 0}, "", {}), "ended before it was done");
}

TEST(SweepCommands, SetWhatThePointSetsAndTheThreadsItWasGiven) {
  SweepPoint point{.name = "a-seed1",
                   .experiment = "exp/a.json",
                   .settings = {{"/train/lr", 0.1}, {"/note", "two words"}},
                   .config = {{"train", {{"threads", nullptr}}}}};
  const SweepRequest request{.out = "runs", .program = {"build/mta"}};
  EXPECT_EQ(shell_text(train_command(point, {}, {.threads = 3, .gpu = {}}, request)),
            "build/mta train exp/a.json --set /train/lr=0.1 --set '/note=two words' "
            "--set /train/threads=3 --out runs/a-seed1 --device auto --progress plain");
  point.config["train"]["threads"] = 4;
  const std::string resumed = shell_text(
      train_command(point, {.state = PointState::Failed}, {.threads = 4, .gpu = {}}, request));
  EXPECT_EQ(resumed.find("threads"), std::string::npos);
  EXPECT_TRUE(resumed.ends_with(" --resume"));
}

}  // namespace
}  // namespace mta
