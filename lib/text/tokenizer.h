// Text <-> tokens.
#pragma once

#include <cstdint>
#include <span>
#include <string>
#include <string_view>
#include <vector>

namespace mta {

class Tokenizer {
 public:
  virtual ~Tokenizer() = default;

  /// Appends the tokens of `text`. Throws UserError "character 18: ..." (counted from 1) for what
  /// has no token.
  virtual void encode(std::string_view text, std::vector<std::int32_t>& tokens) const = 0;
  /// decode(encode(text)) == text. Special tokens are written "<bos>", "<eos>", "<31>".
  virtual std::string decode(std::span<const std::int32_t> tokens) const = 0;

  /// Number of tokens.
  virtual std::int64_t size() const = 0;
  virtual std::int32_t begin_token() const = 0;
  virtual std::int32_t end_token() const = 0;
};

}  // namespace mta
