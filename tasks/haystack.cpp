// Sources of sentences, and the haystack that they fill.
#include "tasks/haystack.h"

#include "lib/core/error.h"
#include "lib/core/files.h"
#include "tasks/text_words.h"

#include <fmt/core.h>

#include <algorithm>
#include <cctype>
#include <cmath>

namespace mta {
namespace {

/// %a adjective, %n noun, %v verb, %p place.
struct Pattern {
  std::string_view text;
  std::int64_t words;  // tokens of a word tokenizer, the full stop included
};
constexpr Pattern kPatterns[] = {{"The %a %n %v the %n.", 7},
                                 {"The %n %v the %a %n near the %p.", 10},
                                 {"In the %p the %n %v the %a %n.", 10},
                                 {"After that the %n %v the %n from the %p.", 11},
                                 {"Nobody in the %p had the %a %n.", 9},
                                 {"The %n behind the %p was %a.", 8}};

class DrawnSentences final : public SentenceSource {
 public:
  DrawnSentences(Rng& rng, const TokenCounter& counter) : rng_(rng), unit_(counter.unit()) {}

  std::int64_t append(std::string& text) override {
    const std::size_t before = text.size();
    const Pattern& pattern = pick(std::span<const Pattern>(kPatterns));
    for (std::size_t i = 0; i < pattern.text.size(); ++i) {
      if (pattern.text[i] != '%') {
        text += pattern.text[i];
        continue;
      }
      switch (pattern.text[++i]) {
        case 'a':
          text += pick(adjectives());
          break;
        case 'n':
          text += pick(nouns());
          break;
        case 'v':
          text += pick(verbs());
          break;
        default:
          text += pick(places());
      }
    }
    return unit_ == TokenCounter::Unit::Words ? pattern.words
                                              : static_cast<std::int64_t>(text.size() - before) + 1;
  }

 private:
  template <class T>
  const T& pick(std::span<const T> list) {
    return list[rng_.below(static_cast<std::uint32_t>(list.size()))];
  }

  Rng& rng_;
  TokenCounter::Unit unit_;
};

class Noise final : public SentenceSource {
 public:
  explicit Noise(const TokenCounter& counter) {
    for (const std::string_view sentence : noise_sentences()) {
      tokens_.push_back(counter.tokens(sentence));
    }
  }

  std::int64_t append(std::string& text) override {
    const std::size_t i = next_++ % tokens_.size();
    text += noise_sentences()[i];
    return tokens_[i];
  }

 private:
  std::vector<std::int64_t> tokens_;
  std::size_t next_ = 0;
};

}  // namespace

std::int64_t TokenCounter::tokens(std::string_view sentence) const {
  if (unit_ == Unit::Characters) return static_cast<std::int64_t>(sentence.size()) + 1;
  std::vector<std::int32_t> tokens;
  tokenizer_->encode(sentence, tokens);
  return static_cast<std::int64_t>(tokens.size());
}

std::int64_t TokenCounter::whole(std::string_view src, std::string_view tgt,
                                 std::int64_t words) const {
  constexpr std::size_t kSpecial = 2;  // BOS and EOS
  return unit_ == Unit::Words ? words
                              : static_cast<std::int64_t>(src.size() + tgt.size() + kSpecial);
}

std::unique_ptr<SentenceSource> drawn_sentences(Rng& rng, const TokenCounter& counter) {
  return std::make_unique<DrawnSentences>(rng, counter);
}

std::int64_t longest_drawn_sentence(const TokenCounter& counter) {
  constexpr std::int64_t kLongestWord = 10;
  std::int64_t longest = 0;
  for (const Pattern& pattern : kPatterns) {
    const auto slots = std::count(pattern.text.begin(), pattern.text.end(), '%');
    const auto characters = static_cast<std::int64_t>(pattern.text.size()) + slots * kLongestWord;
    longest =
        std::max(longest, counter.unit() == TokenCounter::Unit::Words ? pattern.words : characters);
  }
  return longest;
}

std::unique_ptr<SentenceSource> noise(const TokenCounter& counter) {
  return std::make_unique<Noise>(counter);
}

class TextFile::Source final : public SentenceSource {
 public:
  Source(const TextFile& file, std::size_t first) : file_(file), next_(first) {}

  std::int64_t append(std::string& text) override {
    const Sentence& sentence = file_.sentences_[next_++ % file_.sentences_.size()];
    text.append(file_.text_, sentence.begin, sentence.size);
    return sentence.tokens;
  }

