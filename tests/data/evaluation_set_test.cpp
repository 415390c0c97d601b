// What a model is scored on: the same samples as a generated file, in batches with a shorter last.
#include "lib/data/evaluation_set.h"

#include "lib/data/generate.h"
#include "tests/support/scratch_folder.h"
#include "tests/support/task_of.h"

#include <gtest/gtest.h>

#include <fstream>

namespace mta {
namespace {

using check::task_of;

TEST(EvaluationSet, EqualsTheGeneratedFile) {
  const check::ScratchFolder scratch;
  const auto task =
      task_of("block_finding", {"alphabet=10", "block_length=2", "query_length=1", "length=15"});
  const auto file = scratch.path() / "test.jsonl";
  {
    std::ofstream stream(file);
    generate(*task, {.split = Split::Test, .count = 150, .seed = 3}, stream);
  }
  const EvaluationSet fresh(task, 3, 150), read(task, file);
  ASSERT_EQ(fresh.samples().size(), 150u);
  ASSERT_EQ(fresh.batches(64), 3);
  for (std::int64_t k = 0; k < 3; ++k) {
    const Batch a = fresh.batch(k, 64), b = read.batch(k, 64);
    EXPECT_EQ(a.size, k < 2 ? 64 : 22);
    EXPECT_EQ(a.inputs, b.inputs);
    EXPECT_EQ(a.targets, b.targets);
    EXPECT_EQ(a.scored, b.scored);
    EXPECT_EQ(a.slices, b.slices);
  }
}

TEST(EvaluationSet, TakesFilesOfTheReference) {
  const EvaluationSet set(task_of("block_finding", {}), "tests/golden/data/blocks_n5_l2.jsonl");
  EXPECT_EQ(set.batches(50), 1);
  const Batch batch = set.batch(0, 50);
  EXPECT_EQ(batch.length, 320);
  EXPECT_EQ(std::count(batch.scored.begin(), batch.scored.end(), 1), 50 * 6);
}

}  // namespace
}  // namespace mta
