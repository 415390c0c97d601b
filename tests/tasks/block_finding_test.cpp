// Block finding: every property of its samples, on thousands of them, by plain string work.
#include "lib/core/batch.h"
#include "lib/text/hash.h"
#include "tasks/split.h"
#include "tests/support/task_of.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <set>
#include <sstream>

namespace mta {
namespace {

using check::refusal;
using check::task_of;

std::vector<std::string> split_text(const std::string& text, char separator) {
  std::vector<std::string> parts;
  std::istringstream stream(text);
  for (std::string part; std::getline(stream, part, separator);) parts.push_back(part);
  return parts;
}

bool holds_all(const std::string& block, const std::string& letters) {
  return std::all_of(letters.begin(), letters.end(),
                     [&](char letter) { return block.find(letter) != std::string::npos; });
}

bool letters_differ(const std::string& block) {
  return std::set<char>(block.begin(), block.end()).size() == block.size();
}

struct Expected {
  std::size_t block, query, context, blocks;
  std::size_t last;  // letters of the last block
};

/// One sample against the description of the task, written out.
void expect_properties(const Sample& sample, const Expected& want) {
  SCOPED_TRACE(sample.src);
  const std::size_t hash = sample.src.find('#');
  ASSERT_EQ(hash, want.context);
  const std::string query = sample.src.substr(hash + 1);
  ASSERT_EQ(query.size(), want.query);
  EXPECT_TRUE(letters_differ(query));
  EXPECT_TRUE(holds_all(sample.tgt, query));
  ASSERT_EQ(sample.tgt.size(), want.block);

  const std::vector<std::string> blocks = split_text(sample.src.substr(0, hash), '.');
  ASSERT_EQ(blocks.size(), want.blocks);
  const auto position = sample.facts["block_position"].get<std::size_t>();
  EXPECT_EQ(sample.facts["blocks"], want.blocks);
  const std::string length = std::to_string(sample.src.size() + sample.tgt.size());
  EXPECT_EQ(sample.slices,
            (Slices{{"block_position", std::to_string(position)}, {"length", length}}));
  for (std::size_t b = 0; b < blocks.size(); ++b) {
    const bool last = b + 1 == blocks.size();
    ASSERT_EQ(blocks[b].size(), last ? want.last : want.block);
    EXPECT_TRUE(letters_differ(blocks[b]));
    if (b == position) {
      EXPECT_EQ(blocks[b], sample.tgt.substr(0, blocks[b].size()));
    } else {
      EXPECT_FALSE(holds_all(blocks[b], query)) << "block " << b;
    }
  }
  EXPECT_EQ(std::set<std::string>(blocks.begin(), blocks.end()).size(), blocks.size());
  for (std::size_t i = 0; i < query.size(); ++i) {
    EXPECT_EQ(sample.tgt[sample.facts["query_positions"][i].get<std::size_t>()], query[i]);
  }
  EXPECT_EQ(sample.context, hash_text(sample.src.substr(0, hash)));
}

void expect_properties_of_all(const Task& task, const Expected& want) {
  std::set<std::uint64_t> contexts;
  for (std::uint64_t i = 0; i < 10000; ++i) {
    const Split split = i % 8 == 0 ? Split::Test : Split::Train;
    const Sample sample = task.sample(7, split, i);
    expect_properties(sample, want);
    EXPECT_EQ(split_of(sample.context), split);
    EXPECT_TRUE(contexts.insert(sample.context).second) << sample.src;
    if (testing::Test::HasFailure()) return;
  }
}

TEST(BlockFinding, SamplesOfThePaper) {
  const auto task = task_of("block_finding", {});
  EXPECT_TRUE(task->notices().empty());
  EXPECT_EQ(task->max_tokens(), 321);
  expect_properties_of_all(*task,
                           {.block = 5, .query = 2, .context = 311, .blocks = 52, .last = 5});
}

TEST(BlockFinding, SamplesOfEightLettersThatFit) {
  const auto task = task_of("block_finding", {"block_length=8"});
  ASSERT_EQ(task->notices().size(), 1u);
  EXPECT_EQ(task->notices()[0],
            "length 319 would cut the last block, so 316 is used, with 34 whole blocks; lengths "
            "that fit: 316 and 325");
  EXPECT_EQ(task->max_tokens(), 318);
  expect_properties_of_all(*task,
                           {.block = 8, .query = 2, .context = 305, .blocks = 34, .last = 8});
}

TEST(BlockFinding, SamplesCutAsTheReferenceDoes) {
  const auto task = task_of("block_finding", {"query_length=3", "truncation=reference"});
  ASSERT_EQ(task->notices().size(), 1u);
  EXPECT_EQ(task->notices()[0],
            "length 319 cuts the last of 52 blocks to 4 of 5 letters, so 1.9 % of the samples have "
            "an answer that cannot be read: about the lowest err_seq there is; lengths that fit: "
            "314 and 320");
  EXPECT_EQ(task->max_tokens(), 321);
  expect_properties_of_all(*task,
                           {.block = 5, .query = 3, .context = 310, .blocks = 52, .last = 4});
}

TEST(BlockFinding, SamplesOfOtherLengths) {
  expect_properties_of_all(*task_of("block_finding", {"length=79"}),
                           {.block = 5, .query = 2, .context = 71, .blocks = 12, .last = 5});
  expect_properties_of_all(*task_of("block_finding", {"length=1279", "query_length=1"}),
                           {.block = 5, .query = 1, .context = 1271, .blocks = 212, .last = 5});
}

TEST(BlockFinding, FirstAndLastLetterAsAnswer) {
  const auto all = task_of("block_finding", {});
  const auto first = task_of("block_finding", {"target=first"});
  const auto last = task_of("block_finding", {"target=last"});
  EXPECT_EQ(first->max_tokens(), 317);
  for (std::uint64_t i = 0; i < 100; ++i) {
    const std::string block = all->sample(1, Split::Train, i).tgt;
    EXPECT_EQ(first->sample(1, Split::Train, i).tgt, block.substr(0, 1));
    EXPECT_EQ(last->sample(1, Split::Train, i).tgt, block.substr(4));
  }
}

/// As `expect_properties`, for several queries in one context.
TEST(BlockFinding, EachOfSeveralQueriesHasOneAnswer) {
  const auto task = task_of("block_finding",
                            {"queries=3", "query_length=3", "alphabet=62", "hard_distractors=0.5"});
  double hard = 0, distractors = 0;
  for (std::uint64_t i = 0; i < 2000; ++i) {
    const Sample sample = task->sample(1, Split::Train, i);
    SCOPED_TRACE(sample.src);
    const auto parts = split_text(sample.src, '#');
    const auto blocks = split_text(parts[0], '.'), queries = split_text(parts[1], '.');
    const auto answers = split_text(sample.tgt, '.');
    ASSERT_EQ(queries.size(), 3u);
    ASSERT_EQ(answers.size(), 3u);
    for (std::size_t q = 0; q < 3; ++q) {
      for (std::size_t b = 0; b < blocks.size(); ++b) {
        EXPECT_EQ(holds_all(blocks[b], queries[q]), sample.facts["block_position"][q] == b);
      }
      EXPECT_EQ(blocks[sample.facts["block_position"][q].get<std::size_t>()], answers[q]);
    }
    ASSERT_EQ(sample.part_slices.size(), 3u);
    EXPECT_EQ(sample.part_slices[2].back().second, sample.facts["block_position"][2].dump());
    hard += sample.facts["hard_distractors"].get<double>();
    distractors += static_cast<double>(blocks.size() - 3);
  }
  EXPECT_NEAR(hard / distractors, 0.5, 0.01);  // 90,000 draws: sigma 0.0017
}

TEST(BlockFinding, EachOfSeveralAnswersIsAPart) {
  const auto task = task_of("block_finding", {"queries=2", "length=60"});
  const Encoded encoded = task->encode(task->sample(1, Split::Train, 0));
  const std::vector<std::uint8_t> answer(encoded.scored.end() - 12, encoded.scored.end());
  EXPECT_EQ(answer, (std::vector<std::uint8_t>{2, 2, 2, 2, 2, 1, 3, 3, 3, 3, 3, 1}));
}

TEST(BlockFinding, HardDistractorsHoldAllButOneLetter) {
  const auto task = task_of("block_finding", {"query_length=4", "hard_distractors=1"});
  for (std::uint64_t i = 0; i < 1000; ++i) {
    const Sample sample = task->sample(1, Split::Train, i);
    const auto parts = split_text(sample.src, '#');
    const auto blocks = split_text(parts[0], '.');
    for (const std::string& block : blocks) {
      if (block == sample.tgt) continue;
      EXPECT_EQ(std::count_if(parts[1].begin(), parts[1].end(),
                              [&](char letter) { return holds_all(block, {letter}); }),
                3)
          << block << " in " << sample.src;
    }
  }
}

TEST(BlockFinding, TargetsAndLettersAreSpreadEvenly) {
  const auto task = task_of("block_finding", {});
  constexpr int kSamples = 10000;
  std::vector<int> positions(52), letters(26);
  for (std::uint64_t i = 0; i < kSamples; ++i) {
    const Sample sample = task->sample(3, Split::Train, i);
    ++positions[sample.facts["block_position"].get<std::size_t>()];
    for (const char letter : sample.tgt) ++letters[static_cast<std::size_t>(letter - 'a')];
  }
  // Six standard deviations of a binomial count.
  for (const int count : positions) EXPECT_NEAR(count, kSamples / 52.0, 6 * 13.7);
  for (const int count : letters) EXPECT_NEAR(count, kSamples * 5 / 26.0, 6 * 39.4);
}

TEST(BlockFinding, SplitsNeverShareAContext) {
  // Ten letters, four blocks of two: small enough that 20,000 draws meet many contexts again.
  const auto task =
      task_of("block_finding", {"alphabet=10", "block_length=2", "query_length=1", "length=15"});
  std::set<std::string> contexts[2];
  for (std::uint64_t i = 0; i < 20000; ++i) {
    for (const Split split : {Split::Train, Split::Test}) {
      const Sample sample = task->sample(i % 3, split, i);
      contexts[split == Split::Test].insert(sample.src.substr(0, sample.src.find('#')));
    }
  }
  EXPECT_LT(contexts[0].size() + contexts[1].size(), 40000u) << "no repeats: the test is too weak";
  for (const std::string& context : contexts[1]) EXPECT_FALSE(contexts[0].contains(context));
}

TEST(BlockFinding, SameSeedSameBytes) {
  // Stored: FNV-1a (32 bit) of src + tgt + facts of samples 0 to 999 of both splits, seed 42, made
  // by this test when the task was written. A change means that every data set changes.
  const std::vector<std::pair<std::vector<std::string>, std::uint32_t>> cases = {
      {{}, 0xcb53679du},
      {{"block_length=8", "truncation=reference"}, 0x705756beu},
      {{"block_length=12", "alphabet=62", "query_length=4", "queries=2", "hard_distractors=0.3"},
       0x9b98ee4du}};
  for (const auto& [settings, stored] : cases) {
    const auto task = task_of("block_finding", settings);
    std::string bytes;
    for (const Split split : {Split::Train, Split::Test}) {
      for (std::uint64_t i = 0; i < 1000; ++i) {
        const Sample sample = task->sample(42, split, i);
        bytes += sample.src + ' ' + sample.tgt + ' ' + sample.facts.dump() + '\n';
      }
    }
    EXPECT_EQ(stream_of(bytes), stored) << std::hex << stream_of(bytes);
  }
}

TEST(BlockFinding, TokensAreAligned) {
  const auto task = task_of("block_finding", {});
  EXPECT_EQ(task->vocabulary(), 32);
  EXPECT_EQ(task->end_token(), 30);
  const Sample sample = {.src = "abcde.zyxwv#ac", .tgt = "abcde", .facts = {}, .slices = {}};
  const Encoded encoded = task->encode(sample);
  EXPECT_EQ(encoded.tokens, (std::vector<std::int32_t>{29, 0,  1, 2, 3, 4, 26, 25, 24, 23, 22,
                                                       21, 27, 0, 2, 0, 1, 2,  3,  4,  30}));
  EXPECT_EQ(encoded.scored, (std::vector<std::uint8_t>{0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0,
                                                       0, 0, 0, 0, 1, 1, 1, 1, 1, 1}));
  EXPECT_EQ(task->decode(encoded.tokens), "<bos>" + sample.src + sample.tgt + "<eos>");
  EXPECT_EQ(task->encode_prompt("ab#_"), (std::vector<std::int32_t>{29, 0, 1, 27, 28}));

  const Batch batch = make_batch(*task, {task->sample(1, Split::Train, 0)});
  EXPECT_EQ(batch.length, 320);
  EXPECT_EQ(batch.first_scored, 314);
  EXPECT_EQ(std::count(batch.scored.begin(), batch.scored.end(), 1), 6);
  EXPECT_EQ(batch.targets.back(), 30);
}

TEST(BlockFinding, LargerAlphabetsHaveMoreTokens) {
  EXPECT_EQ(task_of("block_finding", {"alphabet=10"})->vocabulary(), 32);
  const auto task = task_of("block_finding", {"alphabet=30"});
  EXPECT_EQ(task->vocabulary(), 36);
  EXPECT_EQ(task->encode_prompt("aD.#_"), (std::vector<std::int32_t>{33, 0, 29, 30, 31, 32}));
}

TEST(BlockFinding, UnknownCharactersAreNamedWithTheirPlace) {
  const auto task = task_of("block_finding", {});
  const Sample sample = {.src = "abcde#aB", .tgt = "abcde", .facts = {}, .slices = {}};
  try {
    task->encode(sample);
    FAIL() << "accepted";
  } catch (const UserError& error) {
    EXPECT_STREQ(error.what(),
                 "src character 8: 'B' has no token (known: abcdefghijklmnopqrstuvwxyz.#_)");
  }
}

TEST(BlockFinding, ImpossibleParametersAreRefusedWithTheArithmetic) {
  const auto refused = [](std::vector<std::string> settings) {
    return refusal("block_finding", settings);
  };
  EXPECT_EQ(refused({"block_length=26"}),
            "/task/alphabet: too few blocks: length 319 needs 9 distractors that hold no "
            "query; of 26!/0! = 4.032914611e+26 blocks of 26 letters out of 26, a query of 2 "
            "excludes 26!/24! x 24!/0! = 4.032914611e+26, which leaves 0\n"
            "  hint: raise alphabet, or lower length or block_length");
  EXPECT_NE(refused({"alphabet=5", "block_length=4"}).find("120 blocks"), std::string::npos);
  EXPECT_EQ(refused({"query_length=6"}),
            "--set /task/query_length=6: must be at most block_length (query_length 6, "
            "block_length 5)");
  EXPECT_EQ(refused({"length=12"}),
            "--set /task/length=12: must be at least 13 = 5 (context of 1 block) + 1 ('#') + 2 "
            "(query) + 5 (answer), but is 12");
  EXPECT_NE(refused({"alphabet=3", "block_length=1", "query_length=1", "length=5"})
                .find("none of 1000 contexts"),
            std::string::npos);
  EXPECT_NE(refused({"alphabet=7", "hard_distractors=1", "query_length=5", "length=20000"})
                .find("too few blocks"),
            std::string::npos);
  EXPECT_EQ(refused({"length=13"}), "");
  EXPECT_EQ(refused({"alphabet=6", "length=19"}), "");
}

TEST(BlockFinding, LastPossibleBlockIsFound) {
  // Three letters in blocks of two: six blocks, two of which hold both query letters.
  const auto task =
      task_of("block_finding", {"alphabet=3", "block_length=2", "query_length=2", "length=19"});
  for (std::uint64_t i = 0; i < 1000; ++i) {
    expect_properties(task->sample(1, Split::Train, i),
                      {.block = 2, .query = 2, .context = 14, .blocks = 5, .last = 2});
  }
  EXPECT_NE(
      refusal("block_finding", {"alphabet=3", "block_length=2", "query_length=2", "length=22"}),
      "");
}

}  // namespace
}  // namespace mta
