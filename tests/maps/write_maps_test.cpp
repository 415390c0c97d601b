// The archive of a run: what maps.json says, what the arrays hold, and what is refused.
#include "lib/core/document.h"
#include "lib/core/error.h"
#include "lib/core/files.h"
#include "lib/maps/archive.h"
#include "lib/maps/maps.h"
#include "lib/plot/tensors.h"
#include "tests/maps/small_runs.h"
#include "tests/support/peak_memory.h"
#include "tests/support/scratch_folder.h"

#include <gtest/gtest.h>

#include <cmath>
#include <cstdlib>
#include <fstream>
#include <memory>

namespace mta::maps {
namespace {

class WriteMaps : public ::testing::Test {
 protected:
  static void SetUpTestSuite() {
    scratch_ = std::make_unique<check::ScratchFolder>();
    check::full_run(scratch_->path() / "run");
  }
  static void TearDownTestSuite() { scratch_.reset(); }

  static MapsOptions options(const std::string& out) {
    return {.run = scratch_->path() / "run", .out = scratch_->path() / out};
  }
  static Json maps_json(const MapsOptions& options) {
    return parse_json(read_file(options.out / "maps.json"), "maps.json");
  }
  static std::string refusal(const MapsOptions& options) {
    try {
      write_maps(options);
    } catch (const UserError& error) {
      EXPECT_FALSE(std::filesystem::exists(options.out.string() + ".new"));
      return error.what();
    }
    return "accepted";
  }

  /// maps.json of a window of rows that takes less than so many megabytes.
  static Json expect_peak_below(int megabytes, MapsOptions request, const std::string& rows) {
    request.rows = Window::parse(rows, "--rows");
    MapsResult result;
    const auto peak = check::peak_memory([&] { result = write_maps(request); });
    if (peak) {
      EXPECT_LT(double(*peak) / 1e6, megabytes) << "rows " << rows;
    }
    return result.runs.at(0);
  }

