// Words and bytes as tokens: every known text round-trips, and what is unknown is named.
#include "lib/text/words.h"

#include "lib/core/error.h"
#include "lib/core/rng.h"
#include "lib/text/bytes.h"

#include <gtest/gtest.h>

namespace mta {
namespace {

const WordVocabulary kVocabulary = {.words = {"the", "number", "for", "Paris", "is", "the"},
                                    .punctuation = ".,:?-()'\"",
                                    .pieces = "0123456789abcdef"};

std::vector<std::int32_t> encoded(const Tokenizer& tokenizer, const std::string& text) {
  std::vector<std::int32_t> tokens;
  tokenizer.encode(text, tokens);
  return tokens;
}

std::string refusal(const Tokenizer& tokenizer, const std::string& text) {
  try {
    encoded(tokenizer, text);
    return "(accepted)";
  } catch (const UserError& error) {
    return error.what();
  }
}

TEST(WordTokenizer, OrdinaryTextNeedsNoTokensForSpaces) {
  const WordTokenizer words(kVocabulary);
  EXPECT_EQ(encoded(words, "the number for Paris is: 407."),
            (std::vector<std::int32_t>{0, 1, 2, 3, 4, 7, 18, 14, 21, 5}));
  EXPECT_EQ(words.size(), 5 + 9 + 16 + 6);
  EXPECT_EQ(words.begin_token(), 33);
  EXPECT_EQ(words.end_token(), 34);
}

TEST(WordTokenizer, UnusualSpacesRoundTrip) {
  const WordTokenizer words(kVocabulary);
  for (const std::string text :
       {"",       " ",          "the",        " the",   "the ",    "the  number", "12 34",
        "1234",   "the.number", "the .",      "4f-3a",  "4 - 3",   "the\nnumber", "the \n number",
        "\n\n",   "is(the)",    "is ( the )", "for:is", "\"the\"", "a",           "ab the",
        "the ab", "1.5",        "the'a",      "., ,.",  "Paris 1"}) {
    EXPECT_EQ(words.decode(encoded(words, text)), text);
  }
}

TEST(WordTokenizer, RandomTextRoundTrips) {
  const WordTokenizer words(kVocabulary);
  const std::vector<std::string> parts = {"the", "Paris", "12", "a",  ".",
                                          "-",   " ",     "  ", "\n", "("};
  for (std::uint64_t i = 0; i < 2000; ++i) {
    Rng rng(1, 2, i);
    std::string text;
    for (std::uint32_t n = rng.below(12); n > 0; --n) {
      const std::string& part = parts[rng.below(static_cast<std::uint32_t>(parts.size()))];
      // Two runs of letters side by side would be another word.
      if (!text.empty() && std::isalnum(text.back()) != 0 && std::isalnum(part[0]) != 0)
        text += ' ';
      text += part;
    }
    EXPECT_EQ(words.decode(encoded(words, text)), text);
  }
}

TEST(WordTokenizer, NamesThePlaceOfWhatItDoesNotKnow) {
  const WordTokenizer words(kVocabulary);
  EXPECT_EQ(refusal(words, "the cat is"), "character 7: \"cat\" is not in the vocabulary");
  EXPECT_EQ(refusal(words, "the number ; 3"), "character 12: ';' has no token");
  EXPECT_EQ(refusal(words, "the \xc3\xa9"), "character 5: byte 0xc3 has no token");
}

TEST(ByteTokenizer, TakesAnyText) {
  const ByteTokenizer bytes;
  const std::string text("caf\xc3\xa9\0\n\xff", 8);
  EXPECT_EQ(bytes.decode(encoded(bytes, text)), text);
  EXPECT_EQ(encoded(bytes, "\xff"), std::vector<std::int32_t>{255});
  EXPECT_EQ(bytes.decode(std::vector<std::int32_t>{256, 65, 257, 258}), "<bos>A<eos><258>");
}

}  // namespace
}  // namespace mta
