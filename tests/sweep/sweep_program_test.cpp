// The program's own sweeps: the ablation of the README, and requests that are refused.
#include "tests/sweep/program_support.h"

#include <gtest/gtest.h>

#include <algorithm>

namespace mta {
namespace {

using check::Outcome;

class SweepProgram : public ::testing::Test {
 protected:
  Outcome run(const std::string& command) const { return folder_.run(command); }

  check::ProgramFolder folder_;
};

TEST_F(SweepProgram, TheAblationInTheReadmeRuns) {
  const std::filesystem::path source = std::filesystem::current_path();
  const std::string readme = read_file(source / "README.md");
  const std::string begin = "```bash\n";
  const auto from = readme.find(begin) + begin.size();
  const std::string script = readme.substr(from, readme.find("```", from) - from);
  ASSERT_LE(std::count(script.begin(), script.end(), '\n'), 15);
  std::filesystem::create_symlink(source / "experiments", folder_.path() / "experiments");
  const Outcome ablation = run("export STEPS=1 SAMPLES=8\n" + script);
  ASSERT_EQ(ablation.code, 0) << ablation.err;
  const std::string table = ablation.out.substr(ablation.out.rfind("| variant"));
  EXPECT_EQ(std::count(table.begin(), table.end(), '\n'), 10) << table;  // 8 rows under a heading
  EXPECT_NE(table.find("(3 pairs)"), std::string::npos) << table;
  EXPECT_EQ(table.find("missing"), std::string::npos) << table;
}

TEST_F(SweepProgram, AProgramThatIsReplacedMeanwhileGoesOnAsItWas) {
  folder_.write("sweep.json", R"({"experiments": ["standard.json", "multi_token.json"]})");
  const Outcome sweep = run(R"(
    cp "$MTA_PROGRAM" copy
    ./copy sweep sweep.json --out runs --progress plain &
    sweep=$!
    until [ -e runs/standard/config.json ]; do sleep 0.02; done
    printf '#!/bin/sh\nexit 9\n' > newer && chmod +x newer && mv newer copy
    wait $sweep)");
  EXPECT_EQ(sweep.code, 0) << sweep.err;
  EXPECT_NE(sweep.err.find("done       multi_token"), std::string::npos) << sweep.err;
}

TEST_F(SweepProgram, WrongRequestsAreRefusedBeforeAnythingRuns) {
  folder_.write("sweep.json", R"({"experiments": ["standard.json"], "seeds": [1, 2]})");
  folder_.write("typo.json", R"({"experiments": ["standard.json"], "grid": {"/train/lrr": [1]}})");
  const Outcome typo = run("mta sweep typo.json --out runs");
  EXPECT_EQ(typo.code, 2);
  EXPECT_EQ(typo.err,
            "mta: error: typo.json: /train/lrr: unknown key \"lrr\"; did you mean \"lr\"?\n");
  EXPECT_NE(run("mta schema sweep").out.find("\"exclude\""), std::string::npos);
  EXPECT_EQ(run("mta schema swep").err,
            "mta: error: unknown schema \"swep\"; did you mean \"sweep\"?\n");
  EXPECT_EQ(run("mta sweep sweep.json --out runs --shard 3/2").code, 2);
  EXPECT_EQ(run("mta sweep sweep.json --out runs --jobs 0").code, 2);
  EXPECT_EQ(run("mta sweep sweep.json --out runs --on-failure retry").code, 2);
  EXPECT_EQ(run("test -e runs").code, 1);

  ASSERT_EQ(run("mta train standard.json --set /train/steps=1 --out runs/standard").code, 0);
  folder_.write("other.json", R"({"experiments": ["standard.json"]})");
  const Outcome changed = run("mta sweep other.json --out runs");
  EXPECT_EQ(changed.code, 2);
  EXPECT_NE(changed.err.find("runs/standard: /train/steps is 20, but was 1"), std::string::npos)
      << changed.err;
}

}  // namespace
}  // namespace mta
