// Batches made ahead: in order, the same for any number of threads, errors in their place.
#include "lib/data/feed.h"

#include "lib/data/training_set.h"
#include "tests/support/task_of.h"

#include <gtest/gtest.h>

#include <atomic>
#include <chrono>
#include <stdexcept>

namespace mta {
namespace {

Batch numbered(std::int64_t number) {
  Batch batch;
  batch.size = number;
  return batch;
}

TEST(Feed, DeliversInOrderThoughThreadsFinishOutOfOrder) {
  for (const int threads : {1, 2, 4}) {
    Feed feed(
        [](std::int64_t number) {
          std::this_thread::sleep_for(std::chrono::microseconds(number % 3 == 0 ? 300 : 10));
          return numbered(number);
        },
        {.threads = threads});
    for (std::int64_t i = 0; i < 200; ++i) EXPECT_EQ(feed.next().size, i);
  }
}

TEST(Feed, StartsAnywhere) {
  Feed feed(numbered, {.first = 1'000'000'000'000, .threads = 2});
  EXPECT_EQ(feed.next().size, 1'000'000'000'000);
  EXPECT_EQ(feed.next().size, 1'000'000'000'001);
}

TEST(Feed, BatchesDependOnTheirNumberOnly) {
  const TrainingSet set(check::task_of("block_finding", {"samples=500"}), 1, 16);
  const auto make = [&set](std::int64_t k) { return set.batch(k); };
  Feed one(make, {.threads = 1}), four(make, {.threads = 4, .ahead = 3});
  Feed resumed(make, {.first = 20, .threads = 2});
  for (std::int64_t k = 0; k < 40; ++k) {
    const Batch a = one.next();
    EXPECT_EQ(a.inputs, four.next().inputs);
    if (k >= 20) {
      EXPECT_EQ(a.inputs, resumed.next().inputs);
    }
  }
}

TEST(Feed, WorksAheadButNotWithoutBound) {
  std::atomic<std::int64_t> made = 0;
  Feed feed(
      [&made](std::int64_t number) {
        ++made;
        return numbered(number);
      },
      {.threads = 2, .ahead = 5});
  feed.next();
  const auto deadline = std::chrono::steady_clock::now() + std::chrono::seconds(20);
  while (made < 6 && std::chrono::steady_clock::now() < deadline) std::this_thread::yield();
  std::this_thread::sleep_for(std::chrono::milliseconds(20));  // time to go too far, if it would
  EXPECT_EQ(made, 6) << "one taken and five ahead";
}

TEST(Feed, ErrorsArriveInTheirPlace) {
  Feed feed(
      [](std::int64_t number) {
        if (number == 3) throw std::runtime_error("batch 3 cannot be made");
        return numbered(number);
      },
      {.threads = 4});
  for (std::int64_t i = 0; i < 3; ++i) EXPECT_EQ(feed.next().size, i);
  try {
    feed.next();
    FAIL() << "no error";
  } catch (const std::runtime_error& error) {
    EXPECT_STREQ(error.what(), "batch 3 cannot be made");
  }
  EXPECT_EQ(feed.next().size, 4);
}

TEST(Feed, EndsCleanlyAtAnyTime) {
  for (int i = 0; i < 50; ++i) {
    std::atomic<int> begun = 0, ended = 0;
    {
      Feed feed(
          [&](std::int64_t number) -> Batch {
            ++begun;
            std::this_thread::sleep_for(std::chrono::microseconds(100));
            ++ended;
            if (number % 2 == 1) throw std::runtime_error("odd");
            return numbered(number);
          },
          {.threads = 3, .ahead = 2});
      if (i % 2 == 1) {
        EXPECT_EQ(feed.next().size, 0);
      }
    }
    const int at_the_end = begun;
    EXPECT_EQ(ended, at_the_end) << "what was begun is waited for";
    EXPECT_LE(at_the_end, i % 2 == 1 ? 3 : 2) << "and nothing beyond the window is begun";
    std::this_thread::sleep_for(std::chrono::microseconds(200));
    EXPECT_EQ(begun, at_the_end) << "no thread is left to begin another";
  }
}

TEST(Feed, MeasuresWaiting) {
  Feed feed(
      [](std::int64_t number) {
        std::this_thread::sleep_for(std::chrono::milliseconds(20));
        return numbered(number);
      },
      {});
  feed.next();
  EXPECT_GT(feed.waited_seconds(), 0.005);
}

}  // namespace
}  // namespace mta
