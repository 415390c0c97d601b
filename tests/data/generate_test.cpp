// Data sets: different contexts, the same bytes for the same request, and an end where there is
// one.
#include "lib/data/generate.h"

#include "lib/core/rng.h"
#include "lib/data/jsonl.h"
#include "tests/support/task_of.h"

#include <gtest/gtest.h>

#include <set>
#include <sstream>

namespace mta {
namespace {

using check::task_of;

std::string generated(const Task& task, const GenerateRequest& request) {
  std::ostringstream stream;
  generate(task, request, stream);
  return stream.str();
}

std::set<std::string> contexts_of(const std::string& jsonl) {
  std::istringstream stream(jsonl);
  SampleReader reader(stream, "samples");
  std::set<std::string> contexts;
  for (Sample sample; reader.next(sample);) {
    EXPECT_TRUE(contexts.insert(sample.src.substr(0, sample.src.find('#'))).second);
  }
  return contexts;
}

TEST(Generate, ContextsDifferEvenInATinyTask) {
  // Four letters in four blocks of one: 24 orders, about 21 of them in the training split.
  const auto task =
      task_of("block_finding", {"alphabet=4", "block_length=1", "query_length=1", "length=10"});
  const std::string train = generated(*task, {.split = Split::Train, .count = 20, .seed = 1});
  const auto trained = contexts_of(train);
  EXPECT_EQ(trained.size(), 20u);
  for (const std::string& context :
       contexts_of(generated(*task, {.split = Split::Test, .count = 1, .seed = 9}))) {
    EXPECT_FALSE(trained.contains(context));
  }
  try {
    generated(*task, {.split = Split::Train, .count = 25, .seed = 1});
    FAIL() << "there are 24 contexts";
  } catch (const UserError& error) {
    EXPECT_NE(std::string(error.what()).find("different contexts found"), std::string::npos);
  }
}

TEST(Generate, SameRequestSameBytes) {
  const auto task = task_of("block_finding", {});
  const std::string bytes = generated(*task, {.split = Split::Test, .count = 1000, .seed = 42});
  // FNV-1a (32 bit) of the 1,000 lines, made by this test when a record got its length.
  EXPECT_EQ(stream_of(bytes), 0x3d730267u) << std::hex << stream_of(bytes);
  EXPECT_NE(bytes, generated(*task, {.split = Split::Test, .count = 1000, .seed = 43}));
  EXPECT_TRUE(bytes.starts_with(generated(*task, {.split = Split::Test, .count = 10, .seed = 42})));
}

TEST(Generate, RulersFormatHasTheFieldsThatItsEvaluationReads) {
  for (const auto& [preset, prefix] :
       {std::pair{"multi_needle", "The special magic number for "},
        std::pair{"niah_multivalue", "The special magic numbers for "},
        std::pair{"niah_single_3", "The special magic uuid for "}}) {
    const auto task = task_of("needle", {std::string("preset=") + preset, "length=400"});
    const std::string jsonl =
        generated(*task, {.split = Split::Test, .count = 20, .format = SampleFormat::Ruler});
    std::istringstream stream(jsonl);
    std::uint64_t index = 0;
    for (std::string line; std::getline(stream, line); ++index) {
      const Json record = Json::parse(line);
      const Sample sample = task->sample(1, Split::Test, index);
      EXPECT_EQ(record["index"], index);
      EXPECT_EQ(record["input"], sample.src);
      EXPECT_EQ(record["outputs"], sample.facts["answers"]);
      EXPECT_EQ(record["length"], sample.facts["length"]);
      const auto start = record["answer_prefix"].get<std::string>();
      EXPECT_TRUE(start.starts_with(prefix)) << start;
      EXPECT_TRUE(start.ends_with(start.find("numbers") == std::string::npos ? " is" : " are"));
      const std::string asked = sample.src.substr(sample.src.rfind(" for "));
      EXPECT_NE(start.find(asked.substr(0, asked.size() - 1)), std::string::npos) << start;
      EXPECT_EQ(record.size(), 5u);
    }
    EXPECT_EQ(index, 20u);
  }
  EXPECT_THROW(generated(*task_of("block_finding", {}), {.format = SampleFormat::Ruler}),
               UserError);
}

TEST(Generate, AStreamThatFailsIsAnError) {
  std::ostringstream stream;
  stream.setstate(std::ios::badbit);
  EXPECT_THROW(generate(*task_of("block_finding", {}), {.count = 1}, stream), std::runtime_error);
}

}  // namespace
}  // namespace mta
