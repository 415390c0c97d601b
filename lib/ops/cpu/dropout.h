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

#if defined(__AVX2__)
#include <immintrin.h>
#endif

#include "lib/ops/cpu/call.h"
#include "lib/ops/cpu/vector.h"

namespace mta::ops::cpu::MTA_SIMD {

// A lane holds a 32-bit word in 64 bits, so that a product has room.
typedef std::uint64_t Words __attribute__((vector_size(kVectorBytes)));
inline constexpr Index kWordLanes = kVectorBytes / 8;
inline constexpr Index kDropoutStep = 4 * kWordLanes;  // columns for one call

/// The 64-bit products of the lanes' low words with a word: compilers do not see that the high
/// words do not matter.
MTA_INLINE Words multiply_words(Words a, std::uint32_t b) {
#if defined(__AVX512F__)
  return reinterpret_cast<Words>(
      _mm512_mul_epu32(reinterpret_cast<__m512i>(a), _mm512_set1_epi64(b)));
#elif defined(__AVX2__)
  return reinterpret_cast<Words>(
      _mm256_mul_epu32(reinterpret_cast<__m256i>(a), _mm256_set1_epi64x(b)));
#else
  return (a & 0xFFFFFFFF) * static_cast<std::uint64_t>(b);
#endif
}

/// Ten rounds on kWordLanes counters. High words hold rubbish in between: multiply_words does not
/// read them.
MTA_INLINE void philox(Words (&counter)[4], std::uint32_t key0, std::uint32_t key1) {
  constexpr std::uint32_t kMultiplier0 = 0xD2511F53, kMultiplier1 = 0xCD9E8D57;
  constexpr std::uint32_t kWeyl0 = 0x9E3779B9, kWeyl1 = 0xBB67AE85;
  constexpr int kRounds = 10, kWordBits = 32;
#pragma GCC unroll 10
  for (int round = 0; round < kRounds; ++round, key0 += kWeyl0, key1 += kWeyl1) {
    const Words product0 = multiply_words(counter[0], kMultiplier0);
    const Words product1 = multiply_words(counter[2], kMultiplier1);
    counter[0] = (product1 >> kWordBits) ^ counter[1] ^ static_cast<std::uint64_t>(key0);
    counter[1] = product1;
    counter[2] = (product0 >> kWordBits) ^ counter[3] ^ static_cast<std::uint64_t>(key1);
    counter[3] = product0;
  }
}

/// The words of kWordLanes counters in the order of their columns.
MTA_INLINE void store_words(const Words (&counter)[4], std::uint32_t* columns) {
  constexpr std::uint64_t kLow = 0xFFFFFFFF;
  constexpr int kWordBits = 32;
  using Sequence = std::make_index_sequence<static_cast<std::size_t>(kWordLanes)>;
  const Words first = (counter[0] & kLow) | (counter[1] << kWordBits);
  const Words second = (counter[2] & kLow) | (counter[3] << kWordBits);
  const Words low = zip_low(first, second, Sequence()), high = zip_high(first, second, Sequence());
  std::memcpy(columns, &low, sizeof low);
  std::memcpy(columns + 2 * kWordLanes, &high, sizeof high);
}

template <class T>
void dropout_row(const DropoutKey& dropout, Index map, Index row, Index columns, T* factors) {
  const T scale = static_cast<T>(dropout.scale);
  const Words row_word = Words{} + static_cast<std::uint64_t>(row);
  const Words map_word = Words{} + static_cast<std::uint64_t>(map);
  Words block = {};
  for (Index i = 0; i < kWordLanes; ++i) block[i] = static_cast<std::uint64_t>(i);
  for (Index j = 0; j < columns; j += kDropoutStep, block += kWordLanes) {
    Words counter[4] = {block, row_word, map_word, Words{}};
    philox(counter, dropout.key[0], dropout.key[1]);
    std::uint32_t words[kDropoutStep];
    store_words(counter, words);
    for (Index i = 0; i < kDropoutStep; ++i) {
      factors[j + i] = words[i] >= dropout.threshold ? scale : T{0};
    }
  }
}

}  // namespace mta::ops::cpu::MTA_SIMD
