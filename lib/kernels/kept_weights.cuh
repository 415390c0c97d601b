// Dropout of weights that a warp holds in registers as the matrix unit lays them out: which of 16
// rows by 8 kColumns keys are kept.
#pragma once

#include "lib/kernels/map_view.cuh"
#include "lib/kernels/matrix_unit.cuh"

namespace mta::kernels {

/// Bit 8 (t % 4) + 4 (t / 4) + 2h + e: the weight of row g + 8h, key first_key + 8t + 2q + e is
/// kept.
struct KeptWeights {
  std::uint32_t bits;

  __device__ bool has(int column, int half, int e) const {
    return (bits >> (8 * (column % 4) + 4 * (column / 4) + 2 * half + e) & 1) != 0;
  }
};

/// The same, as if it were another: factors of an earlier use would else stay in registers for
/// this.
__device__ inline KeptWeights again(KeptWeights kept) {
  asm volatile("" : "+r"(kept.bits));
  return kept;
}

/// Bit n: key n of the eight that `block` decides is kept.
__device__ inline std::uint32_t kept_bits(const DropoutBlock& block, std::uint32_t threshold) {
  std::uint32_t bits = 0;
#pragma unroll
  for (int n = 0; n < 4; ++n) {
    if ((block.word[n] & 0xFFFFu) >= threshold) bits |= 1u << (2 * n);
    if ((block.word[n] >> 16) >= threshold) bits |= 2u << (2 * n);
  }
  return bits;
}

/// A block of random words decides eight keys of a row, of which a lane holds two: so the four
/// lanes of a quad draw a block each and gather their bits. `first_key` is a multiple of 8.
template <int kColumns>
__device__ KeptWeights kept_weights(const DropoutArgs& dropout, int map, int first_row,
                                    int first_key) {
  static_assert(kColumns == 4 || kColumns == 8);
  const Lane lane = lane_place();
  // As if it changed: the keys of the ten rounds, made of the seed, would else stay in registers
  // through the caller's loop.
  auto low = static_cast<std::uint32_t>(dropout.seed);
  auto high = static_cast<std::uint32_t>(dropout.seed >> 32);
  auto number = static_cast<std::uint32_t>(dropout.first_map + map);
  asm volatile("" : "+r"(low), "+r"(high), "+r"(number));
  const std::uint64_t seed = static_cast<std::uint64_t>(high) << 32 | low;
  KeptWeights kept = {};
#pragma unroll
  for (int n = 0; n < kColumns / 2; ++n) {
    const int half = n % 2, four = n / 2;
    const DropoutBlock block =
        dropout_block(seed, dropout_stream(dropout), number,
                      static_cast<std::uint32_t>(first_row + lane.g + 8 * half),
                      static_cast<std::uint32_t>(first_key + 8 * (4 * four + lane.q)));
    std::uint32_t quad = kept_bits(block, dropout.threshold) << (8 * lane.q);
    quad |= __shfl_xor_sync(0xFFFFFFFFu, quad, 1);
    quad |= __shfl_xor_sync(0xFFFFFFFFu, quad, 2);
    kept.bits |= (quad >> (2 * lane.q) & 0x03030303u) << (4 * four + 2 * half);
  }
  return kept;
}

/// Weights, or their gradients, as accumulators: those kept times `scale`, zero for the others.
template <int kColumns>
__device__ void drop_weights(float (&weights)[kColumns][4], const KeptWeights& kept, float scale) {
#pragma unroll
  for (int t = 0; t < kColumns; ++t) {
#pragma unroll
    for (int e = 0; e < 4; ++e) {
      weights[t][e] = kept.has(t, e / 2, e % 2) ? weights[t][e] * scale : 0;
    }
  }
}

/// dropped = weights as words of rows g and g + 8, zero where they are not kept.
template <int kColumns>
__device__ void drop_words(Word (&dropped)[kColumns][2], const Word (&weights)[kColumns][2],
                           const KeptWeights& kept) {
#pragma unroll
  for (int t = 0; t < kColumns; ++t) {
#pragma unroll
    for (int half = 0; half < 2; ++half) {
      dropped[t][half] = keep_pair(weights[t][half], kept.has(t, half, 0), kept.has(t, half, 1));
    }
  }
}

}  // namespace mta::kernels
