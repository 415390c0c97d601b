// metrics.jsonl and evaluations.jsonl: appending, reading past a cut, going back to a step.
#include "lib/train/json_lines.h"

#include "lib/core/error.h"
#include "lib/core/files.h"
#include "tests/support/scratch_folder.h"

#include <gtest/gtest.h>

#include <fstream>

namespace mta {
namespace {

class JsonLinesTest : public ::testing::Test {
 protected:
  check::ScratchFolder scratch_;
  std::filesystem::path path_ = scratch_.path() / "lines.jsonl";
};

TEST_F(JsonLinesTest, AppendsAfterWhatIsThere) {
  JsonLines(path_).append({{"step", 1}});
  JsonLines(path_).append({{"step", 2}});
  EXPECT_EQ(read_file(path_), "{\"step\":1}\n{\"step\":2}\n");
}

TEST_F(JsonLinesTest, ReadsPastALineThatWasCut) {
  std::ofstream(path_) << "{\"step\":1}\n{\"st";
  const std::vector<Json> lines = read_json_lines(path_);
  ASSERT_EQ(lines.size(), 1u);
  EXPECT_EQ(lines[0].at("step"), 1);
}

TEST_F(JsonLinesTest, RefusesAWholeLineThatIsNotAnObject) {
  std::ofstream(path_) << "{\"step\":1}\n{\"st\n";
  try {
    read_json_lines(path_);
    FAIL() << "accepted";
  } catch (const UserError& error) {
    EXPECT_NE(std::string(error.what()).find(path_.string() + ":2"), std::string::npos)
        << error.what();
  }
}

TEST_F(JsonLinesTest, GoesBackToAStep) {
  std::ofstream(path_) << "{\"step\":10,\"lr\":0.1}\n{\"step\":20}\n{\"step\":30}\n{\"st";
  keep_json_lines(path_, 20);
  EXPECT_EQ(read_file(path_), "{\"step\":10,\"lr\":0.1}\n{\"step\":20}\n");
  keep_json_lines(path_, 0);
  EXPECT_EQ(read_file(path_), "");
}

TEST_F(JsonLinesTest, NothingIsThereBeforeTheFirstLine) {
  EXPECT_TRUE(read_json_lines(path_).empty());
  keep_json_lines(path_, 5);
  EXPECT_FALSE(std::filesystem::exists(path_));
}

}  // namespace
}  // namespace mta
