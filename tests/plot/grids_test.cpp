// Heat maps, kernels and matrices: which cell holds which number.
#include "lib/core/error.h"
#include "lib/plot/plot.h"
#include "tests/plot/reports.h"

#include <gtest/gtest.h>

#include <cmath>

namespace mta::plot {
namespace {

/// A safetensors file of float32 tensors.
void write_tensors(
    const std::filesystem::path& path,
    const std::vector<std::tuple<std::string, std::vector<int>, std::vector<float>>>& tensors) {
  Json header = Json::object();
  std::string data;
  for (const auto& [name, shape, values] : tensors) {
    const std::size_t begin = data.size();
    data.append(reinterpret_cast<const char*>(values.data()), values.size() * sizeof(float));
    header[name] = {{"dtype", "F32"}, {"shape", shape}, {"data_offsets", {begin, data.size()}}};
  }
  const std::string text = header.dump();
  const std::uint64_t length = text.size();
  std::filesystem::create_directories(path.parent_path());
  std::ofstream file(path, std::ios::binary);
  file.write(reinterpret_cast<const char*>(&length), sizeof length);
  file << text << data;
}

class Grids : public ::testing::Test {
 protected:
  Figure draw(const std::string& kind) {
    options_.kind = kind;
    options_.out = "grid.svg";
    options_.inputs = {scratch_.path()};
    return make_plot(options_).figure;
  }

  /// One run with a checkpoint of these tensors.
  void write_checkpoint(
      const std::vector<std::tuple<std::string, std::vector<int>, std::vector<float>>>& tensors,
      const std::string& pad) {
    write_tensors(scratch_.path() / "checkpoint" / "model.safetensors", tensors);
    const Json config = {{"attention", {{"kq_before", {{"pad", pad}}}}}};
    std::ofstream(scratch_.path() / "config.json") << config.dump();
  }

