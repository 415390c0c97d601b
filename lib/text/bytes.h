// One token for each byte: any text at all, UTF-8 included.
#pragma once

#include "lib/text/tokenizer.h"

namespace mta {

/// Tokens 0 to 255 are the bytes; then follow BOS, EOS and one reserved token.
class ByteTokenizer : public Tokenizer {
 public:
  void encode(std::string_view text, std::vector<std::int32_t>& tokens) const override;
  std::string decode(std::span<const std::int32_t> tokens) const override;
  std::int64_t size() const override { return 259; }
  std::int32_t begin_token() const override { return 256; }
  std::int32_t end_token() const override { return 257; }
};

}  // namespace mta
