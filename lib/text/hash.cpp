// Eight bytes at a time: multiply, fold, and a final avalanche.
#include "lib/text/hash.h"

#include <cstddef>

namespace mta {
namespace {

constexpr std::uint64_t kMultiplier = 0x9e3779b97f4a7c15u;  // 2^64 / golden ratio, odd
constexpr std::size_t kWord = 8;

/// Little-endian whatever the machine is; compilers make one load of it.
std::uint64_t word_at(const char* bytes, std::size_t count) {
  std::uint64_t word = 0;
  for (std::size_t i = 0; i < count; ++i) {
    word |= static_cast<std::uint64_t>(static_cast<unsigned char>(bytes[i])) << (8 * i);
  }
  return word;
}

std::uint64_t fold(std::uint64_t hash, std::uint64_t word) {
  hash = (hash ^ word) * kMultiplier;
  return hash ^ (hash >> 32);
}

/// The finaliser of MurmurHash3: every input bit reaches every output bit.
std::uint64_t avalanche(std::uint64_t hash) {
  hash = (hash ^ (hash >> 33)) * 0xff51afd7ed558ccdu;
  hash = (hash ^ (hash >> 33)) * 0xc4ceb9fe1a85ec53u;
  return hash ^ (hash >> 33);
}

}  // namespace

std::uint64_t hash_text(std::string_view text) {
  std::uint64_t hash = text.size() * kMultiplier;
  std::size_t at = 0;
  for (; at + kWord <= text.size(); at += kWord) hash = fold(hash, word_at(&text[at], kWord));
  if (at < text.size()) hash = fold(hash, word_at(&text[at], text.size() - at));
  return avalanche(hash);
}

}  // namespace mta
