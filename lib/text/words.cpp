// Words with one rule for spaces, and two tokens for what departs from it.
#include "lib/text/words.h"

#include "lib/core/error.h"

#include <fmt/core.h>

#include <cctype>

namespace mta {
namespace {

constexpr std::string_view kNoSpaceBefore = ".,:;?!)-'", kNoSpaceAfter = "(-'";

std::size_t index_of(char character) { return static_cast<unsigned char>(character); }

bool is_word_character(char character) {
  return std::isalnum(static_cast<unsigned char>(character)) != 0;
}

}  // namespace

WordTokenizer::WordTokenizer(const WordVocabulary& vocabulary) {
  marks_.fill(-1);
  pieces_.fill(-1);
  for (const std::string& word : vocabulary.words) {
    if (words_.emplace(word, static_cast<std::int32_t>(tokens_.size())).second) {
      add(word, Kind::Word);
    }
  }
  for (const char mark : vocabulary.punctuation) {
    marks_[index_of(mark)] = static_cast<std::int32_t>(tokens_.size());
    add({mark}, Kind::Mark);
  }
  for (const char piece : vocabulary.pieces) {
    pieces_[index_of(piece)] = static_cast<std::int32_t>(tokens_.size());
    add({piece}, Kind::Piece);
  }
  new_line_ = static_cast<std::int32_t>(tokens_.size());
  space_ = new_line_ + 1;
  join_ = new_line_ + 2;
  begin_ = new_line_ + 3;
  add("\n", Kind::NewLine);
  add(" ", Kind::Space);
  add("", Kind::Join);
  add("<bos>", Kind::Special);
  add("<eos>", Kind::Special);
  add(fmt::format("<{}>", tokens_.size()), Kind::Special);
}

void WordTokenizer::add(std::string text, Kind kind) { tokens_.push_back({std::move(text), kind}); }

std::int64_t WordTokenizer::size() const { return static_cast<std::int64_t>(tokens_.size()); }
std::int32_t WordTokenizer::begin_token() const { return begin_; }
std::int32_t WordTokenizer::end_token() const { return begin_ + 1; }

/// Does the rule put a space between these two?
bool WordTokenizer::spaced(const Token& before, const Token& after) const {
  const auto is_text = [](Kind kind) {
    return kind == Kind::Word || kind == Kind::Mark || kind == Kind::Piece;
  };
  if (!is_text(before.kind) || !is_text(after.kind)) return false;
  if (before.kind == Kind::Piece && after.kind == Kind::Piece) return false;
  if (before.kind == Kind::Mark && kNoSpaceAfter.find(before.text) != std::string_view::npos) {
    return false;
  }
  return after.kind != Kind::Mark || kNoSpaceBefore.find(after.text) == std::string_view::npos;
}

/// Goes through a text once.
class WordTokenizer::Encoder {
 public:
  Encoder(const WordTokenizer& words, std::string_view text, std::vector<std::int32_t>& tokens)
      : words_(words), text_(text), tokens_(tokens) {}

  void run() {
    while (at_ < text_.size()) {
      const char c = text_[at_];
      if (c == ' ') {
        ++spaces_, ++at_;
      } else if (is_word_character(c)) {
        add_run();
      } else {
        add_mark(c);
      }
    }
    tokens_.insert(tokens_.end(), spaces_, words_.space_);
  }

 private:
  void add_run() {
    std::size_t end = at_;
    while (end < text_.size() && is_word_character(text_[end])) ++end;
    const std::string_view run = text_.substr(at_, end - at_);
    if (const auto found = words_.words_.find(run); found != words_.words_.end()) {
      add(found->second);
    } else {
      for (std::size_t i = 0; i < run.size(); ++i) {
        const std::int32_t piece = words_.pieces_[index_of(run[i])];
        if (piece < 0) {
          throw UserError(fmt::format("character {}", at_ + i + 1),
                          fmt::format("\"{}\" is not in the vocabulary", run));
        }
        add(piece);
      }
    }
    at_ = end;
  }

  void add_mark(char c) {
    const std::int32_t token = c == '\n' ? words_.new_line_ : words_.marks_[index_of(c)];
    if (token < 0) {
      throw UserError(fmt::format("character {}", at_ + 1),
                      std::isprint(static_cast<unsigned char>(c)) != 0
                          ? fmt::format("'{}' has no token", c)
                          : fmt::format("byte 0x{:02x} has no token", index_of(c)));
    }
    add(token);
    ++at_;
  }

  /// Adds a token, after what tells that the spaces before it are not as the rule has them.
  void add(std::int32_t token) {
    const bool spaced =
        last_ >= 0 && words_.spaced(words_.tokens_[static_cast<std::size_t>(last_)],
                                    words_.tokens_[static_cast<std::size_t>(token)]);
    if (spaces_ == 0 && spaced) {
      tokens_.push_back(words_.join_);
    } else if (spaces_ != (spaced ? 1 : 0)) {
      tokens_.insert(tokens_.end(), spaces_, words_.space_);
    }
    tokens_.push_back(token);
    last_ = token;
    spaces_ = 0;
  }

  const WordTokenizer& words_;
  std::string_view text_;
  std::vector<std::int32_t>& tokens_;
  std::size_t at_ = 0, spaces_ = 0;
  std::int32_t last_ = -1;  // -1: nothing yet
};

void WordTokenizer::encode(std::string_view text, std::vector<std::int32_t>& tokens) const {
  Encoder(*this, text, tokens).run();
}

std::string WordTokenizer::decode(std::span<const std::int32_t> tokens) const {
  std::string text;
  const Token* before = nullptr;
  for (const std::int32_t id : tokens) {
    const Token& token = tokens_.at(static_cast<std::size_t>(id));
    if (before != nullptr && spaced(*before, token)) text += ' ';
    text += token.text;
    before = &token;
  }
  return text;
}

}  // namespace mta