 private:
  const TextFile& file_;
  std::size_t next_;
};

TextFile::TextFile(const std::filesystem::path& file, const TokenCounter& counter) {
  for (const char c : read_file(file)) {
    const bool space = std::isspace(static_cast<unsigned char>(c)) != 0;
    if (!space) {
      text_ += c;
    } else if (!text_.empty() && text_.back() != ' ') {
      text_ += ' ';
    }
  }
  cut();
  if (sentences_.empty()) throw UserError(file.string(), "holds no text");
  count(file, counter);
  collect_names();
}

/// A sentence ends after ". ", "? " or "! ", and at the first space after 300 characters.
void TextFile::cut() {
  constexpr std::size_t kLongest = 300;
  std::size_t begin = 0;
  for (std::size_t i = 0; i < text_.size(); ++i) {
    const bool last = i + 1 == text_.size();
    const bool stop = text_[i] == '.' || text_[i] == '?' || text_[i] == '!';
    if (!last && !(text_[i + 1] == ' ' && (stop || i - begin >= kLongest))) continue;
    const std::size_t size = i + 1 - begin - (text_[i] == ' ' ? 1 : 0);
    if (size > 0) sentences_.push_back({begin, size, 0});
    begin = i + 2;
    ++i;
  }
}

void TextFile::count(const std::filesystem::path& file, const TokenCounter& counter) {
  for (Sentence& sentence : sentences_) {
    const std::string_view text = std::string_view(text_).substr(sentence.begin, sentence.size);
    try {
      sentence.tokens = counter.tokens(text);
    } catch (const UserError& error) {
      throw UserError(file.string(), fmt::format("{} in \"{}\"", error.what(), text));
    }
  }
}

/// Runs of letters, digits and hyphens, their parts between hyphens, and seven digits on end.
void TextFile::collect_names() {
  constexpr std::size_t kDigits = 7;
  std::size_t run = 0, part = 0, digits = 0;  // characters of each that end here
  for (std::size_t end = 0; end <= text_.size(); ++end) {
    const char c = end < text_.size() ? text_[end] : ' ';
    const bool letter = std::isalnum(static_cast<unsigned char>(c)) != 0;
    if (!letter && part > 0) names_.insert(text_.substr(end - part, part));
    if (!letter && c != '-' && run > part) names_.insert(text_.substr(end - run, run));
    run = letter || c == '-' ? run + 1 : 0;
    part = letter ? part + 1 : 0;
    digits = std::isdigit(static_cast<unsigned char>(c)) != 0 ? digits + 1 : 0;
    if (digits >= kDigits) names_.insert(text_.substr(end + 1 - kDigits, kDigits));
  }
}

std::unique_ptr<SentenceSource> TextFile::sentences(Rng& rng) const {
  return std::make_unique<Source>(*this, rng.below(static_cast<std::uint32_t>(sentences_.size())));
}

std::int64_t TextFile::longest() const {
  std::int64_t longest = 0;
  for (const Sentence& sentence : sentences_) longest = std::max(longest, sentence.tokens);
  return longest;
}

void Haystack::fill(SentenceSource& source, std::int64_t budget) {
  text.clear();
  begins.clear();
  tokens = 0;
  for (;;) {
    const std::size_t end = text.size();
    if (end > 0) text += ' ';
    const std::size_t begin = text.size();
    const std::int64_t more = source.append(text);
    if (tokens + more > budget) return text.resize(end);
    tokens += more;
    begins.push_back(begin);
  }
}

std::size_t Haystack::before(std::size_t boundary) const {
  if (boundary == 0) return 0;
  return boundary == begins.size() ? text.size() : begins[boundary] - 1;
}

std::size_t Haystack::nearest_boundary(double depth) const {
  const double wanted = depth * static_cast<double>(text.size());
  std::size_t low = 0, high = begins.size();  // before(low) <= wanted <= before(high)
  while (high - low > 1) {
    const std::size_t middle = (low + high) / 2;
    (static_cast<double>(before(middle)) <= wanted ? low : high) = middle;
  }
  const double to_low = wanted - static_cast<double>(before(low));
  return to_low <= static_cast<double>(before(high)) - wanted ? low : high;
}

SpreadText spread_over(const Haystack& haystack, const std::vector<std::string_view>& sentences,
                       const std::vector<std::size_t>& places) {
  SpreadText spread;
  const auto put = [&text = spread.text](std::string_view part) {
    if (!text.empty()) text += ' ';
    text += part;
  };
  std::size_t at = 0;
  for (std::size_t i = 0; i < sentences.size(); ++i) {
    if (places[i] > at) put(haystack.between(at, places[i]));
    at = places[i];
    put(sentences[i]);
    spread.ends.push_back(spread.text.size());
    spread.begins.push_back(spread.text.size() - sentences[i].size());
  }
  if (at + 1 < haystack.boundaries()) put(haystack.between(at, haystack.boundaries() - 1));
  return spread;
}

std::string_view Haystack::between(std::size_t from, std::size_t to) const {
  return std::string_view(text).substr(begins[from], before(to) - begins[from]);
}

}  // namespace mta
