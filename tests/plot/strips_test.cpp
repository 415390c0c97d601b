// Bars and steps to solve: one row a variant, no run left out.
#include "lib/core/error.h"
#include "lib/plot/plot.h"
#include "tests/plot/reports.h"

#include <gtest/gtest.h>

#include <algorithm>

namespace mta::plot {
namespace {

class Strips : public ::testing::Test {
 protected:
  void SetUp() override {
    options_.out = "strips.svg";
    options_.inputs = {scratch_.path()};
    add("a", check::report_of("multi_token", 1, {0.5, 0.04, 0.02}));
    add("b", check::report_of("multi_token", 2, {0.5, 0.3, 0.04}));
    add("c", check::report_of("multi_token", 3, {0.9, 0.6, 0.3}));
    add("d", check::report_of("standard", 1, {0.9, 0.8, 0.7}));
  }

  void add(const std::string& name, const Json& report) {
    check::write_run(scratch_.path() / name, report);
  }

  Panel draw(const std::string& kind) {
    options_.kind = kind;
    return make_plot(options_).figure.panels.at(0);
  }

  check::ScratchFolder scratch_;
  PlotOptions options_;
};

TEST_F(Strips, BarsShowTheMeanItsIntervalAndEveryRun) {
  const Panel panel = draw("bars");
  ASSERT_GE(panel.series.size(), 4u);
  const Series& runs = panel.series[0];
  const Series& mean = panel.series[1];
  EXPECT_EQ(runs.x, (std::vector<double>{2, 4, 30}));
  ASSERT_EQ(mean.x.size(), 1u);
  EXPECT_DOUBLE_EQ(mean.x[0], 12);
  EXPECT_EQ(mean.bars, Series::Bars::X);
  EXPECT_DOUBLE_EQ(mean.low[0], 2);  // all three draws are the least: 1 in 27
  EXPECT_DOUBLE_EQ(mean.high[0], 30);
  EXPECT_EQ(panel.series[3].bars, Series::Bars::None);  // one run has no interval
  EXPECT_EQ(panel.y.ticks[0].second, "multi_token (n = 3)");
  EXPECT_EQ(panel.y.ticks[1].second, "standard (n = 1)");
  EXPECT_EQ(panel.x.label, "samples with an error (%)");
}

TEST_F(Strips, BarsShowAnyNumberOfAReport) {
  Json report = check::report_of("standard", 2, {0.1});
  report["timing"]["ms_per_step"] = 12.5;
  add("e", report);
  options_.metric = "/timing/ms_per_step";
  const Panel panel = draw("bars");
  EXPECT_EQ(panel.series[0].x, (std::vector<double>{12.5}));
  EXPECT_EQ(panel.x.label, "time of a training step (ms)");
  options_.metric = "/timing/ms_per_stop";
  EXPECT_THROW(draw("bars"), UserError);
}

TEST_F(Strips, StepsShowUnsolvedRunsWhereTheyEnded) {
  const Panel panel = draw("steps");
  EXPECT_EQ(panel.y.ticks[0].second, "multi_token (2 of 3 solved)");
  EXPECT_EQ(panel.y.ticks[1].second, "standard (0 of 1 solved)");
  EXPECT_EQ(panel.series[0].x, (std::vector<double>{200, 300}));  // solved
  EXPECT_EQ(panel.series[1].x, (std::vector<double>{300}));       // unsolved
  EXPECT_EQ(panel.series[1].symbol, Symbol::Cross);
  EXPECT_EQ(panel.series[2].x, (std::vector<double>{300}));  // median of 200, 300, later than 300
  // The standard variant has its unsolved run and no median.
  EXPECT_EQ(panel.series[4].x, (std::vector<double>{300}));
  EXPECT_EQ(panel.series[5].name, "median");
}

TEST_F(Strips, StepsDependOnTheThreshold) {
  options_.threshold = 0.75;
  const Panel panel = draw("steps");
  EXPECT_EQ(panel.y.ticks[1].second, "standard (1 of 1 solved)");
  EXPECT_EQ(panel.x.label, "training steps to reach err_seq < 75 %");
}

TEST_F(Strips, EqualRunsDoNotCoverEachOther) {
  add("f", check::report_of("multi_token", 4, {0.5, 0.04, 0.02}));
  const Panel panel = draw("bars");
  const Series& runs = panel.series[0];
  ASSERT_EQ(runs.x.size(), 4u);
  EXPECT_EQ(runs.x[0], runs.x[3]);
  EXPECT_NE(runs.y[0], runs.y[3]);
}

}  // namespace
}  // namespace mta::plot
