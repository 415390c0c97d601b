// Random tokens: every token in range and predicted, and the text read back as it was written.
#include "tasks/split.h"
#include "tests/support/task_of.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <set>

namespace mta {
namespace {

using check::refusal;
using check::task_of;

TEST(RandomTokens, EveryTokenButTheFirstIsPredicted) {
  const auto task = task_of("random_tokens", {"length=64", "vocabulary=7"});
  EXPECT_EQ(task->vocabulary(), 7);
  EXPECT_EQ(task->max_tokens(), 65);
  std::set<std::int32_t> seen;
  std::set<std::uint64_t> contexts;
  for (const Split split : {Split::Train, Split::Test}) {
    for (std::uint64_t i = 0; i < 200; ++i) {
      const Sample sample = task->sample(3, split, i);
      EXPECT_EQ(split_of(sample.context), split);
      EXPECT_TRUE(contexts.insert(sample.context).second);
      const Encoded encoded = task->encode(sample);
      ASSERT_EQ(encoded.tokens.size(), 65U);
      EXPECT_EQ(encoded.scored.front(), 0);
      EXPECT_EQ(std::count(encoded.scored.begin(), encoded.scored.end(), 1), 64);
      EXPECT_EQ(task->decode(encoded.tokens), sample.src + ' ' + sample.tgt);
      EXPECT_EQ(task->encode_prompt(sample.src + ' ' + sample.tgt), encoded.tokens);
      seen.insert(encoded.tokens.begin(), encoded.tokens.end());
    }
  }
  EXPECT_EQ(seen, (std::set<std::int32_t>{0, 1, 2, 3, 4, 5, 6}));
}

TEST(RandomTokens, ASampleIsAFunctionOfSeedSplitAndIndex) {
  const auto task = task_of("random_tokens", {"length=5", "vocabulary=128256"});
  EXPECT_EQ(task->sample(1, Split::Train, 2).tgt, task->sample(1, Split::Train, 2).tgt);
  EXPECT_NE(task->sample(1, Split::Train, 2).tgt, task->sample(1, Split::Train, 3).tgt);
  EXPECT_NE(task->sample(1, Split::Train, 2).tgt, task->sample(2, Split::Train, 2).tgt);
  EXPECT_NE(task->sample(1, Split::Train, 2).tgt, task->sample(1, Split::Test, 2).tgt);
}

TEST(RandomTokens, WrongTextsAndKeysAreRefusedWithTheirPlace) {
  const auto task = task_of("random_tokens", {"length=4", "vocabulary=10"});
  for (const auto& [text, place] : {std::pair("3 10", "prompt token 2"),
                                    {"x", "prompt token 1"},
                                    {"", "prompt token 1"},
                                    {"1  2", "prompt token 2"},
                                    {"1 2 ", "prompt token 3"},
                                    {"1 -2", "prompt token 2"}}) {
    try {
      task->encode_prompt(text);
      ADD_FAILURE() << "accepted \"" << text << "\"";
    } catch (const UserError& error) {
      EXPECT_EQ(error.problems().at(0).place, place) << text;
      EXPECT_NE(error.problems().at(0).message.find("from 0 to 9"), std::string::npos);
    }
  }
  EXPECT_NE(refusal("random_tokens", {"vocabulary=1"}).find("must be at least 2"),
            std::string::npos);
}

}  // namespace
}  // namespace mta
