// Runs of the program that fail each in its own way, within one sweep.
#include "tests/sweep/program_support.h"

#include <fmt/format.h>
#include <gtest/gtest.h>

#include <cstdlib>

namespace mta {
namespace {

using check::Outcome;

class SweepFailures : public ::testing::Test {
 protected:
  check::ProgramFolder folder_;
};

/// Said when it happens, and again when everything is over.
void expect_said_twice(const std::string& err, const std::string& name, const std::string& error) {
  const auto first = err.find(fmt::format("failed     {}  {}", name, error));
  const auto again = err.find(fmt::format("mta: error: {}: {}", name, error));
  ASSERT_NE(first, std::string::npos) << name << " in: " << err;
  ASSERT_NE(again, std::string::npos) << name << " in: " << err;
  const auto end_of_others = err.find("done       standard-good");
  EXPECT_LT(first, end_of_others);
  EXPECT_GT(again, end_of_others);
}

TEST_F(SweepFailures, LeaveTheOthersAloneAndAreTriedAgain) {
  folder_.write("sweep.json", R"({"experiments": ["standard.json"], "list": [
    {"name": "diverges", "/train/lr": 1e30},
    {"name": "full", "/model/dim": 128, "/model/ffn_hidden": 512},
    {"name": "killed", "/train/steps": 1000, "/train/checkpoint_every": 100},
    {"name": "good", "/train/steps": 200, "/train/checkpoint_every": 100}]})");
  // A limit on the size of files that only the large model's checkpoint meets, for a full disk; and
  // a kill -9 for one run.
  const Outcome first = folder_.run(R"(
    (trap '' XFSZ; ulimit -f 500; exec "$MTA_PROGRAM" sweep sweep.json --out runs --jobs 2 --progress plain) &
    sweep=$!
    until [ -s runs/standard-killed/metrics.jsonl ]; do sleep 0.02; done
    for run in $(grep -lsP "^PPid:\t$sweep\$" /proc/[0-9]*/status | cut -d/ -f3); do
      if grep -qzx runs/standard-killed /proc/$run/cmdline; then kill -9 $run; fi
    done
    wait $sweep)");
  EXPECT_EQ(first.code, 3);
  expect_said_twice(first.err, "standard-diverges", "step 2: the loss is ");
  expect_said_twice(first.err, "standard-full",
                    "runs/standard-full/checkpoint.new/model.safetensors: cannot be written");
  expect_said_twice(first.err, "standard-killed", "killed by signal 9");
  EXPECT_NE(first.err.find("1 of 4 runs are done"), std::string::npos);
  EXPECT_EQ(folder_.report("runs/standard-good").at("status"), "done");
  EXPECT_NE(first.out.find("standard-diverges: failed: step 2"), std::string::npos) << first.out;

  const Outcome later = folder_.run("mta sweep sweep.json --out runs --jobs 2 --progress plain");
  EXPECT_EQ(later.code, 3);
  EXPECT_NE(later.err.find("4 runs, 1 done already"), std::string::npos) << later.err;
  EXPECT_NE(later.err.find("done       standard-full"), std::string::npos) << later.err;
  EXPECT_NE(later.err.find("resumed    standard-killed"), std::string::npos) << later.err;
  EXPECT_NE(later.err.find("done       standard-killed"), std::string::npos) << later.err;
  EXPECT_NE(later.err.find("mta: error: standard-diverges: step 2"), std::string::npos);
  EXPECT_NE(later.err.find("3 of 4 runs are done"), std::string::npos);
}

TEST_F(SweepFailures, AFullDiskIsOne) {
  if (std::system("unshare -Urm true 2>/dev/null") != 0) {
    GTEST_SKIP() << "no file system can be mounted here";
  }
  folder_.write("sweep.json", R"({"experiments": ["standard.json", "multi_token.json"]})");
  // A file system of its own, of a few pages, for one run: where it is full depends on their
  // number.
  for (const int kilobytes : {4, 8, 20, 40}) {
    SCOPED_TRACE(kilobytes);
    const Outcome full = folder_.run(fmt::format(R"(
      rm -rf runs && mkdir -p runs/standard
      unshare -Urm bash -c 'mount -t tmpfs -o size={}k tmpfs runs/standard &&
        "$MTA_PROGRAM" sweep sweep.json --out runs --progress plain')",
                                                 kilobytes));
    EXPECT_EQ(full.code, 3) << full.err;
    EXPECT_NE(full.err.find("cannot be written: No space left on device\n  hint: "),
              std::string::npos)
        << full.err;
    EXPECT_NE(full.err.find("done       multi_token"), std::string::npos) << full.err;
  }
  EXPECT_EQ(folder_.run("mta sweep sweep.json --out runs").code, 0);
}

TEST_F(SweepFailures, AFileInTheWayIsOne) {
  folder_.write("one.json", R"({"experiments": ["standard.json", "multi_token.json"],
    "set": {"/train/steps": 1, "/evaluate/samples": 8}})");
  folder_.write("runs/standard", "in the way");
  const Outcome failed = folder_.run("mta sweep one.json --out runs --progress plain");
  EXPECT_EQ(failed.code, 3);
  EXPECT_NE(failed.err.find("failed     standard  "), std::string::npos) << failed.err;
  EXPECT_NE(failed.err.find("mta: error: standard: "), std::string::npos) << failed.err;
  EXPECT_NE(failed.err.find("done       multi_token"), std::string::npos) << failed.err;
  EXPECT_EQ(folder_.run("rm runs/standard; mta sweep one.json --out runs --progress none").code, 0);
}

}  // namespace
}  // namespace mta
