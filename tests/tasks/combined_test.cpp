// Mixtures and curricula: shares, names, tokens that must agree, and stages by number of batch.
#include "lib/core/batch.h"
#include "tests/support/task_of.h"

#include <gtest/gtest.h>

#include <cmath>
#include <map>
#include <set>

namespace mta {
namespace {

using check::refusal;
using check::task_of;

const std::string kTwo =
    R"(tasks=[{"name":"short","weight":3,"task":{"length":79}},{"name":"long","task":{"length":319}}])";

TEST(Mixture, SamplesComeByWeightWithTheirNames) {
  const auto task = task_of("mixture", {kTwo});
  EXPECT_EQ(task->max_tokens(), 321);
  EXPECT_EQ(task->vocabulary(), 32);
  std::map<std::string, int> counts;
  constexpr int kSamples = 4000;
  for (std::uint64_t i = 0; i < kSamples; ++i) {
    const Sample sample = task->sample(1, Split::Train, i);
    const auto name = sample.facts["task"].get<std::string>();
    ++counts[name];
    EXPECT_EQ(sample.src.size() + sample.tgt.size(), name == "short" ? 79u : 319u);
    EXPECT_EQ(sample.slices.back(), (std::pair<std::string, std::string>("task", name)));
    EXPECT_EQ(sample.slices.front().first, "block_position");
    EXPECT_EQ(sample.slices, task->slices(sample.facts));
  }
  EXPECT_NEAR(counts["short"], 0.75 * kSamples, 6 * std::sqrt(kSamples * 0.75 * 0.25));
}

TEST(Mixture, BatchesHoldSamplesOfDifferentLengths) {
  const auto task = task_of("mixture", {kTwo});
  std::vector<Sample> samples;
  for (std::uint64_t i = 0; i < 16; ++i) samples.push_back(task->sample(1, Split::Train, i));
  const Batch batch = make_batch(*task, samples);
  EXPECT_EQ(batch.length, 320);
  EXPECT_EQ(batch.first_scored, 74);
  EXPECT_EQ(std::count(batch.scored.begin(), batch.scored.end(), 1), 16 * 6);
}

TEST(Mixture, BlocksQueriesAndLengthsMayDiffer) {
  const auto task = task_of(
      "mixture",
      {R"(tasks=[{"name":"a","task":{"block_length":3,"query_length":1,"length":60}},)"
       R"({"name":"b","task":{"block_length":8,"query_length":8,"length":200,"hard_distractors":0.5}},)"
       R"({"name":"c","task":{"block_length":5,"query_length":3,"queries":2,"length":120}}])"});
  std::map<std::string, std::set<std::string>> lengths;
  for (std::uint64_t i = 0; i < 2000; ++i) {
    const Sample sample = task->sample(1, Split::Test, i);
    const auto name = sample.facts["task"].get<std::string>();
    const std::string block = sample.tgt.substr(0, sample.tgt.find('.'));
    EXPECT_EQ(block.size(), name == "a" ? 3u : name == "b" ? 8u : 5u);
    EXPECT_EQ(sample.part_slices.size(), name == "c" ? 2u : 0u);
    EXPECT_LE(static_cast<std::int64_t>(task->encode(sample).tokens.size()), task->max_tokens());
    for (const auto& [slice, value] : sample.slices) {
      if (slice == "length") lengths[name].insert(value);
    }
  }
  EXPECT_EQ(lengths["a"].size(), 1u);
  EXPECT_EQ(lengths.size(), 3u);
  EXPECT_NE(*lengths["a"].begin(), *lengths["b"].begin());
}

TEST(Mixture, EachPartEncodesItsOwnSamples) {
  const auto task =
      task_of("mixture", {R"(tasks=[{"task":{"kind":"associative_recall","length":40}},)"
                          R"({"task":{"kind":"associative_recall","length":80},"name":"far"}])"});
  EXPECT_FALSE(task->answers_at_once());
  for (std::uint64_t i = 0; i < 20; ++i) {
    const Encoded encoded = task->encode(task->sample(1, Split::Test, i));
    EXPECT_EQ(std::count(encoded.scored.begin(), encoded.scored.end(), 1), 8) << "the values only";
  }
}

TEST(Mixture, PartsMustFitTogether) {
  EXPECT_EQ(refusal("mixture", {"tasks=[]"}), "--set /task/tasks=[]: must have at least one task");
  const std::string tokens =
      refusal("mixture", {R"(tasks=[{"task":{}},{"task":{"alphabet":40}}])"});
  EXPECT_NE(tokens.find("must have the same tokens as the first part, but token 26 is \".\" in the "
                        "first part and \"A\" here"),
            std::string::npos)
      << tokens;
  EXPECT_NE(refusal("mixture", {R"(tasks=[{"task":{"samples":5}}])"}).find("must be \"fresh\""),
            std::string::npos);
  EXPECT_NE(
      refusal("mixture", {R"(tasks=[{"task":{"lenght":5}}])"}).find("did you mean \"length\""),
      std::string::npos);
  EXPECT_NE(refusal("mixture", {R"(tasks=[{"weight":0}])"}).find("must be above 0"),
            std::string::npos);
}

TEST(Mixture, TextTasksShareTheirVocabulary) {
  const auto task = task_of("mixture", {R"(tasks=[{"task":{"kind":"needle","length":200}},)"
                                        R"({"task":{"kind":"story"}}])"});
  for (std::uint64_t i = 0; i < 50; ++i) {
    const Sample sample = task->sample(1, Split::Train, i);
    EXPECT_LE(static_cast<std::int64_t>(task->encode(sample).tokens.size()), task->max_tokens());
  }
}

const std::vector<std::string> kStages = {
    R"(task={"length":319})",
    R"(stages=[{"until":10,"set":{"length":31}},{"until":20,"set":{"length":79,"query_length":1}}])"};

TEST(Curriculum, StagesComeByNumberOfBatch) {
  const auto task = task_of("curriculum", kStages);
  EXPECT_EQ(task->at_batch(0).max_tokens(), 33);
  EXPECT_EQ(task->at_batch(9).max_tokens(), 33);
  EXPECT_EQ(task->at_batch(10).max_tokens(), 80) << "one query letter: blocks end one earlier";
  EXPECT_EQ(task->at_batch(20).max_tokens(), 321);
  EXPECT_EQ(task->max_tokens(), 321);
  EXPECT_EQ(task->sample(1, Split::Test, 0).src.size(), 314u) << "evaluated as it ends";
  EXPECT_EQ(to_json(*task)["task"]["block_length"], 5) << "written with every key";
  const Document document;
  Problems problems(document);
  EXPECT_EQ(to_json(*read_task(to_json(*task), "/task", problems)), to_json(*task));
}

TEST(Curriculum, StagesMustRiseAndFitTogether) {
  EXPECT_NE(
      refusal("curriculum", {R"(stages=[{"until":5},{"until":5}])"}).find("/task/stages/1/until"),
      std::string::npos);
  EXPECT_NE(refusal("curriculum", {R"(stages=[{"until":5,"set":{"alphabet":40}}])"})
                .find("must have the same tokens"),
            std::string::npos);
  EXPECT_NE(refusal("curriculum", {R"(stages=[{"until":5,"set":{"length":3}}])"})
                .find("must be at least 13"),
            std::string::npos);
  EXPECT_NE(refusal("curriculum", {"samples=100"}).find("must be \"fresh\""), std::string::npos);
}

}  // namespace
}  // namespace mta
