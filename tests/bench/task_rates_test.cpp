// Rates of generation: consistent with each other, and in about the time given.
#include "lib/bench/task_rates.h"

#include "tests/support/task_of.h"

#include <gtest/gtest.h>

namespace mta {
namespace {

TEST(TaskRates, AgreeWithEachOther) {
  const auto task = check::task_of("block_finding", {});
  const TaskRates rates = task_rates(*task, {.seconds = 0.2, .repeats = 3});
  EXPECT_GE(rates.seconds, 0.2);
  EXPECT_GE(rates.samples, 16 * 4 + 1);
  EXPECT_LE(rates.samples_per_s.least, rates.samples_per_s.median);
  EXPECT_LE(rates.samples_per_s.median, rates.samples_per_s.most);
  EXPECT_NEAR(rates.tokens_per_s.median / rates.samples_per_s.median, 320, 1e-6);
  EXPECT_GT(rates.text_bytes_per_s, 0);
  EXPECT_EQ(to_json(rates)["samples"], rates.samples);
}

}  // namespace
}  // namespace mta
