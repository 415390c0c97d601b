// Sweeps of real processes: what runs, what fails, what is tried again, what is printed.
#include "tests/sweep/process_support.h"

#include <gtest/gtest.h>

#include <sstream>

namespace mta {
namespace {

using check::fake_request;
using check::history;
using check::refusal;
using check::report;

class Sweeps : public ::testing::Test {
 protected:
  SweepResult run(const std::vector<SweepPoint>& points, const SweepRequest& request) {
    log_.str("");
    return run_points(points, request, log_);
  }
  bool logged(const std::string& text) const { return log_.str().find(text) != std::string::npos; }

  check::SweepFolder folder_;
  const Json six_ = {{"experiments", {"a.json", "b.json"}}, {"seeds", {1, 2, 3}}};
  std::ostringstream log_;
};

TEST_F(Sweeps, RunEveryPointOnceAndThenNothing) {
  const auto points = folder_.points(six_);
  const SweepRequest request = fake_request(folder_, 3);
  const SweepResult first = run(points, request);
  EXPECT_EQ(first.points, 6u);
  EXPECT_EQ(first.done, 6u);
  EXPECT_TRUE(first.failures.empty());
  EXPECT_TRUE(log_.str().empty()) << log_.str();
  const SweepResult second = run(points, request);
  EXPECT_EQ(second.done, 6u);
  for (const SweepPoint& point : points) {
    EXPECT_EQ(history(request, point), (std::vector<std::string>{"begin", "end"}));
    const Json written = report(request, point);
    EXPECT_EQ(written["status"], "done");
    // 8 cores for 3 runs.
    EXPECT_EQ(written["experiment"]["train"]["threads"], 2);
    EXPECT_TRUE(written["environment"]["gpu"].is_null());
  }
}

TEST_F(Sweeps, FinishWhatIsMissing) {
  const auto points = folder_.points(six_);
  const SweepRequest request = fake_request(folder_, 2);
  run({points[0], points[3]}, request);
  std::filesystem::remove(request.out / points[3].name /
                          "report.json");  // killed at the last moment
  run(points, request);
  EXPECT_EQ(history(request, points[0]).size(), 2u);
  EXPECT_EQ(history(request, points[3]),
            (std::vector<std::string>{"begin", "end", "begin", "end"}));
  for (const SweepPoint& point : points) EXPECT_EQ(report(request, point)["status"], "done");
}

TEST_F(Sweeps, RunsGetAGpuEach) {
  SweepRequest request = fake_request(folder_, 2);
  request.machine.gpus = {"4", "7"};
  const auto points = folder_.points({{"experiments", {"a.json", "b.json"}}});
  run(points, request);
  EXPECT_EQ(report(request, points[0])["environment"]["gpu"], "4");
  EXPECT_EQ(report(request, points[1])["environment"]["gpu"], "7");
}

TEST_F(Sweeps, OneFailureDoesNotStopTheOthers) {
  const auto points = folder_.points({{"experiments", {"a.json"}},
                                      {"list",
                                       {{{"name", "error"}, {"/fake/fail", "error"}},
                                        {{"name", "kill"}, {"/fake/fail", "kill"}},
                                        {{"name", "mute"}, {"/fake/fail", "mute"}},
                                        {{"name", "refused"}, {"/fake/refuse", 1}},
                                        {{"name", "good"}, {"/fake/fail", ""}}}}});
  const SweepRequest request = fake_request(folder_, 2);
  const SweepResult result = run(points, request);
  EXPECT_EQ(result.done, 1u);
  ASSERT_EQ(result.failures.size(), 4u);
  std::map<std::string, std::string> errors;
  for (const SweepFailure& failure : result.failures) errors[failure.name] = failure.error;
  EXPECT_EQ(errors["a-error"], "loss is not finite at step 10");
  EXPECT_EQ(errors["a-kill"], "killed by signal 9 (Killed)");
  EXPECT_EQ(errors["a-mute"], "exit code 7");
  EXPECT_EQ(errors["a-refused"], "--device: no such device");
  for (const auto& [name, error] : errors) EXPECT_TRUE(logged("failed     " + name + "  " + error));
  EXPECT_EQ(report(request, points[4])["status"], "done");
  // A later call tries them again, and only them.
  run(points, request);
  EXPECT_EQ(history(request, points[1]).size(), 2u);
  EXPECT_EQ(history(request, points[4]).size(), 2u);
}

TEST_F(Sweeps, StopAtTheFirstFailureWhenAsked) {
  const auto points = folder_.points({{"experiments", {"a.json"}},
                                      {"list",
                                       {{{"name", "bad"}, {"/fake/fail", "error"}},
                                        {{"name", "running"}, {"/train/steps", 60}},
                                        {{"name", "never"}, {"/fake/fail", ""}}}}});
  SweepRequest request = fake_request(folder_, 2);
  request.on_failure = OnFailure::Stop;
  const SweepResult result = run(points, request);
  EXPECT_EQ(result.failures.size(), 1u);
  EXPECT_EQ(result.done, 1u);  // what was running is not thrown away
  EXPECT_TRUE(history(request, points[2]).empty());
}

TEST_F(Sweeps, RetriesGoOnFromTheCheckpoint) {
  const auto points = folder_.points(
      {{"experiments", {"a.json"}}, {"set", {{"/fake/fail", "kill"}, {"/fake/failing_tries", 2}}}});
  SweepRequest request = fake_request(folder_, 1);
  request.retries = 1;
  EXPECT_EQ(run(points, request).failures.size(), 1u);
  EXPECT_TRUE(logged("killed by signal 9 (Killed)  (trying again)"));
  EXPECT_EQ(history(request, points[0]).size(), 2u);
  EXPECT_EQ(run(points, request).done, 1u);
}

TEST_F(Sweeps, ARunThatSomebodyStopsIsAFailure) {
  const auto points = folder_.points(
      {{"experiments", {"a.json"}}, {"set", {{"/fake/fail", "stop"}, {"/fake/failing_tries", 1}}}});
  SweepRequest request = fake_request(folder_, 1);
  request.retries = 1;
  EXPECT_EQ(run(points, request).done, 1u);
  EXPECT_TRUE(logged("ended before it was done  (trying again)"));
}

TEST_F(Sweeps, AFolderThatCannotBeWrittenIsAFailureOfItsRun) {
  const auto points = folder_.points({{"experiments", {"a.json", "b.json"}}});
  const SweepRequest request = fake_request(folder_, 2);
  std::filesystem::create_directories(request.out);
  std::ofstream(request.out / points[0].name) << "a file where a folder should be";
  const SweepResult result = run(points, request);
  EXPECT_EQ(result.done, 1u);
  EXPECT_EQ(result.failures.size(), 1u);
}

TEST_F(Sweeps, AChangedConfigurationIsRefusedByName) {
  const SweepRequest request = fake_request(folder_, 2);
  run(folder_.points(six_), request);
  Json changed = six_;
  changed["set"] = {{"/train/steps", 30}};
  const std::string text = refusal([&] { refuse_changed(request.out, folder_.points(changed)); });
  EXPECT_NE(text.find((request.out / "a-seed1").string() + ": /train/steps is 30, but was 20"),
            std::string::npos)
      << text;
  EXPECT_NE(text.find("b-seed3"), std::string::npos);
  refuse_changed(request.out, folder_.points(six_));
}

TEST_F(Sweeps, PlainOverviewNamesEveryRun) {
  SweepRequest request = fake_request(folder_, 2);
  request.overview = OverviewKind::Plain;
  run(folder_.points({{"experiments", {"a.json", "b.json"}}}), request);
  EXPECT_TRUE(logged("2 runs, 0 done already; 2 at a time, 4 threads each\n"));
  EXPECT_TRUE(logged("started    a\n"));
  EXPECT_TRUE(logged("done       b  err_seq 25.0 %  0 s\n")) << log_.str();
}

TEST_F(Sweeps, DryRunShowsStatesAndCommandsAndStartsNothing) {
  const auto points = folder_.points(six_);
  const SweepRequest request = fake_request(folder_, 2);
  run({points[0]}, request);
  const std::string text = dry_run_text(points, request);
  EXPECT_TRUE(text.starts_with("a-seed1  done  ")) << text;
  EXPECT_NE(text.find("\nb-seed3  missing  "), std::string::npos);
  EXPECT_NE(text.find("--set /seeds/data=3"), std::string::npos);
  EXPECT_FALSE(std::filesystem::exists(request.out / "b-seed3"));
}

TEST_F(Sweeps, ThePlanNamesEveryRun) {
  const auto points = folder_.points(six_);
  write_plan(folder_.path("runs"), points);
  const Json plan = parse_json(read_file(folder_.path("runs/plan.json")), "plan");
  EXPECT_EQ(plan["schema"], "mta.plan/1");
  EXPECT_EQ(plan["runs"][5]["name"], "b-seed3");
  EXPECT_EQ(plan["runs"][5]["experiment"]["name"], "b");
}

}  // namespace
}  // namespace mta
