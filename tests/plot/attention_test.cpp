// Attention maps as pictures: which panels, which cells, which colours; and the npy files below.
#include "lib/core/error.h"
#include "lib/core/files.h"
#include "lib/plot/plot.h"
#include "lib/plot/tensors.h"
#include "tests/plot/reports.h"

#include <gtest/gtest.h>

#include <cmath>

namespace mta::plot {
namespace {

void write_npy(const std::filesystem::path& path, const std::vector<std::int64_t>& shape,
               const std::vector<float>& values) {
  std::ofstream file(path, std::ios::binary);
  file << npy_header(shape);
  file.write(reinterpret_cast<const char*>(values.data()),
             std::streamsize(values.size() * sizeof(float)));
}

class AttentionMaps : public ::testing::Test {
 protected:
  /// Two heads, rows 1 and 2 of three tokens.
  void SetUp() override {
    options_.kind = "maps";
    options_.out = "maps.svg";
    options_.inputs = {scratch_.path()};
    Json tokens = Json::array();
    for (const char* text : {"<bos>", "a", "b"}) {
      tokens.push_back({{"text", text}, {"role", "context"}});
    }
    const Json sample = {{"index", 4}, {"tokens", tokens}, {"rows", {1, 3}}, {"columns", {0, 3}}};
    Json maps = Json::array();
    for (const char* stage : {"scores", "softmax", "kq_after"}) {
      const std::string file = std::string(stage) + ".npy";
      maps.push_back({{"sample", 4},
                      {"layer", 1},
                      {"stage", stage},
                      {"heads", {0, 3}},
                      {"file", file},
                      {"shape", {2, 2, 3}}});
      std::vector<float> values = {0.5F, 0.5F, 0, 0.2F, 0.3F, 0.5F, 1, 0, 0, 0, 0, 1};
      if (std::string(stage) == "kq_after") values[0] = -0.75F;
      write_npy(scratch_.path() / file, {2, 2, 3}, values);
    }
    const Json index = {
        {"stages", {"scores", "softmax", "kq_after"}}, {"samples", {sample}}, {"maps", maps}};
    std::ofstream(scratch_.path() / "maps.json") << index.dump();
  }

  Figure draw() { return make_plot(options_).figure; }

  check::ScratchFolder scratch_;
  PlotOptions options_;
};

TEST_F(AttentionMaps, HaveARowForEachStageAndAColumnForEachHead) {
  const Figure figure = draw();
  ASSERT_EQ(figure.panels.size(), 4u);  // the weights: softmax and kq_after
  EXPECT_EQ(figure.columns, 2u);
  EXPECT_EQ(figure.row_labels, (std::vector<std::string>{"layer 1 softmax", "layer 1 kq_after"}));
  EXPECT_EQ(figure.panels[1].title, "head 3");
  const auto& first = figure.panels[0].grid->values;
  EXPECT_FLOAT_EQ(float(first[3]), 0.2F);
  EXPECT_TRUE(std::isnan(first[2]));  // token 1 does not see token 2
  using Ticks = std::vector<std::pair<double, std::string>>;
  EXPECT_EQ(figure.panels[0].y.ticks, (Ticks{{0, "a"}, {1, "b"}}));
  // kq_after has a negative value, so white must be 0.
  EXPECT_EQ(figure.colours->kind, ColourScale::Kind::Diverging);
  EXPECT_EQ(figure.colours->low, -1);
  EXPECT_EQ(figure.colours->high, 1);
}

TEST_F(AttentionMaps, WithoutNegativeValuesAreSequential) {
  options_.stages = {"softmax"};
  options_.heads = {3};
  const Figure figure = draw();
  ASSERT_EQ(figure.panels.size(), 1u);
  EXPECT_EQ(figure.colours->kind, ColourScale::Kind::Sequential);
  EXPECT_FLOAT_EQ(float(figure.panels[0].grid->values[0]), 1);
}

TEST_F(AttentionMaps, RefuseWhatTheArchiveDoesNotHave) {
  const auto refused = [this](auto change) {
    PlotOptions options = options_;
    change(options);
    EXPECT_THROW(make_plot(options), UserError);
  };
  refused([](PlotOptions& o) { o.stages = {"scores", "softmax"}; });  // no common scale
  refused([](PlotOptions& o) { o.stages = {"softmx"}; });
  refused([](PlotOptions& o) { o.samples = {0}; });
  refused([](PlotOptions& o) { o.heads = {1}; });
  refused([](PlotOptions& o) { o.layers = {0}; });
}

TEST(Npy, IsReadBackAsItWasWritten) {
  const check::ScratchFolder scratch;
  const auto path = scratch.path() / "a.npy";
  for (const std::vector<std::int64_t>& shape :
       {std::vector<std::int64_t>{6}, {2, 3}, {1, 2, 3}, {6, 1, 1, 1}}) {
    write_npy(path, shape, {1, 2, 3, 4, 5, 6});
    // numpy's own rules: magic, version 1.0, a header that ends with a newline at a multiple of 64.
    const std::string content = read_file(path);
    EXPECT_EQ(content.substr(0, 8), std::string("\x93NUMPY\x01\x00", 8));
    EXPECT_EQ((content.find('\n') + 1) % 64, 0u);
    EXPECT_EQ(read_npy(path).shape, shape);
    EXPECT_EQ(read_npy(path).values, (std::vector<float>{1, 2, 3, 4, 5, 6}));
  }
  write_npy(path, {7}, {1, 2, 3, 4, 5, 6});  // values are missing
  EXPECT_THROW(read_npy(path), UserError);
}

}  // namespace
}  // namespace mta::plot
