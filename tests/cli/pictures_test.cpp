// Pictures and attention maps as a user makes them: from a run to files, and clear refusals.
#include "tests/cli/program.h"

#include <gtest/gtest.h>

#include <cstdlib>
#include <regex>

namespace mta::check {
namespace {

constexpr const char* kTiny = R"({
  "task": {"kind": "block_finding", "block_length": 2, "query_length": 1, "alphabet": 10, "length": 14},
  "model": {"dim": 32, "layers": 1, "heads": 4, "ffn_hidden": 64, "attention_dropout": 0},
  "attention": {"variant": "kq_before_only", "kq_before": {"query": 2, "key": 3}},
  "train": {"steps": 4, "batch": 8, "lr": 8e-3},
  "evaluate": {"every": 2, "samples": 32}
})";

class Pictures : public ::testing::Test {
 protected:
  void SetUp() override {
    folder_.write("e.json", kTiny);
    ASSERT_EQ(run("mta train e.json --out runs/a --device cpu --progress none").code, 0);
  }

  Outcome run(const std::string& command) { return shell(command, folder_.path()); }
  void expect_refused(const std::string& command, const std::string& part) {
    const Outcome outcome = run(command);
    EXPECT_EQ(outcome.code, 2) << command;
    EXPECT_NE(outcome.err.find(part), std::string::npos) << outcome.err;
  }

  WorkFolder folder_;
};

TEST_F(Pictures, OfARun) {
  if (std::system("command -v gnuplot >/dev/null") != 0) GTEST_SKIP() << "no gnuplot in PATH";
  for (const char* kind : {"curves", "steps", "bars", "heatmap --columns length", "kernels"}) {
    const Outcome outcome = run(std::string("mta plot ") + kind + " runs/a --out a.svg");
    EXPECT_EQ(outcome.code, 0) << kind << ": " << outcome.err;
    EXPECT_EQ(outcome.out, "a.svg\n");
    EXPECT_NE(folder_.read("a.svg").find("</svg>"), std::string::npos) << kind;
  }
  EXPECT_EQ(run("mta plot curves runs/a --out a.svg --size 100x50 --log --metric loss").code, 0);
  // 96 pixels an inch
  EXPECT_NE(folder_.read("a.svg").find("width=\"378\" height=\"189\""), std::string::npos);
}

TEST_F(Pictures, WithoutGnuplotAreRefusedInOneLine) {
  const Outcome outcome = run("PATH=/nonexistent mta plot curves runs/a --out a.svg");
  EXPECT_EQ(outcome.code, 2);
  EXPECT_TRUE(std::regex_match(outcome.err, std::regex("mta: error: gnuplot: .*\\n  hint: .*\\n")))
      << outcome.err;
  EXPECT_FALSE(std::filesystem::exists(folder_.path() / "a.svg"));
}

TEST_F(Pictures, OfAttentionMaps) {
  const Outcome maps = run("mta maps runs/a --samples 0,2 --heads 1,3 --rows -4: --out maps");
  EXPECT_EQ(maps.code, 0) << maps.err;
  EXPECT_NE(maps.out.find("maps/index.html"), std::string::npos);
  EXPECT_NE(maps.out.find("share of attention on the target"), std::string::npos);
  EXPECT_TRUE(std::filesystem::exists(folder_.path() / "maps/sample_2/layer_0/kq_before.npy"));
  const Outcome json = run("mta maps runs/a --out maps --json");
  EXPECT_EQ(json.code, 0);
  EXPECT_NE(json.out.find("\"shares\""), std::string::npos);
  if (std::system("command -v gnuplot >/dev/null") != 0) return;
  EXPECT_EQ(run("mta plot maps maps --out maps.png").code, 0);
}

TEST_F(Pictures, ThatCannotBeMadeAreRefused) {
  expect_refused("mta plot curvs runs/a --out a.svg", "did you mean \"curves\"?");
  expect_refused("mta plot curves runs/a --out a.gif", "--out a.gif");
  expect_refused("mta plot curves runs/b --out a.svg", "runs/b");
  expect_refused("mta plot curves runs/a --out a.svg --size 5", "--size 5");
  expect_refused("mta plot mixing runs/a --out a.svg", "no mixing");
  expect_refused("mta maps runs/a --out maps --rows 5", "--rows 5");
  expect_refused("mta maps runs/a --out maps --layers 1", "--layers 1");
  expect_refused("mta maps runs/a --out maps --stages softmx", "did you mean \"softmax\"?");
  expect_refused("mta maps runs/a --out runs", "--out runs");
  expect_refused("mta maps nothing --out maps", "nothing");
}

}  // namespace
}  // namespace mta::check
