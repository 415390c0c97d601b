// Timing in turns: every candidate runs equally often, ratios belong to the same turn.
#include "lib/bench/timing.h"

#include <gtest/gtest.h>

#include <chrono>
#include <thread>

namespace mta {
namespace {

TEST(Timing, SpreadIsMedianQuartilesAndRange) {
  const Spread spread = spread_of({5, 1, 2, 4, 3});
  EXPECT_EQ(spread.median, 3);
  EXPECT_EQ(spread.lower, 2);
  EXPECT_EQ(spread.upper, 4);
  EXPECT_EQ(spread.least, 1);
  EXPECT_EQ(spread.most, 5);
  EXPECT_EQ(spread_of({1, 2}).median, 1.5);
}

TEST(Timing, CandidatesTakeTurnsAndTheFirstRotates) {
  std::string order;
  const auto timings = time_in_turns({{"a", [&] { order += 'a'; }}, {"b", [&] { order += 'b'; }}},
                                     {.warm_up = 1, .turns = 2});
  EXPECT_EQ(order, "abbaab");
  ASSERT_EQ(timings.size(), 2u);
  EXPECT_EQ(timings[0].ratio.median, 1);
}

TEST(Timing, RatiosAreOfTimes) {
  const auto sleep = [](int ms) {
    return [ms] { std::this_thread::sleep_for(std::chrono::milliseconds(ms)); };
  };
  const auto timings =
      time_in_turns({{"short", sleep(2)}, {"long", sleep(20)}}, {.warm_up = 0, .turns = 5});
  EXPECT_GE(timings[1].ms.least, 20);
  EXPECT_GT(timings[1].ratio.median, 1.5);
}

}  // namespace
}  // namespace mta
