// One token for each character of a small alphabet.
#pragma once

#include "lib/text/tokenizer.h"

#include <array>

namespace mta {

/// Token k is the k-th character; then follow BOS, EOS and one reserved token.
class CharacterTokenizer : public Tokenizer {
 public:
  /// `characters`: distinct, ASCII.
  explicit CharacterTokenizer(std::string characters);

  void encode(std::string_view text, std::vector<std::int32_t>& tokens) const override;
  std::string decode(std::span<const std::int32_t> tokens) const override;
  std::int64_t size() const override;
  std::int32_t begin_token() const override;
  std::int32_t end_token() const override;

 private:
  std::string characters_;
  std::array<std::int16_t, 256> token_of_;  // -1: none
};

}  // namespace mta
