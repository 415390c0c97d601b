// Feistel rounds and cycle walking.
#include "lib/data/permutation.h"

#include "lib/core/rng.h"

#include <algorithm>
#include <bit>

namespace mta {

Permutation::Permutation(std::uint64_t size, std::uint64_t seed, std::uint64_t epoch)
    : size_(size), half_bits_(std::max(1, (static_cast<int>(std::bit_width(size - 1)) + 1) / 2)) {
  Rng rng(seed, stream_of("data/order"), epoch);
  for (std::uint64_t& key : keys_) {
    const std::uint64_t upper = rng.next();
    key = upper << 32 | rng.next();
  }
}

std::uint64_t Permutation::operator()(std::uint64_t i) const {
  // The domain is less than four times size, so four steps on average at most.
  do i = encrypt(i);
  while (i >= size_);
  return i;
}

std::uint64_t Permutation::encrypt(std::uint64_t value) const {
  const std::uint64_t mask = (std::uint64_t{1} << half_bits_) - 1;
  std::uint64_t left = value >> half_bits_, right = value & mask;
  for (const std::uint64_t key : keys_) {
    std::uint64_t mixed = (right ^ key) * 0xff51afd7ed558ccdu;
    mixed = (mixed ^ (mixed >> 33)) * 0xc4ceb9fe1a85ec53u;
    const std::uint64_t next = left ^ ((mixed >> 32) & mask);
    left = right;
    right = next;
  }
  return left << half_bits_ | right;
}

}  // namespace mta
