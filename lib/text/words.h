// One token for each word of a closed vocabulary; other words are spelled.
#pragma once

#include "lib/text/tokenizer.h"

#include <array>
#include <string>
#include <unordered_map>
#include <vector>

namespace mta {

struct WordVocabulary {
  std::vector<std::string> words;  // of letters and digits
  std::string punctuation;         // characters that are tokens by themselves
  std::string pieces;              // characters that unknown words are spelled with
};

/// Words, then punctuation, pieces, newline, a space, a join, BOS, EOS and one reserved token.
///
/// Between two tokens stands a space, but not before ".,:;?!)-'", not after "(-'", not around a new
/// line and not between two pieces. Where a text has it differently, the tokens "a space" and
/// "join" say so: every text made of known characters round-trips.
class WordTokenizer : public Tokenizer {
 public:
  explicit WordTokenizer(const WordVocabulary& vocabulary);

  void encode(std::string_view text, std::vector<std::int32_t>& tokens) const override;
  std::string decode(std::span<const std::int32_t> tokens) const override;
  std::int64_t size() const override;
  std::int32_t begin_token() const override;
  std::int32_t end_token() const override;

 private:
  enum class Kind : std::uint8_t { Word, Mark, Piece, NewLine, Space, Join, Special };
  struct Token {
    std::string text;
    Kind kind;
  };
  struct TextHash {
    using is_transparent = void;
    std::size_t operator()(std::string_view text) const {
      return std::hash<std::string_view>()(text);
    }
  };
  class Encoder;

  void add(std::string text, Kind kind);
  bool spaced(const Token& before, const Token& after) const;

  std::vector<Token> tokens_;
  std::unordered_map<std::string, std::int32_t, TextHash, std::equal_to<>> words_;
  std::array<std::int32_t, 256> marks_, pieces_;  // by character; -1: none
  std::int32_t new_line_, space_, join_, begin_;
};

}  // namespace mta
