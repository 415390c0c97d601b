// Sweeps that are killed, interrupted, or started twice at once.
#include "lib/core/rng.h"
#include "tests/sweep/process_support.h"

#include <gtest/gtest.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <chrono>
#include <csignal>
#include <sstream>
#include <thread>

namespace mta {
namespace {

using check::ended_once;
using check::fake_request;
using check::history;
using check::report;
using std::chrono::milliseconds;

constexpr int kAllDone = 40, kNotAllDone = 41, kInterrupted = 42;

/// Runs a sweep in a process of its own, as a shell would.
pid_t sweep_process(const std::vector<SweepPoint>& points, const SweepRequest& request) {
  const pid_t process = ::fork();
  if (process != 0) return process;
  std::ostringstream log;
  const SweepResult result = run_points(points, request, log);
  if (result.interrupted) ::_exit(kInterrupted);
  ::_exit(result.done == result.points ? kAllDone : kNotAllDone);
}

int wait_for(pid_t process) {
  int status = 0;
  ::waitpid(process, &status, 0);
  return WIFEXITED(status) ? WEXITSTATUS(status) : -WTERMSIG(status);
}

class KilledSweeps : public ::testing::Test {
 protected:
  /// kill -9 for the sweep and every run that it has started, as far as they live.
  void kill_all(pid_t sweep, const std::vector<SweepPoint>& points) const {
    ::kill(sweep, SIGKILL);
    wait_for(sweep);
    for (const SweepPoint& point : points) {
      std::ifstream file(request_.out / point.name / "pid");
      pid_t run = 0;
      // Only a process that is still this fake: its number may belong to somebody else by now.
      if (!(file >> run)) continue;
      std::error_code ignored;
      const auto program =
          std::filesystem::read_symlink("/proc/" + std::to_string(run) + "/exe", ignored);
      if (program.filename() == "fake_train") ::kill(run, SIGKILL);
    }
  }

  check::SweepFolder folder_;
  SweepRequest request_ = fake_request(folder_, 3);
};

TEST_F(KilledSweeps, EndAsIfTheyHadNeverBeen) {
  const auto points = folder_.points({{"experiments", {"a.json", "b.json"}},
                                      {"set", {{"/fake/ms_per_step", 2}}},
                                      {"seeds", {1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12}}});
  ASSERT_EQ(points.size(), 24u);
  Rng rng(static_cast<std::uint64_t>(::getpid()), stream_of("kill"), 0);
  for (int kill = 0; kill < 4; ++kill) {
    const pid_t sweep = sweep_process(points, request_);
    const auto moment = milliseconds(20 + rng.below(400));
    SCOPED_TRACE("killed after " + std::to_string(moment.count()) + " ms");
    std::this_thread::sleep_for(moment);
    kill_all(sweep, points);
  }
  EXPECT_EQ(wait_for(sweep_process(points, request_)), kAllDone);

  SweepRequest whole = request_;
  whole.out = folder_.path("whole");
  EXPECT_EQ(wait_for(sweep_process(points, whole)), kAllDone);
  for (const SweepPoint& point : points) {
    const auto lines = history(request_, point);
    // The kill may have come between a run's report, which ends it, and the line that says so.
    const bool unsaid = std::find(lines.begin(), lines.end(), "end") == lines.end();
    EXPECT_TRUE(unsaid || ended_once(lines)) << point.name;
    EXPECT_EQ(report(request_, point), report(whole, point));
  }
}

TEST_F(KilledSweeps, LeaveNoRunBehindWhenOnlyTheSweepIsKilled) {
  const auto points = folder_.points(
      {{"experiments", {"a.json"}}, {"set", {{"/train/steps", 4000}, {"/fake/ms_per_step", 5}}}});
  const pid_t sweep = sweep_process(points, request_);
  while (!std::filesystem::exists(request_.out / "a/checkpoint.json")) {
    std::this_thread::sleep_for(milliseconds(5));
  }
  ::kill(sweep, SIGKILL);
  wait_for(sweep);
  // The run is told that its sweep is dead: it saves, and lets go of the lock.
  for (int tries = 0; history(request_, points[0]).back() != "stopped"; ++tries) {
    ASSERT_LT(tries, 4000);
    std::this_thread::sleep_for(milliseconds(5));
  }
  EXPECT_EQ(report(request_, points[0])["status"], "stopped");
}

TEST_F(KilledSweeps, AnInterruptSavesTheRunsAndALaterCallGoesOn) {
  const auto points = folder_.points({{"experiments", {"a.json"}},
                                      {"set", {{"/train/steps", 800}, {"/fake/ms_per_step", 3}}},
                                      {"seeds", {1, 2, 3, 4}}});
  const pid_t sweep = sweep_process(points, request_);
  while (!std::filesystem::exists(request_.out / "a-seed3/checkpoint.json")) {
    std::this_thread::sleep_for(milliseconds(5));
  }
  ::kill(sweep, SIGINT);
  EXPECT_EQ(wait_for(sweep), kInterrupted);
  EXPECT_EQ(history(request_, points[0]), (std::vector<std::string>{"begin", "stopped"}));
  EXPECT_TRUE(history(request_, points[3]).empty());
  EXPECT_EQ(wait_for(sweep_process(points, request_)), kAllDone);
  EXPECT_EQ(history(request_, points[0]),
            (std::vector<std::string>{"begin", "stopped", "begin", "end"}));
}

TEST_F(KilledSweeps, TwoAtOnceRunEachPointOnce) {
  const auto points = folder_.points({{"experiments", {"a.json", "b.json"}},
                                      {"set", {{"/fake/ms_per_step", 2}}},
                                      {"seeds", {1, 2, 3, 4, 5, 6}}});
  const pid_t first = sweep_process(points, request_), second = sweep_process(points, request_);
  EXPECT_EQ(wait_for(first), kAllDone);
  EXPECT_EQ(wait_for(second), kAllDone);
  for (const SweepPoint& point : points) {
    EXPECT_EQ(history(request_, point), (std::vector<std::string>{"begin", "end"})) << point.name;
  }
}

TEST_F(KilledSweeps, ASecondSweepTakesOverFromOneThatDies) {
  const auto points = folder_.points(
      {{"experiments", {"a.json"}}, {"set", {{"/train/steps", 100}, {"/fake/ms_per_step", 5}}}});
  const pid_t first = sweep_process(points, request_);
  while (!std::filesystem::exists(request_.out / "a/checkpoint.json")) {
    std::this_thread::sleep_for(milliseconds(5));
  }
  const pid_t second = sweep_process(points, request_);
  std::this_thread::sleep_for(milliseconds(50));
  ::kill(first, SIGKILL);
  wait_for(first);
  EXPECT_EQ(wait_for(second), kAllDone);
  EXPECT_TRUE(ended_once(history(request_, points[0])));
}

TEST_F(KilledSweeps, BothSeeAFailureAndOnlyOneTriesIt) {
  const auto points =
      folder_.points({{"experiments", {"a.json"}},
                      {"set", {{"/fake/fail", "error"}, {"/fake/ms_per_step", 100}}}});
  const pid_t first = sweep_process(points, request_);
  while (history(request_, points[0]).empty()) std::this_thread::sleep_for(milliseconds(5));
  const pid_t second = sweep_process(points, request_);
  EXPECT_EQ(wait_for(first), kNotAllDone);
  EXPECT_EQ(wait_for(second), kNotAllDone);
  EXPECT_EQ(history(request_, points[0]), std::vector<std::string>{"begin"});
}

}  // namespace
}  // namespace mta
