// The program's own sweeps at a tiny size: killed and called again, sharded, wrong files, the
// table.
#include "lib/core/document.h"
#include "lib/core/files.h"
#include "tests/cli/program.h"

#include <gtest/gtest.h>

#include <algorithm>

namespace mta {
namespace {

using check::Outcome;
using check::shell;

constexpr const char* kExperiment = R"({
  "name": "standard",
  "task": {"kind": "block_finding", "block_length": 2, "query_length": 1, "alphabet": 10,
           "length": 16},
  "model": {"dim": 16, "layers": 1, "heads": 2, "ffn_hidden": 32},
  "attention": {"variant": "standard"},
  "train": {"steps": 60, "batch": 8, "lr": 8e-3, "threads": 1, "checkpoint_every": 5,
            "log_every": 5},
  "evaluate": {"every": 20, "samples": 64}
})";

class SweepProgram : public ::testing::Test {
 protected:
  SweepProgram() {
    folder_.write("standard.json", kExperiment);
    folder_.write("multi_token.json", R"({
      "extends": "standard.json", "name": "multi_token",
      "attention": {"variant": "multi_token", "kq_before": {"query": 2, "key": 3},
                    "kq_after": {"query": 2, "key": 3}}})");
    folder_.write("sweep.json",
                  R"({"experiments": ["standard.json", "multi_token.json"], "seeds": [1, 2]})");
  }

  Outcome run(const std::string& command) const { return shell(command, folder_.path()); }

  /// What a report says, but for times, the machine and the command.
  Json result(const std::string& path) const {
    Json report = parse_json(read_file(folder_.path() / path / "report.json"), path);
    report.erase("timing");
    report.erase("provenance");
    return report;
  }

  check::WorkFolder folder_;
};

const char* const kRuns[] = {"standard-seed1", "standard-seed2", "multi_token-seed1",
                             "multi_token-seed2"};

TEST_F(SweepProgram, KilledAndCalledAgainItEndsWithTheSameReports) {
  const Outcome whole = run("mta sweep sweep.json --out whole --jobs 2 --progress none");
  ASSERT_EQ(whole.code, 0) << whole.err;
  EXPECT_NE(whole.out.find("| multi_token |"), std::string::npos) << whole.out;

  // kill -9 for the sweep and for every run that it has started, three times.
  const Outcome killed = run(R"(
    for time in 1.3 0.9 1.7; do
      "$MTA_PROGRAM" sweep sweep.json --out killed --jobs 2 --progress none >/dev/null 2>&1 &
      sweep=$!
      sleep $time
      runs=$(grep -lsP "^PPid:\t$sweep\$" /proc/[0-9]*/status | cut -d/ -f3)
      kill -9 $sweep $runs
      wait $sweep
    done 2>/dev/null
    mta sweep sweep.json --out killed --jobs 2 --progress none)");
  ASSERT_EQ(killed.code, 0) << killed.err;
  for (const std::string name : kRuns) {
    EXPECT_EQ(result("killed/" + name), result("whole/" + name)) << name;
  }

  // All are done: nothing is started, and that is quick.
  const Outcome again = run("mta sweep sweep.json --out killed --progress plain");
  EXPECT_EQ(again.code, 0);
  EXPECT_EQ(again.err.find("started"), std::string::npos) << again.err;
  EXPECT_NE(again.err.find("4 runs, 4 done already"), std::string::npos) << again.err;
}

TEST_F(SweepProgram, ShardsTogetherAreTheWhole) {
  folder_.write("one_step.json", R"({"experiments": ["standard.json", "multi_token.json"],
    "set": {"/train/steps": 1, "/evaluate/samples": 8}, "seeds": [1, 2]})");
  const Outcome first = run("mta sweep one_step.json --out runs --shard 1/2 --jobs 2");
  EXPECT_EQ(first.code, 0) << first.err;
  EXPECT_NE(first.out.find("1 (1 missing)"), std::string::npos) << first.out;
  const Outcome second = run("mta sweep one_step.json --out runs --shard 2/2 --jobs 2");
  EXPECT_EQ(second.code, 0) << second.err;
  EXPECT_EQ(second.out.find("missing"), std::string::npos) << second.out;
}

TEST_F(SweepProgram, AFailedRunIsNamedTwiceAndTheOthersFinish) {
  // A file stands where the run's folder should be.
  folder_.write("one.json", R"({"experiments": ["standard.json", "multi_token.json"],
    "set": {"/train/steps": 1, "/evaluate/samples": 8}})");
  folder_.write("runs/standard", "in the way");
  const Outcome failed = run("mta sweep one.json --out runs --progress plain");
  EXPECT_EQ(failed.code, 3);
  EXPECT_NE(failed.err.find("failed     standard  "), std::string::npos) << failed.err;
  EXPECT_NE(failed.err.find("mta: error: standard: "), std::string::npos) << failed.err;
  EXPECT_NE(failed.err.find("done       multi_token"), std::string::npos) << failed.err;
  EXPECT_EQ(run("rm runs/standard; mta sweep one.json --out runs --progress none").code, 0);
}

TEST_F(SweepProgram, TheAblationInTheReadmeRuns) {
  const std::filesystem::path source = std::filesystem::current_path();
  const std::string readme = read_file(source / "experiments/README.md");
  const std::string begin = "```bash\n";
  const auto from = readme.find(begin) + begin.size();
  const std::string script = readme.substr(from, readme.find("```", from) - from);
  ASSERT_LT(std::count(script.begin(), script.end(), '\n'), 15);
  std::filesystem::create_symlink(source / "experiments", folder_.path() / "experiments");
  const Outcome ablation = run("export STEPS=1 SAMPLES=8\n" + script);
  ASSERT_EQ(ablation.code, 0) << ablation.err;
  const std::string table = ablation.out.substr(ablation.out.rfind("| name"));
  EXPECT_EQ(std::count(table.begin(), table.end(), '\n'), 10) << table;  // 8 rows under a heading
  EXPECT_NE(table.find("(3 pairs)"), std::string::npos) << table;
  EXPECT_EQ(table.find("missing"), std::string::npos) << table;
}

TEST_F(SweepProgram, WrongRequestsAreRefusedBeforeAnythingRuns) {
  folder_.write("typo.json", R"({"experiments": ["standard.json"], "grid": {"/train/lrr": [1]}})");
  const Outcome typo = run("mta sweep typo.json --out runs");
  EXPECT_EQ(typo.code, 2);
  EXPECT_EQ(typo.err,
            "mta: error: typo.json: /train/lrr: unknown key \"lrr\"; did you mean \"lr\"?\n");
  EXPECT_EQ(run("mta sweep sweep.json --out runs --shard 3/2").code, 2);
  EXPECT_EQ(run("mta sweep sweep.json --out runs --jobs 0").code, 2);
  EXPECT_EQ(run("mta sweep sweep.json --out runs --on-failure retry").code, 2);
  EXPECT_EQ(run("test -e runs").code, 1);

  ASSERT_EQ(run("mta train standard.json --set /train/steps=1 --out runs/standard").code, 0);
  folder_.write("other.json", R"({"experiments": ["standard.json"]})");
  const Outcome changed = run("mta sweep other.json --out runs");
  EXPECT_EQ(changed.code, 2);
  EXPECT_NE(changed.err.find("runs/standard: /train/steps is 60, but was 1"), std::string::npos)
      << changed.err;
}

}  // namespace
}  // namespace mta
