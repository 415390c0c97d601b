// Selective copying and induction: answers found again by plain string work.
#include "tasks/split.h"
#include "tests/support/task_of.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <set>

namespace mta {
namespace {

using check::refusal;
using check::task_of;

std::size_t occurrences(const std::string& text, const std::string& word) {
  std::size_t count = 0;
  for (std::size_t at = text.find(word); at != std::string::npos; at = text.find(word, at + 1)) {
    ++count;
  }
  return count;
}

/// FNV-1a (32 bit) of 1,000 samples of seed 42.
std::uint32_t checksum(const Task& task) {
  std::string bytes;
  for (std::uint64_t i = 0; i < 1000; ++i) {
    const Sample sample = task.sample(42, Split::Train, i);
    bytes += sample.src + '|' + sample.tgt + '\n';
  }
  return stream_of(bytes);
}

/// Two thousand samples of `length` characters with eight letters among them.
void expect_copies(std::size_t length) {
  const auto task = task_of("selective_copying", {"length=" + std::to_string(length)});
  std::vector<int> taken(length);
  std::set<std::uint64_t> contexts;
  constexpr int kSamples = 2000;
  for (std::uint64_t i = 0; i < kSamples; ++i) {
    const Split split = i % 8 == 0 ? Split::Test : Split::Train;
    const Sample sample = task->sample(1, split, i);
    ASSERT_EQ(sample.src.size(), length + 1);
    EXPECT_EQ(sample.src.back(), '#');
    std::string letters = sample.src.substr(0, length);
    for (std::size_t at = 0; at < length; ++at) taken[at] += letters[at] != '_' ? 1 : 0;
    std::erase(letters, '_');
    EXPECT_EQ(letters, sample.tgt);
    EXPECT_EQ(sample.tgt.size(), 8u);
    EXPECT_EQ(sample.tgt.find_first_not_of("abcdefghijklmnop"), std::string::npos);
    EXPECT_EQ(split_of(sample.context), split);
    EXPECT_TRUE(contexts.insert(sample.context).second);
    EXPECT_LE(static_cast<std::int64_t>(task->encode(sample).tokens.size()), task->max_tokens());
  }
  const double share = 8.0 / static_cast<double>(length);  // binomial
  const double sigma = std::sqrt(kSamples * share * (1 - share));
  for (const int count : taken) EXPECT_NEAR(count, kSamples * share, 6 * sigma);
}

TEST(SelectiveCopying, TheAnswerIsWhatIsNotNoise) {
  for (const std::size_t length : {16u, 64u, 256u}) expect_copies(length);
}

TEST(SelectiveCopying, SameSeedSameBytes) {
  EXPECT_EQ(checksum(*task_of("selective_copying", {})),
            4288864629u);  // made when the task was written
}

TEST(SelectiveCopying, ImpossibleParametersAreRefused) {
  EXPECT_EQ(refusal("selective_copying", {"letters=9", "length=8"}),
            "--set /task/letters=9: must be at most length (letters 9, length 8)");
  EXPECT_EQ(refusal("selective_copying", {"letters=8", "length=8"}), "");
  EXPECT_NE(refusal("selective_copying", {"letters=1", "length=1", "alphabet=2"}), "");
}

TEST(Induction, ThePrefixStandsOnceBeforeAndTheAnswerAfterIt) {
  for (const std::vector<std::string>& settings :
       {std::vector<std::string>{},
        {"prefix=1", "alphabet=26", "length=128"},
        {"prefix=3", "alphabet=4", "answer=5", "length=40"}}) {
    const auto task = task_of("induction", settings);
    const Json keys = to_json(*task);
    const auto length = keys["length"].get<std::size_t>();
    const auto prefix = keys["prefix"].get<std::size_t>();
    for (std::uint64_t i = 0; i < 2000; ++i) {
      const Split split = i % 8 == 0 ? Split::Test : Split::Train;
      const Sample sample = task->sample(1, split, i);
      SCOPED_TRACE(sample.src);
      ASSERT_EQ(sample.src.size(), length + prefix);
      const std::string end = sample.src.substr(length);
      EXPECT_EQ(occurrences(sample.src, end), 2u);
      const std::size_t place = sample.src.find(end);
      EXPECT_EQ(sample.tgt, sample.src.substr(place + prefix, keys["answer"].get<std::size_t>()));
      EXPECT_EQ(sample.facts["gap"], length - place);
      EXPECT_LE(place + prefix + sample.tgt.size(), length);
      EXPECT_EQ(split_of(sample.context), split);
      EXPECT_EQ(static_cast<std::int64_t>(task->encode(sample).tokens.size()), task->max_tokens());
      if (HasFailure()) return;
    }
  }
}

TEST(Induction, SameSeedSameBytes) {
  EXPECT_EQ(checksum(*task_of("induction", {})), 294596067u);  // made when the task was written
}

TEST(Induction, ImpossibleParametersAreRefused) {
  EXPECT_EQ(refusal("induction", {"length=4", "prefix=3", "answer=2"}),
            "--set /task/length=4: must be at least prefix + answer = 3 + 2, but is 4");
  // Two letters: a text that holds one of them only once is all of the other, or nearly.
  EXPECT_NE(refusal("induction", {"length=2", "prefix=1", "alphabet=2"}), "");
}

}  // namespace
}  // namespace mta
