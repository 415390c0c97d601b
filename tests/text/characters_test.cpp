// Characters as tokens, and the hash of texts.
#include "lib/text/characters.h"

#include "lib/core/error.h"
#include "lib/text/hash.h"

#include <gtest/gtest.h>

#include <set>

namespace mta {
namespace {

TEST(CharacterTokenizer, RoundTrips) {
  const CharacterTokenizer tokenizer("ba-\n");
  std::vector<std::int32_t> tokens = {9};
  tokenizer.encode("ab\n-", tokens);
  EXPECT_EQ(tokens, (std::vector<std::int32_t>{9, 1, 0, 3, 2}));
  EXPECT_EQ(tokenizer.decode(std::span(tokens).subspan(1)), "ab\n-");
  EXPECT_EQ(tokenizer.size(), 7);
  EXPECT_EQ(tokenizer.decode(std::vector<std::int32_t>{4, 5, 6, 0}), "<bos><eos><6>b");
}

TEST(CharacterTokenizer, NamesThePlaceOfWhatItDoesNotKnow) {
  const CharacterTokenizer tokenizer("ab");
  std::vector<std::int32_t> tokens;
  for (const auto& [text, message] :
       {std::pair{"abc", "character 3: 'c' has no token (known: ab)"},
        std::pair{"\xc3\xa9", "character 1: byte 0xc3 has no token (known: ab)"}}) {
    try {
      tokenizer.encode(text, tokens);
      FAIL() << "accepted " << text;
    } catch (const UserError& error) {
      EXPECT_STREQ(error.what(), message);
    }
  }
}

TEST(HashText, IsTheSameForEver) {
  // Computed by a second implementation of the formula, in Python (hash_text.py beside this file).
  EXPECT_EQ(hash_text(""), 0u);
  EXPECT_EQ(hash_text("a"), 0x1ab7d1d0779dad0du);
  EXPECT_EQ(hash_text("dxkwq.gnxaq.wqvnr"), 0x40864696020ab003u);
}

TEST(HashText, SpreadsOverAllBits) {
  std::vector<int> set_bits(64);
  std::set<std::uint64_t> hashes;
  constexpr int kTexts = 4096;
  for (int i = 0; i < kTexts; ++i) {
    const std::uint64_t hash = hash_text("text number " + std::to_string(i));
    hashes.insert(hash);
    for (std::size_t b = 0; b < 64; ++b) set_bits[b] += (hash >> b & 1) != 0 ? 1 : 0;
  }
  EXPECT_EQ(hashes.size(), std::size_t{kTexts});
  for (const int count : set_bits) EXPECT_NEAR(count, kTexts / 2.0, 6 * 32);  // sigma 32
}

TEST(HashText, SeesZerosAtTheEnd) {
  EXPECT_NE(hash_text(std::string("ab\0", 3)), hash_text("ab"));
  EXPECT_NE(hash_text(std::string("12345678\0", 9)), hash_text("12345678"));
}

}  // namespace
}  // namespace mta