  static std::unique_ptr<check::ScratchFolder> scratch_;
};

std::unique_ptr<check::ScratchFolder> WriteMaps::scratch_;

// <bos>, 4 blocks of 2 letters with dots between, #, 1 letter, the answer's 2: 16 tokens.
constexpr std::int64_t kTokens = 16;

TEST_F(WriteMaps, EveryStageOfEveryLayer) {
  MapsOptions request = options("all");
  request.samples = {0, 3};
  write_maps(request);
  const Json json = maps_json(request);
  const std::vector<std::string> stages = {"scores",  "kq_before", "heads_before",
                                           "softmax", "kq_after",  "heads_after"};
  EXPECT_EQ(json.at("schema"), "mta.maps/1");
  EXPECT_EQ(json.at("path"), "composed");
  EXPECT_EQ(json.at("step"), 2);
  EXPECT_EQ(json.at("stages"), stages);
  ASSERT_EQ(json.at("maps").size(), 2u * 2u * stages.size());
  for (const Json& entry : json.at("maps")) {
    const plot::Array array = plot::read_npy(request.out / entry.at("file").get<std::string>());
    EXPECT_EQ(array.shape, (std::vector<std::int64_t>{4, kTokens, kTokens}));
    for (std::int64_t head_row = 0; head_row < 4 * kTokens; ++head_row) {
      const float* const row = array.values.data() + head_row * kTokens;
      double sum = 0;
      for (std::int64_t column = 0; column < kTokens; ++column) {
        sum += row[column];
        if (column > head_row % kTokens) {
          EXPECT_EQ(row[column], 0);
        }
      }
      if (entry.at("stage") == "softmax") {
        EXPECT_NEAR(sum, 1, 1e-5);
      }
    }
  }
  ASSERT_EQ(json.at("samples").size(), 2u);
  EXPECT_EQ(json.at("samples")[1].at("index"), 3);
  EXPECT_EQ(json.at("samples")[0].at("tokens").size(), std::size_t(kTokens));
  EXPECT_EQ(json.at("learned").size(), 2u * 4u);
  for (const Json& entry : json.at("learned")) {
    const bool kernel = entry.at("stage").get<std::string>().starts_with("kq");
    EXPECT_EQ(entry.at("shape"), kernel ? Json({4, 2, 3}) : Json({4, 4}));
    plot::read_npy(request.out / entry.at("file").get<std::string>());
  }
  EXPECT_EQ(json.at("shares").size(), 2u * stages.size());
}

TEST_F(WriteMaps, AWindowIsThatPartOfTheWhole) {
  MapsOptions whole = options("whole"), part = options("part");
  whole.stages = part.stages = {"kq_after"};
  whole.layers = part.layers = {1};
  part.heads = {1, 3};
  part.rows = Window::parse("-4:", "--rows");
  part.columns = Window::parse("2:9", "--columns");
  write_maps(whole);
  write_maps(part);
  const Json entry = maps_json(part).at("maps").at(0);
  EXPECT_EQ(maps_json(part).at("maps").size(), 1u);
  EXPECT_EQ(entry.at("heads"), Json({1, 3}));
  const auto file = entry.at("file").get<std::string>();
  const plot::Array all = plot::read_npy(whole.out / file), cut = plot::read_npy(part.out / file);
  ASSERT_EQ(cut.shape, (std::vector<std::int64_t>{2, 4, 7}));
  for (std::int64_t h = 0; h < 2; ++h) {
    for (std::int64_t r = 0; r < 4; ++r) {
      for (std::int64_t c = 0; c < 7; ++c) {
        EXPECT_NEAR(cut.values[std::size_t((h * 4 + r) * 7 + c)],
                    all.values[std::size_t(((2 * h + 1) * kTokens + 12 + r) * kTokens + 2 + c)],
                    1e-6);
      }
    }
  }
}

TEST_F(WriteMaps, TwoRunsOnTheSameSamples) {
  MapsOptions request = options("two");
  request.compare = check::small_run(scratch_->path() / "other", {"/seeds/weights=5"});
  const MapsResult result = write_maps(request);
  ASSERT_EQ(result.runs.size(), 2u);
  EXPECT_EQ(result.runs[0].at("samples")[0].at("src"), result.runs[1].at("samples")[0].at("src"));
  for (const Json& entry : result.runs[1].at("maps")) {
    const auto file = entry.at("file").get<std::string>();
    EXPECT_TRUE(file.starts_with("compare/")) << file;
    EXPECT_TRUE(std::filesystem::exists(request.out / file));
  }
  EXPECT_TRUE(std::filesystem::exists(request.out / "compare" / "maps.json"));
}

TEST_F(WriteMaps, SamplesOfAFile) {
  MapsOptions request = options("file");
  request.data = scratch_->path() / "samples.jsonl";
  std::ofstream(*request.data) << R"({"src": "ab.cd.ef.gh#e", "tgt": "ef"})" << '\n';
  write_maps(request);
  const Json sample = maps_json(request).at("samples").at(0);
  EXPECT_EQ(sample.at("src"), "ab.cd.ef.gh#e");
  EXPECT_EQ(sample.at("spans").at(2).at("role"), "target");
}

TEST_F(WriteMaps, ReplaceAnEarlierArchiveButNothingElse) {
  MapsOptions request = options("again");
  request.layers = {0};
  write_maps(request);
  request.layers = {1};
  write_maps(request);
  EXPECT_FALSE(std::filesystem::exists(request.out / "sample_0" / "layer_0"));
  EXPECT_TRUE(std::filesystem::exists(request.out / "sample_0" / "layer_1"));
  MapsOptions taken = options("run");
  EXPECT_NE(refusal(taken).find("--out"), std::string::npos);
  EXPECT_TRUE(std::filesystem::exists(taken.out / "report.json"));
}

TEST_F(WriteMaps, RefuseWhatTheRunDoesNotHave) {
  const auto with = [](auto change) {
    MapsOptions request = options("refused");
    change(request);
    return refusal(request);
  };
  EXPECT_NE(with([](MapsOptions& o) { o.stages = {"softmx"}; }).find("did you mean \"softmax\""),
            std::string::npos);
  EXPECT_NE(with([](MapsOptions& o) { o.layers = {2}; }).find("--layers 2"), std::string::npos);
  EXPECT_NE(with([](MapsOptions& o) { o.heads = {-1}; }).find("--heads -1"), std::string::npos);
  EXPECT_NE(with([](MapsOptions& o) { o.samples = {-1}; }).find("--samples -1"), std::string::npos);
  EXPECT_NE(with([](MapsOptions& o) { o.rows = Window::parse("5:99", "--rows"); }).find("--rows"),
            std::string::npos);
  EXPECT_NE(with([](MapsOptions& o) { o.run = "/nonexistent"; }).find("/nonexistent"),
            std::string::npos);
}

TEST_F(WriteMaps, RefuseAPageThatNoBrowserOpens) {
  const MapArchive archive(scratch_->path() / "large");
  archive.require_room(1e8);
  EXPECT_THROW(archive.require_room(1e9), UserError);
}

TEST_F(WriteMaps, LongContextsByWindowInLittleMemory) {
  MapsOptions request = options("long");
  request.run = check::full_run(
      scratch_->path() / "long_run",
      {R"(/task={"kind": "block_finding", "block_length": 5, "query_length": 2, "alphabet": 26,
                 "length": 4094})",
       "/train/steps=1", "/train/batch=1", "/evaluate/samples=1", "/evaluate/batch=1"});
  request.columns = Window::parse("-40:", "--columns");
  // One whole map of four heads would take 268 MB; there are six in a layer, and more on the way.
  const auto few = expect_peak_below(100, request, "-12:");
  for (const Json& entry : few.at("maps")) EXPECT_EQ(entry.at("shape"), Json({4, 12, 40}));
  // The answer's rows are in the window, so the shares are there, over all columns.
  EXPECT_FALSE(few.at("shares").empty());
  request.layers = {1};
  request.stages = {"softmax"};
  const auto all = expect_peak_below(500, request, ":");
  EXPECT_GT(all.at("maps")[0].at("shape")[1], 4000);
}

TEST_F(WriteMaps, NumpyReadsEveryArray) {
  const std::string python = "PYTHONPATH=\"$PWD/.deps/python:$PYTHONPATH\" python3 ";
  if (std::system((python + "-c 'import numpy' 2>/dev/null").c_str()) != 0) {
    GTEST_SKIP() << "python3 has no numpy";
  }
  MapsOptions request = options("numpy");
  write_maps(request);
  EXPECT_EQ(std::system((python + "tests/maps/check_arrays.py " + request.out.string()).c_str()),
            0);
}

}  // namespace
}  // namespace mta::maps
