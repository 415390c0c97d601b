// Two tables: byte -> token, token -> byte.
#include "lib/text/characters.h"

#include "lib/core/error.h"

#include <fmt/core.h>

#include <cctype>
#include <utility>

namespace mta {
namespace {

std::string shown_character(unsigned char byte) {
  return std::isprint(byte) != 0 ? fmt::format("'{}'", static_cast<char>(byte))
                                 : fmt::format("byte 0x{:02x}", static_cast<unsigned>(byte));
}

}  // namespace

CharacterTokenizer::CharacterTokenizer(std::string characters)
    : characters_(std::move(characters)) {
  token_of_.fill(-1);
  for (std::size_t i = 0; i < characters_.size(); ++i) {
    token_of_[static_cast<unsigned char>(characters_[i])] = static_cast<std::int16_t>(i);
  }
}

void CharacterTokenizer::encode(std::string_view text, std::vector<std::int32_t>& tokens) const {
  const std::size_t before = tokens.size();
  tokens.resize(before + text.size());
  for (std::size_t i = 0; i < text.size(); ++i) {
    const auto byte = static_cast<unsigned char>(text[i]);
    const std::int16_t token = token_of_[byte];
    if (token < 0) {
      throw UserError(
          fmt::format("character {}", i + 1),
          fmt::format("{} has no token (known: {})", shown_character(byte), characters_));
    }
    tokens[before + i] = token;
  }
}

std::string CharacterTokenizer::decode(std::span<const std::int32_t> tokens) const {
  std::string text;
  for (const std::int32_t token : tokens) {
    if (token >= 0 && token < begin_token()) {
      text += characters_[static_cast<std::size_t>(token)];
    } else if (token == begin_token()) {
      text += "<bos>";
    } else if (token == end_token()) {
      text += "<eos>";
    } else {
      text += fmt::format("<{}>", token);
    }
  }
  return text;
}

std::int64_t CharacterTokenizer::size() const {
  return static_cast<std::int64_t>(characters_.size()) + 3;
}

std::int32_t CharacterTokenizer::begin_token() const {
  return static_cast<std::int32_t>(characters_.size());
}

std::int32_t CharacterTokenizer::end_token() const { return begin_token() + 1; }

}  // namespace mta
