// Pictures of benchmarks: where bars end, what curves go through, and what is refused.
#include "lib/core/error.h"
#include "lib/core/files.h"
#include "lib/plot/palette.h"
#include "lib/plot/plot.h"
#include "tests/plot/reports.h"
#include "tests/support/bench_reports.h"
#include "tests/support/xml.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <cstdlib>
#include <set>

namespace mta::plot {
namespace {

class Measured : public ::testing::Test {
 protected:
  std::filesystem::path write(const std::string& name, const Json& report) const {
    std::ofstream(scratch_.path() / name) << report;
    return scratch_.path() / name;
  }

  Plot draw(const std::string& kind, const Json& report) {
    options_.kind = kind;
    options_.out = scratch_.path() / "picture.svg";
    options_.inputs = {write("one.json", report)};
    return make_plot(options_);
  }

  std::string refusal(const std::string& kind, const Json& report) {
    try {
      draw(kind, report);
    } catch (const UserError& error) {
      return error.what();
    }
    return "(accepted)";
  }

  static const Series& named(const Panel& panel, const std::string& name) {
    static const Series none;
    for (const Series& series : panel.series) {
      if (series.name == name) return series;
    }
    ADD_FAILURE() << "no series " << name;
    return none;
  }

  /// Draws the figure and returns the texts of its SVG, which must be whole.
  std::set<std::string> texts_of(const Figure& figure) const {
    write_plot(figure, options_.out);
    const std::string svg = read_file(options_.out);
    EXPECT_EQ(check::xml_problem(svg), "");
    const auto texts = check::svg_texts(svg);
    return {texts.begin(), texts.end()};
  }

  static bool has_gnuplot() { return std::system("command -v gnuplot >/dev/null") == 0; }

