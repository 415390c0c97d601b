// MQAR: pairs, queries and noise, checked by reading the words; scored are exactly the recalled
// ones.
#include "lib/core/batch.h"
#include "tasks/split.h"
#include "tests/support/task_of.h"

#include <gtest/gtest.h>

#include <map>
#include <set>
#include <sstream>

namespace mta {
namespace {

using check::refusal;
using check::task_of;

std::vector<std::string> words_of(const std::string& text) {
  std::istringstream stream(text);
  std::vector<std::string> words;
  for (std::string word; stream >> word;) words.push_back(word);
  return words;
}

/// Reads the pairs, then answers the queries; expects that the sample agrees and scores the
/// answers.
void expect_solved(const Task& task, const Sample& sample, std::size_t pairs, std::size_t length) {
  SCOPED_TRACE(sample.src + " | " + sample.tgt);
  const auto given = words_of(sample.src), asked = words_of(sample.tgt);
  ASSERT_EQ(given.size(), 2 * pairs);
  ASSERT_EQ(given.size() + asked.size(), length);
  std::map<std::string, std::string> value_of;
  std::set<std::string> values;
  for (std::size_t i = 0; i < given.size(); i += 2) {
    EXPECT_EQ(given[i][0], 'k');
    EXPECT_EQ(given[i + 1][0], 'v');
    EXPECT_TRUE(value_of.emplace(given[i], given[i + 1]).second);
    EXPECT_TRUE(values.insert(given[i + 1]).second);
  }
  const Encoded encoded = task.encode(sample);
  ASSERT_EQ(encoded.tokens.size(), length + 2);
  std::vector<std::uint8_t> scored(length + 2);
  std::set<std::string> recalled;
  for (std::size_t i = 0; i < asked.size(); ++i) {
    if (!value_of.contains(asked[i])) continue;
    EXPECT_EQ(i % 2, 0u) << "queries stand in the even places";
    ASSERT_LT(i + 1, asked.size());
    EXPECT_EQ(asked[i + 1], value_of[asked[i]]);
    EXPECT_TRUE(recalled.insert(asked[i]).second);
    scored[1 + given.size() + i + 1] = 1;
  }
  EXPECT_EQ(recalled.size(), pairs);
  EXPECT_EQ(encoded.scored, scored);
  ASSERT_EQ(encoded.shown.size(), length + 2);
  for (std::size_t t = 0; t < encoded.shown.size(); ++t) {
    const std::string read = task.decode({&encoded.shown[t], 1});
    if (scored[t] != 0) {
      EXPECT_FALSE(value_of.contains(read)) << "a key in use would be another query";
    } else {
      EXPECT_EQ(encoded.shown[t], encoded.tokens[t]);
    }
  }
}

/// Two thousand samples of a length, no two with the same pairs.
void expect_all_solved(const std::string& noise, std::size_t pairs, std::size_t length) {
  const auto task = task_of("associative_recall",
                            {"pairs=" + std::to_string(pairs), "length=" + std::to_string(length),
                             "alphabet=64", "noise=" + noise});
  EXPECT_EQ(task->max_tokens(), static_cast<std::int64_t>(length) + 2);
  EXPECT_EQ(task->vocabulary(), 64 + 1 + 6);
  EXPECT_FALSE(task->answers_at_once());
  std::set<std::uint64_t> contexts;
  for (std::uint64_t i = 0; i < 2000; ++i) {
    const Split split = i % 8 == 0 ? Split::Test : Split::Train;
    const Sample sample = task->sample(1, split, i);
    expect_solved(*task, sample, pairs, length);
    EXPECT_EQ(split_of(sample.context), split);
    EXPECT_TRUE(contexts.insert(sample.context).second);
    EXPECT_EQ(task->decode(task->encode(sample).tokens),
              "<bos>" + sample.src + " " + sample.tgt + "<eos>");
    if (testing::Test::HasFailure()) return;
  }
}

TEST(AssociativeRecall, EveryPairIsAskedOnceAndAnswered) {
  for (const std::string noise : {"filler", "random"}) {
    expect_all_solved(noise, 4, 32);
    expect_all_solved(noise, 8, 64);
    expect_all_solved(noise, 16, 256);
  }
}

TEST(AssociativeRecall, AnswersMayBeShown) {
  const auto hidden = task_of("associative_recall", {}),
             shown = task_of("associative_recall", {"answers=shown"});
  const Sample sample = hidden->sample(1, Split::Train, 0);
  EXPECT_EQ(sample.tgt, shown->sample(1, Split::Train, 0).tgt);
  const Batch without = make_batch(*hidden, {sample}), with = make_batch(*shown, {sample});
  EXPECT_EQ(without.targets, with.targets);
  EXPECT_EQ(without.scored, with.scored);
  std::size_t differing = 0;
  for (std::size_t t = 0; t < with.inputs.size(); ++t) {
    differing += with.inputs[t] != without.inputs[t] ? 1u : 0u;
    if (t > 0 && with.scored[t - 1] != 0) {
      EXPECT_EQ(with.inputs[t], with.targets[t - 1]);
    }
  }
  EXPECT_EQ(differing, 8u) << "one for each pair";
}

TEST(AssociativeRecall, FullOfQueries) {
  const auto task = task_of("associative_recall", {"pairs=16", "length=64", "alphabet=32"});
  for (std::uint64_t i = 0; i < 200; ++i) {
    expect_solved(*task, task->sample(1, Split::Train, i), 16, 64);
  }
}

/// Mean place of the queries among the 56 slots, for one pair.
double mean_slot(const std::string& power) {
  const auto task = task_of("associative_recall", {"pairs=1", "length=114", "gap_power=" + power});
  double sum = 0;
  constexpr int kSamples = 4000;
  for (std::uint64_t i = 0; i < kSamples; ++i) {
    const auto asked = words_of(task->sample(1, Split::Train, i).tgt);
    std::size_t at = 0;
    while (asked[at][0] != 'k') at += 2;
    sum += static_cast<double>(at) / 2;
  }
  return sum / kSamples;
}

TEST(AssociativeRecall, GapsFollowThePowerLaw) {
  // Means of x^(a-1) over x = 1 ... 56, less one: 27.5 for a = 1, and for a = 0.01 as summed here.
  double weights = 0, sum = 0;
  for (int x = 1; x <= 56; ++x) {
    weights += std::pow(x, -0.99);
    sum += (x - 1) * std::pow(x, -0.99);
  }
  EXPECT_NEAR(mean_slot("1"), 27.5, 1.5);  // 6 sigma: 16.2 / sqrt(4000) each
  EXPECT_NEAR(mean_slot("0.01"), sum / weights, 1.5);
}

TEST(AssociativeRecall, SameSeedSameBytes) {
  // Stored: FNV-1a (32 bit) of 1,000 samples of seed 42, made by this test when the task was
  // written.
  const auto task = task_of("associative_recall", {"noise=random"});
  std::string bytes;
  for (std::uint64_t i = 0; i < 1000; ++i) {
    const Sample sample = task->sample(42, Split::Train, i);
    bytes += sample.src + '|' + sample.tgt + '\n';
  }
  EXPECT_EQ(stream_of(bytes), 0x2d49d1c0u) << std::hex << stream_of(bytes);
}

TEST(AssociativeRecall, ImpossibleParametersAreRefused) {
  EXPECT_EQ(refusal("associative_recall", {"pairs=20", "length=64"}),
            "--set /task/length=64: must be at least 4 x pairs = 80: two tokens for each pair and "
            "two for each query, but is 64");
  EXPECT_EQ(
      refusal("associative_recall", {"pairs=10", "alphabet=16"}),
      "--set /task/pairs=10: must be at most alphabet / 2, as keys differ (pairs 10, alphabet "
      "16)");
  EXPECT_NE(refusal("associative_recall", {"alphabet=17", "length=63"}), "");
}

}  // namespace
}  // namespace mta
