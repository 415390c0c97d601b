// Dropout's factors for a row of A: a pure function of (seed, stream, map, i, j), from Philox
// 4x32-10.
//
// key     = the first two words of Philox(counter = {stream low, stream high, 0, 0}, key = {seed
// low, seed high}) counter = {j / 4, i, b * H + h, 0}: word j % 4 of the result belongs to column
// j; i is the position first_row + r kept    = word >= rate * 2^32
//
// J. Salmon, M. Moraes, R. Dror, D. Shaw, "Parallel random numbers: as easy as 1, 2, 3", SC 2011.
// Random123's philox.h is the reference (the tests compare with it); this is the same function on a
// vector of counters.
#pragma once

#include "lib/ops/cpu/call.h"
#include "lib/ops/cpu/vector.h"

namespace mta::ops::cpu::MTA_SIMD {

typedef std::uint64_t Words __attribute__((vector_size(kVectorBytes)));
inline constexpr Index kWordLanes = kVectorBytes / 8;
inline constexpr Index kDropoutStep = 4 * kWordLanes;  // columns for one call

/// Ten rounds on kWordLanes counters; a lane holds a 32-bit word in 64 bits.
MTA_INLINE void philox(Words (&counter)[4], std::uint64_t key0, std::uint64_t key1) {
  constexpr std::uint64_t kMultiplier0 = 0xD2511F53, kMultiplier1 = 0xCD9E8D57;
  constexpr std::uint64_t kWeyl0 = 0x9E3779B9, kWeyl1 = 0xBB67AE85, kLow = 0xFFFFFFFF;
  constexpr int kRounds = 10;
  for (int round = 0; round < kRounds; ++round) {
    const Words product0 = counter[0] * kMultiplier0, product1 = counter[2] * kMultiplier1;
    counter[0] = (product1 >> 32) ^ counter[1] ^ key0;
    counter[1] = product1 & kLow;
    counter[2] = (product0 >> 32) ^ counter[3] ^ key1;
    counter[3] = product0 & kLow;
    key0 = (key0 + kWeyl0) & kLow;
    key1 = (key1 + kWeyl1) & kLow;
  }
}

template <class T>
void dropout_row(const DropoutKey& dropout, Index map, Index row, Index columns, T* factors) {
  const T scale = static_cast<T>(dropout.scale);
  Words block = {};
  for (Index i = 0; i < kWordLanes; ++i) block[i] = static_cast<std::uint64_t>(i);
  for (Index j = 0; j < columns; j += kDropoutStep, block += kWordLanes) {
    Words words[4] = {block, Words{} + static_cast<std::uint64_t>(row),
                      Words{} + static_cast<std::uint64_t>(map), Words{}};
    philox(words, dropout.key[0], dropout.key[1]);
    for (Index lane = 0; lane < kWordLanes; ++lane) {
      for (Index word = 0; word < 4; ++word) {
        factors[j + 4 * lane + word] = words[word][lane] >= dropout.threshold ? scale : T{0};
      }
    }
  }
}

}  // namespace mta::ops::cpu::MTA_SIMD
