// Training batches: functions of their number, epochs over a fixed set, no repeats in it.
#include "lib/data/training_set.h"

#include "tests/support/task_of.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <set>

namespace mta {
namespace {

using check::task_of;

TEST(TrainingSet, FreshSamplesNeverComeAgain) {
  const TrainingSet set(task_of("block_finding", {}), 1, 8);
  EXPECT_EQ(set.sample_index(0), 0u);
  EXPECT_EQ(set.sample_index(1'000'000'000'000), 1'000'000'000'000u);
  EXPECT_EQ(set.batch(3).inputs, set.batch(3).inputs);
  EXPECT_NE(set.batch(3).inputs, set.batch(4).inputs);
}

TEST(TrainingSet, ABatchHoldsTheSamplesInOrder) {
  const auto task = task_of("block_finding", {"samples=100"});
  const TrainingSet set(task, 5, 8);
  std::vector<Sample> samples;
  for (std::uint64_t i = 16; i < 24; ++i) {
    samples.push_back(task->sample(5, Split::Train, set.sample_index(i)));
  }
  EXPECT_EQ(set.batch(2).inputs, make_batch(*task, samples).inputs);
}

TEST(TrainingSet, ACurriculumChangesWithTheNumberOfTheBatch) {
  const TrainingSet set(task_of("curriculum", {R"(stages=[{"until":3,"set":{"length":31}}])"}), 1,
                        2);
  EXPECT_EQ(set.batch(2).length, 32);
  EXPECT_EQ(set.batch(3).length, 320);
}

TEST(TrainingSet, EveryEpochHasEverySampleOnceInAnOrderOfItsOwn) {
  constexpr std::uint64_t kSize = 1000;
  const TrainingSet set(task_of("block_finding", {"samples=1000"}), 1, 64);
  std::vector<std::vector<std::uint64_t>> epochs;
  for (std::uint64_t epoch = 0; epoch < 3; ++epoch) {
    std::vector<std::uint64_t> indices;
    for (std::uint64_t i = 0; i < kSize; ++i) {
      indices.push_back(set.sample_index(epoch * kSize + i));
    }
    EXPECT_EQ(std::set<std::uint64_t>(indices.begin(), indices.end()).size(), kSize);
    EXPECT_EQ(*std::max_element(indices.begin(), indices.end()), kSize - 1);
    epochs.push_back(indices);
  }
  EXPECT_NE(epochs[0], epochs[1]);
  EXPECT_NE(epochs[1], epochs[2]);
}

TEST(TrainingSet, AFixedSetOfATinyTaskHasNoRepeats) {
  // 24 contexts in all, about 21 of them for training: repeats are certain without care.
  const auto task = task_of("block_finding", {"alphabet=4", "block_length=1", "query_length=1",
                                              "length=10", "samples=20"});
  const TrainingSet set(task, 1, 4);
  std::set<std::uint64_t> contexts;
  for (std::uint64_t i = 0; i < 20; ++i) {
    contexts.insert(task->sample(1, Split::Train, set.sample_index(i)).context);
  }
  EXPECT_EQ(contexts.size(), 20u);
}

TEST(TrainingSet, ASetLargerThanTheTaskIsRefused) {
  const auto task = task_of("block_finding", {"alphabet=4", "block_length=1", "query_length=1",
                                              "length=10", "samples=1000"});
  EXPECT_THROW(TrainingSet(task, 1, 4), UserError);
}

}  // namespace
}  // namespace mta
