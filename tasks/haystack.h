// The text around needles: one sentence after another, from a generator, a repeated few or a file.
#pragma once

#include "lib/core/rng.h"
#include "lib/text/tokenizer.h"

#include <cstdint>
#include <filesystem>
#include <memory>
#include <string>
#include <string_view>
#include <unordered_set>
#include <vector>

namespace mta {

/// Tokens that a sentence adds to a text, the space before it included.
class TokenCounter {
 public:
  enum class Unit { Words, Characters };
  TokenCounter(std::shared_ptr<const Tokenizer> tokenizer, Unit unit)
      : tokenizer_(std::move(tokenizer)), unit_(unit) {}

  Unit unit() const { return unit_; }
  std::int64_t tokens(std::string_view sentence) const;
  /// Of BOS, both texts and EOS; `words` of them where tokens are words.
  std::int64_t whole(std::string_view src, std::string_view tgt, std::int64_t words) const;

 private:
  std::shared_ptr<const Tokenizer> tokenizer_;
  Unit unit_;
};

/// Makes the sentences of one haystack.
class SentenceSource {
 public:
  virtual ~SentenceSource() = default;
  /// Appends the next sentence to `text`, without a space before it; gives its tokens.
  virtual std::int64_t append(std::string& text) = 0;
};

/// Sentences of the word lists, each drawn anew.
std::unique_ptr<SentenceSource> drawn_sentences(Rng& rng, const TokenCounter& counter);
/// Tokens of the longest of them.
std::int64_t longest_drawn_sentence(const TokenCounter& counter);
/// "The grass is green. ..." again and again.
std::unique_ptr<SentenceSource> noise(const TokenCounter& counter);

/// A text file cut into sentences, white space made one space each.
class TextFile {
 public:
  /// Throws UserError that names the file: unreadable, no sentence, a character without a token.
  TextFile(const std::filesystem::path& file, const TokenCounter& counter);

  /// Begins at a sentence drawn from `rng`, and at the end of the file goes on at its beginning.
  /// The file must outlive the source.
  std::unique_ptr<SentenceSource> sentences(Rng& rng) const;
  /// Does the text hold this word, hyphenated word or number? A number of seven digits is found
  /// inside longer ones too.
  bool holds(const std::string& name) const { return names_.contains(name); }
  /// Tokens of the longest sentence.
  std::int64_t longest() const;

 private:
  struct Sentence {
    std::size_t begin, size;
    std::int64_t tokens;
  };
  class Source;

  void cut();
  void count(const std::filesystem::path& file, const TokenCounter& counter);

  void collect_names();

  std::string text_;
  std::vector<Sentence> sentences_;
  std::unordered_set<std::string> names_;
};

/// A haystack: sentences with a space between, and where each begins.
struct Haystack {
  std::string text;
  std::vector<std::size_t> begins;
  std::int64_t tokens = 0;

  /// Takes sentences while they fit into `budget` tokens.
  void fill(SentenceSource& source, std::int64_t budget);
  /// Boundary i is before sentence i; the last one is the end of the text.
  std::size_t boundaries() const { return begins.size() + 1; }
  /// Characters before a boundary.
  std::size_t before(std::size_t boundary) const;
  /// The boundary nearest to a fraction of the text.
  std::size_t nearest_boundary(double depth) const;
  /// Sentences from one boundary to a later one.
  std::string_view between(std::size_t from, std::size_t to) const;
};

/// A haystack with other sentences in it, and where they stand.
struct SpreadText {
  std::string text;
  std::vector<std::size_t> begins, ends;  // characters of each sentence put in
};

/// Puts sentence i at boundary places[i]; places rise. An empty haystack has one boundary.
SpreadText spread_over(const Haystack& haystack, const std::vector<std::string_view>& sentences,
                       const std::vector<std::size_t>& places);

}  // namespace mta
