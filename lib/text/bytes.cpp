// One token for each byte.
#include "lib/text/bytes.h"

#include <fmt/core.h>

namespace mta {

void ByteTokenizer::encode(std::string_view text, std::vector<std::int32_t>& tokens) const {
  for (const char c : text) tokens.push_back(static_cast<unsigned char>(c));
}

std::string ByteTokenizer::decode(std::span<const std::int32_t> tokens) const {
  std::string text;
  for (const std::int32_t token : tokens) {
    if (token < begin_token()) {
      text += static_cast<char>(static_cast<unsigned char>(token));
    } else {
      text += token == begin_token() ? "<bos>" : token == end_token() ? "<eos>" : "<258>";
    }
  }
  return text;
}

}  // namespace mta
