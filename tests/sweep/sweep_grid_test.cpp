// A sweep of 24 runs by the program itself: in shards, killed at random moments, twice at once.
#include "lib/core/rng.h"
#include "tests/sweep/program_support.h"

#include <fmt/format.h>
#include <gtest/gtest.h>
#include <unistd.h>

#include <algorithm>
#include <chrono>
#include <map>
#include <memory>

namespace mta {
namespace {

using check::Outcome;

constexpr std::size_t kRuns = 24;
constexpr int kShards = 3;

using Seconds = std::chrono::duration<double>;

/// Names of runs -> all that their processes printed, the commands that started them included.
using Logs = std::map<std::string, std::string>;

/// How often a run was started.
int starts(const std::string& log) {
  int count = 0;
  for (std::size_t line = 0; line != std::string::npos && line < log.size();) {
    if (log[line] == '$') ++count;
    line = log.find('\n', line);
    if (line != std::string::npos) ++line;
  }
  return count;
}

/// All tests compare with one sweep that nothing has disturbed: "whole", done shard by shard.
class SweepGrid : public ::testing::Test {
 protected:
  static void SetUpTestSuite() {
    folder = std::make_unique<check::ProgramFolder>();
    folder->write("sweep.json", R"({"experiments": ["standard.json"], "grid": {
      "/attention/variant": ["standard", "key_only", "kq_before_only", "multi_token"],
      "/task/length": [12, 15]}, "seeds": [1, 2, 3]})");
    for (int shard = 1; shard <= kShards; ++shard) {
      const auto start = std::chrono::steady_clock::now();
      shards.push_back(folder->run(
          fmt::format("mta sweep sweep.json --out whole --jobs 2 --progress none --shard {}/{}",
                      shard, kShards)));
      shard_time = std::min(shard_time, Seconds(std::chrono::steady_clock::now() - start));
      done_after.push_back(done("whole"));
    }
  }
  static void TearDownTestSuite() { folder.reset(); }

  /// The runs in `out` that are done: none, where a sweep was killed before it made the folder.
  static Logs done(const std::string& out) {
    Logs logs;
    if (!std::filesystem::exists(folder->path() / out)) return logs;
    for (const auto& entry : std::filesystem::directory_iterator(folder->path() / out)) {
      const std::string name = entry.path().filename().string();
      if (!std::filesystem::exists(entry.path() / "report.json")) continue;
      if (folder->report(out + "/" + name).at("status") != "done") continue;
      logs[name] = folder->read(out + "/" + name + "/log.txt");
    }
    return logs;
  }

  static void expect_as_whole(const std::string& out, std::size_t runs) {
    const Logs logs = done(out);
    ASSERT_EQ(logs.size(), runs);
    for (const auto& [name, unused] : logs) {
      EXPECT_EQ(folder->result(out + "/" + name), folder->result("whole/" + name)) << name;
    }
  }

  static std::unique_ptr<check::ProgramFolder> folder;
  static std::vector<Outcome> shards;
  static std::vector<Logs> done_after;  // each shard
  static Seconds shard_time;            // of the fastest
};

std::unique_ptr<check::ProgramFolder> SweepGrid::folder;
std::vector<Outcome> SweepGrid::shards;
std::vector<Logs> SweepGrid::done_after;
Seconds SweepGrid::shard_time = Seconds::max();

TEST_F(SweepGrid, ShardsCoverItExactlyOnce) {
  for (std::size_t shard = 0; shard < kShards; ++shard) {
    EXPECT_EQ(shards[shard].code, 0) << shards[shard].err;
    EXPECT_EQ(done_after[shard].size(), (shard + 1) * kRuns / kShards);
    // Missing runs are in the table of an unfinished sweep.
    EXPECT_EQ(shards[shard].out.find("missing") == std::string::npos, shard + 1 == kShards);
  }
  for (const auto& [name, log] : done_after.back()) EXPECT_EQ(starts(log), 1) << log;
}

TEST_F(SweepGrid, KilledThreeTimesItEndsWithTheSameReports) {
  const auto seed = static_cast<std::uint64_t>(::getpid());
  SCOPED_TRACE(fmt::format("seed of the moments {}", seed));
  Rng rng(seed, stream_of("kill"), 0);
  Logs before;
  for (int kill = 0; kill < 3; ++kill) {
    // Within the time of a third of the runs, so that the sweep is not over on any machine.
    const Seconds moment = rng.uniform() * shard_time;
    // kill -9 for the sweep and for every run that it has started.
    folder->run(fmt::format(R"(
      "$MTA_PROGRAM" sweep sweep.json --out killed --jobs 2 --progress none >/dev/null 2>&1 &
      sweep=$!
      sleep {:.3f}
      runs=$(grep -lsP "^PPid:\t$sweep\$" /proc/[0-9]*/status | cut -d/ -f3)
      kill -9 $sweep $runs
      wait $sweep)",
                            moment.count()));
    Logs now = done("killed");
    if (kill == 0) {
      EXPECT_LT(now.size(), kRuns);
    }
    for (const auto& [name, log] : before) EXPECT_EQ(now[name], log);
    before = now;
  }
  const Outcome last = folder->run("mta sweep sweep.json --out killed --jobs 2 --progress plain");
  EXPECT_EQ(last.code, 0) << last.err;
  EXPECT_NE(last.err.find(fmt::format("{} runs, {} done already", kRuns, before.size())),
            std::string::npos)
      << last.err;
  // Nothing ran again after it had ended.
  Logs after = done("killed");
  for (const auto& [name, log] : before) EXPECT_EQ(after[name], log);
  expect_as_whole("killed", kRuns);

  const Outcome again = folder->run("mta sweep sweep.json --out killed --progress plain");
  EXPECT_EQ(again.code, 0);
  EXPECT_NE(again.err.find("24 runs, 24 done already"), std::string::npos) << again.err;
  EXPECT_EQ(done("killed"), after);
}

TEST_F(SweepGrid, TwoSweepsAtOnceRunEachPointOnce) {
  const Outcome both = folder->run(R"(
    "$MTA_PROGRAM" sweep sweep.json --out both --shard 1/3 --progress none >/dev/null &
    first=$!
    mta sweep sweep.json --out both --shard 1/3 --progress none >/dev/null || exit
    wait $first)");
  EXPECT_EQ(both.code, 0) << both.err;
  for (const auto& [name, log] : done("both")) EXPECT_EQ(starts(log), 1) << log;
  expect_as_whole("both", kRuns / kShards);
}

}  // namespace
}  // namespace mta
