// A random order of [0, size) that needs no array: any element of it can be asked for at any time.
#pragma once

#include <array>
#include <cstdint>

namespace mta {

/// A bijection of [0, size) that is a function of (seed, epoch): a Feistel network over the next
/// even number of bits, walked until it lands below size (Black and Rogaway, 2002).
class Permutation {
 public:
  /// size > 0.
  Permutation(std::uint64_t size, std::uint64_t seed, std::uint64_t epoch);

  /// The element at place `i` < size.
  std::uint64_t operator()(std::uint64_t i) const;

 private:
  static constexpr int kRounds = 8;

  std::uint64_t encrypt(std::uint64_t value) const;

  std::uint64_t size_;
  int half_bits_;
  std::array<std::uint64_t, kRounds> keys_;
};

}  // namespace mta