  check::ScratchFolder scratch_;
  PlotOptions options_;
};

TEST_F(Measured, TimesAreABarForEachCaseAndPath) {
  const Plot plot =
      draw("times", check::attention_report({{"short", 512, true}, {"long", 4096, false}}));
  const Panel& panel = plot.figure.panels.at(0);
  EXPECT_EQ(panel.x.scale, AxisScale::Logarithmic);
  EXPECT_DOUBLE_EQ(*panel.x.min, 0.1);  // the power of ten below 0.5 ms
  ASSERT_EQ(panel.y.ticks.size(), 2u);
  EXPECT_EQ(panel.y.ticks[1].second, "long");
  EXPECT_EQ(named(panel, "standard").x, (std::vector<double>{2, 2}));
  const Series& fused = named(panel, "fused");
  EXPECT_EQ(fused.draw, Draw::Bars);
  EXPECT_EQ(fused.x, (std::vector<double>{8, 8}));
  EXPECT_EQ(fused.from, (std::vector<double>{0.1, 0.1}));
  EXPECT_EQ(fused.y, (std::vector<double>{0, 1}));  // the middle one of three
  EXPECT_EQ(named(panel, "composed").x, std::vector<double>{40});
  EXPECT_EQ(plot.notices, std::vector<std::string>{"long, composed: left out by the case"});
  if (!has_gnuplot()) GTEST_SKIP() << "no gnuplot in PATH";
  const auto texts = texts_of(plot.figure);
  for (const char* text :
       {"short", "long", "standard", "fused", "composed", "2.00", "8.00", "40.0"}) {
    EXPECT_TRUE(texts.contains(text)) << text;
  }
}

TEST_F(Measured, TimesOfChosenCases) {
  options_.only = {"case=b", "path=fused"};
  const Plot plot = draw("times", check::attention_report({{"a", 512, true}, {"b", 512, true}}));
  EXPECT_EQ(plot.figure.panels[0].y.ticks.size(), 1u);
  EXPECT_EQ(named(plot.figure.panels[0], "fused").y, std::vector<double>{0});
}

TEST_F(Measured, ScalingIsACurveForEachPath) {
  Json report = check::attention_report({{"c", 2048, true}, {"a", 512, true}, {"b", 1024, false}});
  // Time as T squared, memory as T, from 8 ms and 4 MiB at T 512; another case has one length only.
  report["cases"][0]["paths"][1]["forward_backward"]["ms"]["median"] = 128.0;
  report["cases"][0]["paths"][1]["peak_memory_bytes"] = 16.0 * (1 << 20);
  report["cases"][2]["paths"][1]["forward_backward"]["ms"]["median"] = 32.0;
  Json other = report["cases"][0];
  other["case"]["heads"] = 2;
  report["cases"].push_back(other);
  for (const int tokens : {512, 1024}) {  // of another setting, whose lengths are there
    other["case"]["heads"] = 8, other["case"]["tokens"] = tokens;
    report["cases"].push_back(other);
  }
  const Plot plot = draw("scaling", report);
  ASSERT_EQ(plot.notices.size(), 2u);
  EXPECT_EQ(plot.notices[1],
            "1 more settings of some of these lengths are left out: --only case=... draws them");
  ASSERT_EQ(plot.figure.panels.size(), 2u);
  const Panel &time = plot.figure.panels[0], &memory = plot.figure.panels[1];
  EXPECT_EQ(named(time, "fused").x, (std::vector<double>{512, 1024, 2048}));
  EXPECT_EQ(named(time, "fused").y, (std::vector<double>{8, 32, 128}));
  EXPECT_EQ(named(time, "composed").x, (std::vector<double>{512, 2048}));
  EXPECT_EQ(named(time, "slopes T² and T").y, (std::vector<double>{8, 128}));
  EXPECT_EQ(memory.series.back().y, (std::vector<double>{4, 16}));  // the slope of T
  EXPECT_EQ(time.x.ticks[1], (std::pair<double, std::string>{1024, "1k"}));
  EXPECT_EQ(memory.y.scale, AxisScale::Logarithmic);
  if (!has_gnuplot()) GTEST_SKIP() << "no gnuplot in PATH";
  const auto texts = texts_of(plot.figure);
  for (const char* text : {"512", "1k", "2k", "peak memory (MiB)", "forward and backward (ms)"}) {
    EXPECT_TRUE(texts.contains(text)) << text;
  }
}

TEST_F(Measured, ScalingLabelsSettingsOfOtherLengths) {
  Json report = check::attention_report(
      {{"a", 512, true}, {"b", 1024, true}, {"c", 2048, true}, {"d", 4096, true}});
  report["cases"][2]["case"]["batch"] = 1;
  report["cases"][3]["case"]["batch"] = 1;
  const Panel time = draw("scaling", report).figure.panels[0];
  EXPECT_EQ(named(time, "fused (B2)").x, (std::vector<double>{512, 1024}));
  EXPECT_EQ(named(time, "fused (B1)").x, (std::vector<double>{2048, 4096}));
  EXPECT_TRUE(named(time, "fused (B1)").dashed);
}

TEST_F(Measured, ProfileIsAStackOfParts) {
  const Plot plot = draw("profile", check::train_report());
  const Panel& panel = plot.figure.panels.at(0);
  ASSERT_EQ(panel.y.ticks.size(), 1u);
  EXPECT_EQ(panel.y.ticks[0].second, "plain");
  EXPECT_EQ(named(panel, "matrix products").from, std::vector<double>{0});
  EXPECT_EQ(named(panel, "matrix products").x, std::vector<double>{0.75});
  EXPECT_EQ(named(panel, "attention").from, std::vector<double>{0.75});
  EXPECT_EQ(named(panel, "attention").x, std::vector<double>{1});
  EXPECT_EQ(named(panel, "whole step").x, std::vector<double>{2});
  EXPECT_EQ(plot.notices, std::vector<std::string>{"conv: was not profiled"});
  if (!has_gnuplot()) GTEST_SKIP() << "no gnuplot in PATH";
  const auto texts = texts_of(plot.figure);
  EXPECT_TRUE(texts.contains("75 %"));
  EXPECT_TRUE(texts.contains("25 %"));
}

TEST_F(Measured, ProfileOfDecodingHasItsTokens) {
  Json report = check::train_report();
  report["kind"] = "decode";
  report["cases"].erase(1);
  report["cases"][0]["ms_per_token"] = check::spread_around(1.5);
  const Panel panel = draw("profile", report).figure.panels.at(0);
  EXPECT_EQ(named(panel, "whole step").x, std::vector<double>{1.5});
}

TEST_F(Measured, ProfileOfAttentionHasItsStages) {
  Json report = check::attention_report({{"a", 512, true}, {"b", 512, true}});
  check::add_stages(report);
  const Plot plot = draw("profile", report);
  const Panel& panel = plot.figure.panels.at(0);
  EXPECT_EQ(named(panel, "scores").x, std::vector<double>{7}) << "after the longer one";
  EXPECT_EQ(named(panel, "whole step").x, std::vector<double>{8});
  EXPECT_EQ(plot.notices, std::vector<std::string>{"b: was not profiled"});
}

TEST_F(Measured, PartsBeyondTheColoursAreOther) {
  Json report = check::train_report();
  Json& parts = report["cases"][0]["profile"]["parts"] = Json::array();
  for (int i = 0; i < 10; ++i) {
    parts.push_back({{"part", "part " + std::to_string(i)}, {"ms", 10.0 - i}, {"share", 0.1}});
  }
  const Panel panel = draw("profile", report).figure.panels.at(0);
  // Seven of 10, 9, ..., 4 ms; what remains is 3 + 2 + 1.
  EXPECT_EQ(named(panel, "part 6").from, std::vector<double>{45});
  EXPECT_EQ(named(panel, "other").from, std::vector<double>{49});
  EXPECT_EQ(named(panel, "other").x, std::vector<double>{55});
  EXPECT_EQ(named(panel, "other").style, kGrey);
}

TEST_F(Measured, RefusesOtherReportsAndFlags) {
  const Json attention = check::attention_report({{"a", 512, true}});
  EXPECT_EQ(refusal("times", check::train_report()),
            "times: draws reports of mta bench attention, and one is of mta bench train");
  EXPECT_NE(refusal("profile", attention).find("no report has a profile"), std::string::npos);
  EXPECT_NE(refusal("scaling", attention).find("no cases differ in their length alone"),
            std::string::npos);
  EXPECT_NE(refusal("times", check::report_of("standard", 1, {0.5})).find("holds no report of"),
            std::string::npos);
  EXPECT_NE(refusal("curves", attention).find("mta plot times, scaling and profile"),
            std::string::npos);
  options_.given = {"kind", "--out", "--layers"};
  EXPECT_EQ(refusal("times", attention),
            "--layers: means nothing for times (it is for kernels, mixing, maps)");
}

TEST_F(Measured, OfACardsReportAPictureDrawsWhatItIsFor) {
  const Json report = check::card_report();
  const Plot times = draw("times", report);
  ASSERT_EQ(times.figure.panels.at(0).y.ticks.size(), 1u);
  EXPECT_EQ(times.figure.panels[0].y.ticks[0].second, "full");
  EXPECT_EQ(named(times.figure.panels[0], "fused").x, std::vector<double>{8});
  const Plot profile = draw("profile", report);
  ASSERT_EQ(profile.figure.panels.at(0).y.ticks.size(), 1u);
  EXPECT_EQ(profile.figure.panels[0].y.ticks[0].second, "toy_step: plain");
  const std::string left_out = "decode: does not fit into the device's memory";
  EXPECT_NE(std::find(profile.notices.begin(), profile.notices.end(), left_out),
            profile.notices.end());
}

}  // namespace
}  // namespace mta::plot
