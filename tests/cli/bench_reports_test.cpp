// From a benchmark to its table and picture, as a stranger does it; and clear refusals.
#include "tests/cli/program.h"
#include "tests/support/xml.h"

#include <gtest/gtest.h>

#include <cstdlib>

namespace mta::check {
namespace {

constexpr const char* kCases = R"([
  {"name": "conv_t24", "batch": 1, "heads": 2, "tokens": 24, "head_dim": 16,
   "attention": {"kq_before": {"query": 2, "key": 3}}},
  {"name": "conv_t48", "batch": 1, "heads": 2, "tokens": 48, "head_dim": 16, "composed": false,
   "attention": {"kq_before": {"query": 2, "key": 3}}}])";

class BenchReports : public ::testing::Test {
 protected:
  void SetUp() override {
    folder_.write("cases.json", kCases);
    const Outcome bench = run(
        "mta bench attention --case cases.json --turns 2 --threads 1 --device cpu --out a.json");
    ASSERT_EQ(bench.code, 0) << bench.err;
  }

  Outcome run(const std::string& command) { return shell(command, folder_.path()); }
  void expect_refused(const std::string& command, const std::string& line) {
    const Outcome outcome = run(command);
    EXPECT_EQ(outcome.code, 2) << command;
    EXPECT_EQ(outcome.err.substr(0, outcome.err.find('\n')), "mta: error: " + line);
  }

  WorkFolder folder_;
};

TEST_F(BenchReports, BecomeTablesInEveryFormat) {
  const Outcome markdown = run("mta table a.json");
  EXPECT_EQ(markdown.code, 0) << markdown.err;
  EXPECT_NE(markdown.out.find("| case     | path     |"), std::string::npos) << markdown.out;
  EXPECT_NE(markdown.out.find("| conv_t48 | fused    | B1 H2 T48 d16 |"), std::string::npos);
  EXPECT_NE(markdown.out.find("- conv_t48, composed: left out by the case"), std::string::npos);
  const Outcome csv =
      run("mta table a.json --format csv --columns workspace_mib --only path=fused");
  EXPECT_EQ(csv.out, "case,path,workspace_mib.value\nconv_t24,fused,512.0\nconv_t48,fused,512.0\n");
  EXPECT_NE(
      run("mta table a.json --format latex").out.find("conv\\_t24 & standard & B1 H2 T24 d16"),
      std::string::npos);
  EXPECT_NE(run("mta table a.json --format json").out.find("\"ratio_to_composed\": {"),
            std::string::npos);
}

TEST_F(BenchReports, BecomePictures) {
  if (std::system("command -v gnuplot >/dev/null") != 0) GTEST_SKIP() << "no gnuplot in PATH";
  for (const char* kind : {"times", "scaling"}) {
    const Outcome outcome = run(std::string("mta plot ") + kind + " a.json --out a.svg");
    EXPECT_EQ(outcome.code, 0) << outcome.err;
    EXPECT_EQ(xml_problem(folder_.read("a.svg")), "") << kind;
    const bool scaling = outcome.err.find("no memory was measured") != std::string::npos;
    EXPECT_EQ(scaling, kind == std::string("scaling")) << outcome.err;
  }
}

TEST_F(BenchReports, DoNotGoWithWhatIsAboutRuns) {
  expect_refused("mta table a.json --baseline fused",
                 "--baseline: is for reports of runs: those of benchmarks have their ratios");
  expect_refused("mta table a.json --rows case",
                 "--rows: forward_ms of conv_t24, standard and of conv_t24, fused would stand in "
                 "one cell");
  expect_refused("mta table a.json --columns totl_ms",
                 "--columns: unknown column \"totl_ms\"; did you mean \"total_ms\"?");
  expect_refused("mta plot profile a.json --out a.svg", "profile: no report has a profile");
  expect_refused("mta plot curves a.json --out a.svg",
                 "a.json: /schema: must be \"mta.report/1\": this is not a report of a run");
  expect_refused("mta plot times a.json --out a.svg --metric loss",
                 "--metric: means nothing for times (it is for curves, bars)");
}

}  // namespace
}  // namespace mta::check
