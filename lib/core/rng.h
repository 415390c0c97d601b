// Random numbers that are functions of (seed, stream, index): the same on every machine, in any
// order, on any thread.
#pragma once

#include <cstdint>
#include <limits>
#include <string_view>
#include <utility>

namespace mta {

/// Keeps apart numbers that are drawn for different purposes from one seed.
using Stream = std::uint32_t;

/// A stream named after its purpose ("weights:layers.0.attention.wq"): FNV-1a of the text.
constexpr Stream stream_of(std::string_view purpose) {
  std::uint32_t hash = 2166136261u;
  for (const char c : purpose) hash = (hash ^ static_cast<unsigned char>(c)) * 16777619u;
  return hash;
}

/// A sequence of numbers from Philox 4x32-10 (Salmon et al., SC 2011; the library is Random123).
/// key = seed, counter = {block within the sequence, index low, index high, stream}.
class Rng {
 public:
  Rng(std::uint64_t seed, Stream stream, std::uint64_t index);

  std::uint32_t next();
  /// Uniform in [0, bound), without bias; bound > 0.
  std::uint32_t below(std::uint32_t bound);
  /// Uniform in [0, 1), 53 bits.
  double uniform();
  /// Standard normal (Box-Muller).
  double normal();
  /// Standard normal, drawn again while outside [-cut, cut].
  double truncated_normal(double cut);

  /// Puts `items` into random order (Fisher-Yates).
  template <class Items>
  void shuffle(Items& items) {
    for (std::size_t left = items.size(); left > 1; --left) {
      std::swap(items[left - 1], items[below(static_cast<std::uint32_t>(left))]);
    }
  }

 private:
  std::uint32_t seed_[2];
  std::uint32_t counter_[4];
  std::uint32_t block_[4] = {};
  int used_ = 4;  // numbers of block_ that have been handed out
};

}  // namespace mta