  check::ScratchFolder scratch_;
  PlotOptions options_;
};

TEST_F(Grids, HeatMapPoolsTheSamplesOfAllSeeds) {
  for (const int length : {64, 128}) {
    for (const int seed : {1, 2}) {
      Json report = check::report_of("standard", seed, {0.5});
      report["experiment"]["task"]["length"] = length;
      const auto entry = [](int correct, int count) {
        return Json{{"correct", correct}, {"count", count}};
      };
      report["slices"]["depth"] = {{"0.5", entry(seed, 4)}, {"0.25", entry(4, 4)}};
      if (length == 128) report["slices"]["depth"]["1"] = entry(0, 0);
      check::write_run(scratch_.path() / std::to_string(length * 10 + seed), report);
    }
  }
  const Figure figure = draw("heatmap");
  ASSERT_EQ(figure.panels.size(), 1u);  // length is an axis, so it makes no variants
  const Panel& panel = figure.panels[0];
  ASSERT_EQ(panel.y.ticks.size(), 3u);
  EXPECT_EQ(panel.y.ticks[0].second, "0.25");
  EXPECT_EQ(panel.y.ticks[1].second, "0.5");
  ASSERT_EQ(panel.x.ticks.size(), 2u);
  EXPECT_EQ(panel.x.ticks[0].second, "64");  // by value, not by spelling
  EXPECT_EQ(panel.x.ticks[1].second, "128");
  ASSERT_EQ(panel.grid->values.size(), 6u);
  EXPECT_DOUBLE_EQ(panel.grid->values[0], 100);
  EXPECT_DOUBLE_EQ(panel.grid->values[2], 100.0 * (1 + 2) / 8);
  EXPECT_TRUE(std::isnan(panel.grid->values[4]));  // no such depth at this length
  EXPECT_TRUE(std::isnan(panel.grid->values[5]));  // no samples: not measured, not 0
  EXPECT_EQ(figure.colours->kind, ColourScale::Kind::Sequential);
}

TEST_F(Grids, HeatMapNeedsSlices) {
  check::write_run(scratch_.path(), check::report_of("standard", 1, {0.5}));
  EXPECT_THROW(draw("heatmap"), UserError);
}

TEST_F(Grids, KernelsStandByLayerAndHead) {
  std::vector<float> values(2 * 2 * 3);
  for (std::size_t i = 0; i < values.size(); ++i) values[i] = float(i);
  write_checkpoint({{"layers.10.attention.kq_before.kernel", {2, 2, 3}, values},
                    {"layers.2.attention.kq_before.kernel", {2, 2, 3}, std::vector<float>(12, -20)},
                    {"layers.2.attention.wq.weight", {1}, {99}}},
                   "both");
  const Figure figure = draw("kernels");
  ASSERT_EQ(figure.panels.size(), 4u);
  EXPECT_EQ(figure.columns, 2u);
  EXPECT_EQ(figure.row_labels, (std::vector<std::string>{"layer 2", "layer 10"}));
  EXPECT_EQ(figure.panels[3].grid->values, (std::vector<double>{6, 7, 8, 9, 10, 11}));
  EXPECT_EQ(figure.colours->low, -20);  // symmetric, so that white is 0
  EXPECT_EQ(figure.colours->high, 20);
  using Ticks = std::vector<std::pair<double, std::string>>;
  EXPECT_EQ(figure.panels[0].x.ticks, (Ticks{{0, "-1"}, {1, "0"}, {2, "1"}}));
  EXPECT_EQ(figure.panels[0].y.ticks, (Ticks{{0, "-1"}, {1, "0"}}));
}

TEST_F(Grids, KernelsAreLabelledByTheirPadding) {
  write_checkpoint({{"layers.0.attention.kq_before.kernel", {1, 1, 3}, {1, 2, 3}}}, "left");
  EXPECT_EQ(draw("kernels").panels[0].x.ticks.front().second, "-2");
  EXPECT_EQ(draw("kernels").panels[0].x.ticks.back().second, "0");
}

TEST_F(Grids, KernelsOfChosenLayersAndHeads) {
  write_checkpoint({{"layers.0.attention.kq_before.kernel", {2, 1, 1}, {1, 2}},
                    {"layers.1.attention.kq_before.kernel", {2, 1, 1}, {3, 4}}},
                   "both");
  options_.layers = {1};
  options_.heads = {1};
  const Figure figure = draw("kernels");
  ASSERT_EQ(figure.panels.size(), 1u);
  EXPECT_EQ(figure.panels[0].grid->values, (std::vector<double>{4}));
  options_.heads = {2};
  EXPECT_THROW(draw("kernels"), UserError);
  options_.heads = {};
  options_.layers = {2};
  EXPECT_THROW(draw("kernels"), UserError);
  EXPECT_THROW(draw("mixing"), UserError);  // this model has none
}

TEST_F(Grids, MixingHasARowForEachOutputHeadOnBothSides) {
  // Before the softmax the weight is (output, input), after it (input, output).
  write_checkpoint({{"layers.0.attention.heads_before.weight", {1, 2, 2}, {1, 2, 3, 4}},
                    {"layers.0.attention.heads_after.weight", {2, 2, 2}, {1, 2, 3, 4, 5, 6, 7, 8}}},
                   "both");
  const Figure figure = draw("mixing");
  ASSERT_EQ(figure.panels.size(), 2u);
  EXPECT_EQ(figure.panels[0].grid->values, (std::vector<double>{1, 2, 3, 4}));
  const auto& after = figure.panels[1].grid->values;  // two groups on the diagonal
  ASSERT_EQ(after.size(), 16u);
  EXPECT_EQ(after[0], 1);
  EXPECT_EQ(after[1], 3);
  EXPECT_TRUE(std::isnan(after[2]));
  EXPECT_EQ(after[10], 5);
  EXPECT_EQ(after[14], 6);
}

TEST_F(Grids, RefuseATruncatedCheckpoint) {
  write_checkpoint({{"layers.0.attention.kq_before.kernel", {1, 1, 3}, {1, 2, 3}}}, "both");
  const auto path = scratch_.path() / "checkpoint" / "model.safetensors";
  std::filesystem::resize_file(path, std::filesystem::file_size(path) - 1);
  EXPECT_THROW(draw("kernels"), UserError);
}

}  // namespace
}  // namespace mta::plot
