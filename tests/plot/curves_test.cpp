// Learning curves: which lines there are, what the median is, and that every format comes out.
#include "lib/core/error.h"
#include "lib/core/files.h"
#include "lib/plot/plot.h"
#include "tests/plot/reports.h"

#include <gtest/gtest.h>

#include <cstdlib>
#include <regex>

namespace mta::plot {
namespace {

class Curves : public ::testing::Test {
 protected:
  void SetUp() override {
    options_.kind = "curves";
    options_.out = scratch_.path() / "curves.svg";
    options_.inputs = {scratch_.path() / "runs"};
    add("a", check::report_of("standard", 1, {0.9, 0.8, 0.7}));
    add("b", check::report_of("standard", 2, {0.9, 0.6, 0.5}));
    add("c", check::report_of("standard", 3, {1.0, 0.5, 0.1}));
    add("d", check::report_of("multi_token", 1, {0.5, 0.2, 0.0}));
  }

  void add(const std::string& name, const Json& report) {
    check::write_run(scratch_.path() / "runs" / name, report);
  }

  check::ScratchFolder scratch_;
  PlotOptions options_;
};

TEST_F(Curves, ShowEverySeedAndTheMedianInPercent) {
  const Plot plot = make_plot(options_);
  const auto& series = plot.figure.panels.at(0).series;
  ASSERT_EQ(series.size(), 5u);  // three seeds, two medians; a single run is its own median
  EXPECT_EQ(series[3].name, "standard (n = 3)");
  EXPECT_EQ(series[3].x, (std::vector<double>{100, 200, 300}));
  EXPECT_EQ(series[3].y, (std::vector<double>{90, 60, 50}));
  EXPECT_EQ(series[4].name, "multi_token (n = 1)");
  EXPECT_NE(series[3].style, series[4].style);
  EXPECT_TRUE(series[0].faint);
  EXPECT_LT(series[0].width, series[3].width);
  EXPECT_TRUE(plot.notices.empty());
}

TEST_F(Curves, KeepFailedRunsOutOfTheMedianAndSaySo) {
  Json failed = check::report_of("standard", 4, {0.95});
  failed["status"] = "failed";
  add("e", failed);
  const Plot plot = make_plot(options_);
  const auto& series = plot.figure.panels.at(0).series;
  ASSERT_EQ(series.size(), 6u);
  EXPECT_TRUE(series[3].dashed);
  EXPECT_EQ(series[4].name, "standard (n = 3, 1 failed)");
  EXPECT_EQ(series[4].y, (std::vector<double>{90, 60, 50}));
  ASSERT_EQ(plot.notices.size(), 1u);
  EXPECT_NE(plot.notices[0].find("failed"), std::string::npos);
}

TEST_F(Curves, EndTheMedianWhereTheFirstRunEnds) {
  add("g", check::report_of("standard", 4, {0.9, 0.7}));
  const auto series = make_plot(options_).figure.panels.at(0).series;
  ASSERT_EQ(series.size(), 6u);
  EXPECT_EQ(series[4].name, "standard (n = 4)");
  EXPECT_EQ(series[4].x, (std::vector<double>{100, 200}));
  EXPECT_NEAR(series[4].y[1], 65, 1e-9);
}

TEST_F(Curves, ReadARunThatHasNoReportYet) {
  const auto folder = scratch_.path() / "runs" / "f";
  std::filesystem::create_directories(folder);
  const Json report = check::report_of("multi_token", 2, {0.7, 0.4});
  std::ofstream(folder / "config.json") << report["experiment"].dump();
  std::ofstream lines(folder / "evaluations.jsonl");
  for (const Json& evaluation : report["evaluations"]) lines << evaluation.dump() << '\n';
  lines << R"({"step": 300, "err_s)";  // cut short by a crash
  lines.close();
  const Plot plot = make_plot(options_);
  const auto& series = plot.figure.panels.at(0).series;
  ASSERT_EQ(series.size(), 7u);
  EXPECT_EQ(series[4].x, (std::vector<double>{100, 200}));
  EXPECT_TRUE(series[4].dashed);
  EXPECT_EQ(series.back().name, "multi_token (n = 1, 1 unfinished)");
  EXPECT_EQ(series.back().y, (std::vector<double>{50, 20, 0}));
  EXPECT_EQ(plot.notices.size(), 1u);
}

TEST_F(Curves, PutZeroAtHalfASampleOnALogarithmicAxis) {
  options_.scale = AxisScale::Logarithmic;
  const Plot plot = make_plot(options_);
  const Panel& panel = plot.figure.panels.at(0);
  EXPECT_DOUBLE_EQ(panel.series.back().y.back(), 0.05);  // half of 1 in 1000, in percent
  EXPECT_NE(panel.y.label.find("0 drawn at 0.05"), std::string::npos);
}

TEST_F(Curves, AreAllInTheSvg) {
  if (std::system("command -v gnuplot >/dev/null") != 0) GTEST_SKIP() << "no gnuplot in PATH";
  write_plot(make_plot(options_).figure, options_.out);
  const std::string svg = read_file(options_.out);
  // gnuplot makes one group for each curve.
  const std::regex curve("<g id=\"gnuplot_plot_[0-9]+[a-z]*\"");
  EXPECT_EQ(std::distance(std::sregex_iterator(svg.begin(), svg.end(), curve), {}), 5);
  for (const char* text : {"standard (n = 3)", "samples with an error (%)", "training step"}) {
    EXPECT_NE(svg.find(text), std::string::npos) << text;
  }
}

TEST_F(Curves, ComeInEveryFormatAndLeaveNoOtherFile) {
  if (std::system("command -v gnuplot >/dev/null") != 0) GTEST_SKIP() << "no gnuplot in PATH";
  const Figure figure = make_plot(options_).figure;
  const auto folder = scratch_.path() / "pictures";
  std::filesystem::create_directories(folder);
  write_plot(figure, folder / "a.png");
  write_plot(figure, folder / "a.pdf");
  EXPECT_EQ(read_file(folder / "a.png").substr(0, 8), "\x89PNG\r\n\x1a\n");
  EXPECT_EQ(read_file(folder / "a.pdf").substr(0, 5), "%PDF-");
  const std::filesystem::directory_iterator entries(folder);
  EXPECT_EQ(std::distance(begin(entries), end(entries)), 2);
}

TEST_F(Curves, RefuseWhatTheyCannotDraw) {
  const auto problem = [this](auto change) {
    PlotOptions options = options_;
    change(options);
    try {
      make_plot(options);
    } catch (const UserError& error) {
      return std::string(error.what());
    }
    return std::string("accepted");
  };
  EXPECT_NE(problem([](PlotOptions& o) { o.kind = "curvs"; }).find("did you mean \"curves\""),
            std::string::npos);
  EXPECT_NE(problem([](PlotOptions& o) { o.out = "a.jpg"; }).find("--out a.jpg"),
            std::string::npos);
  EXPECT_NE(problem([](PlotOptions& o) { o.metric = "err_sec"; }).find("--metric"),
            std::string::npos);
  EXPECT_NE(problem([](PlotOptions& o) { o.mode = "greedy"; }).find("--mode"), std::string::npos);
  EXPECT_NE(problem([](PlotOptions& o) { o.inputs = {"/nonexistent"}; }).find("no such file"),
            std::string::npos);
  EXPECT_NE(problem([this](PlotOptions& o) {
              std::filesystem::create_directories(scratch_.path() / "empty");
              o.inputs = {scratch_.path() / "empty"};
            }).find("holds no run"),
            std::string::npos);
}

}  // namespace
}  // namespace mta::plot
