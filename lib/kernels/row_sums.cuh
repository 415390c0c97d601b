// What a tile leaves behind of its rows: sums of exponentials of M, sums of P dP.
#pragma once

#include "lib/kernels/map_view.cuh"
#include "lib/kernels/warp_sums.cuh"

namespace mta::kernels {

/// A quad's sum over 64 keys of two rows of 2^(x log2(e) - reference); word_of(row, n) is word n of
/// this lane's 16 keys of each. Even lanes get the first row's, odd lanes the second one's.
template <class WordOf>
__device__ inline float sum_of_exponentials(WordOf&& word_of, const float (&reference)[2]) {
  float sum[2] = {};
#pragma unroll
  for (int row = 0; row < 2; ++row) {
    __syncwarp();  // one after the other, in few registers
#pragma unroll
    for (int n = 0; n < 8; ++n) {
      const float2 values = unpack<Half>(word_of(row, n));
      sum[row] += exp2_fast(fmaf(values.x, kLog2e, -reference[row])) +
                  exp2_fast(fmaf(values.y, kLog2e, -reference[row]));
    }
  }
  const float own = exchange_sum(sum[0], sum[1], 1);
  return own + __shfl_xor_sync(0xFFFFFFFFu, own, 2);
}

/// The same sum relative to the row's maximum (base 2), which comes first.
template <class WordOf>
__device__ inline float2 relative_partials(WordOf&& word_of) {
  Word largest[2];
#pragma unroll
  for (int row = 0; row < 2; ++row) {
    largest[row] = word_of(row, 0);
#pragma unroll
    for (int n = 1; n < 8; ++n) largest[row] = larger_halves(largest[row], word_of(row, n));
  }
  // One number of each row, so that both go through the quad together.
  Word both = larger_halves(__byte_perm(largest[0], largest[1], 0x5410u),
                            __byte_perm(largest[0], largest[1], 0x7632u));
  both = larger_halves(both, __shfl_xor_sync(0xFFFFFFFFu, both, 1));
  both = larger_halves(both, __shfl_xor_sync(0xFFFFFFFFu, both, 2));
  const float2 pair = unpack<Half>(both);
  const float maximum[2] = {pair.x * kLog2e, pair.y * kLog2e};
  const float own = sum_of_exponentials(word_of, maximum);
  const float own_maximum = lane_place().q % 2 == 1 ? maximum[1] : maximum[0];
  // A row above this tile has no keys in it.
  return {own_maximum, own_maximum == -INFINITY ? 0.0f : own};
}

/// A number (base 2) and the sum of exponentials relative to it of a quad's 64 keys of two rows of
/// M, from this lane's 16 of each: word n holds keys key_of(n) and + 1 of the tile, of which those
/// up to last[row] are causal. Even lanes get the first row's, odd lanes the second one's. `whole`,
/// the same for the warp: all keys are causal. A row whose sum stays in fp32's middle has it
/// relative to 0, whatever the others need, as these may be in its future; where all do, no row is
/// searched for its maximum.
template <class KeyOf>
__device__ inline float2 row_partials(const Word (&m)[2][8], const int (&last)[2], bool whole,
                                      KeyOf&& key_of) {
  const auto causal = [&](int row, int n) {
    const int key = key_of(n);
    const Word kept = keep_pair(0xFFFFFFFFu, key <= last[row], key < last[row]);
    return (m[row][n] & kept) | (kMinusInfinity & ~kept);
  };
  const float sum = whole ? sum_of_exponentials([&](int row, int n) { return m[row][n]; }, {0, 0})
                          : sum_of_exponentials(causal, {0, 0});
  const bool is_relative = !needs_no_maximum(sum);
  if (__ballot_sync(0xFFFFFFFFu, is_relative) != 0) {
    const float2 relative = relative_partials(causal);
    if (is_relative) return relative;
  }
  return {0, sum};
}

/// The same for the rows of a block, as fp16 memory will hold them.
__device__ inline void store_row_partials(const Block& block, const RowStatistics& statistics,
                                          int map, int first_row, int end, int first_key) {
  const Lane lane = lane_place();
  Word words[2][8];
#pragma unroll
  for (int n = 0; n < 16; ++n) {
    const int half = n / 8, t = n % 8;
    words[half][t] = pack<Half>(block[t][2 * half], block[t][2 * half + 1]);
  }
  const int last[2] = {first_row + lane.g - first_key, first_row + lane.g + 8 - first_key};
  const float2 partial = row_partials(words, last, first_row >= first_key + kTileKeys - 1,
                                      [&](int t) { return 8 * t + 2 * lane.q; });
  const int row = first_row + lane.g + 8 * lane.q;
  if (lane.q < 2 && row < end) {
    statistics.partials[statistics.index(map, row, first_key / kTileKeys)] = partial;
  }
}

/// Partial sums of X dX over this tile's keys, for the softmax's backward.
template <class E>
__device__ void store_row_dots(const Block& out, const Number* own, const RowDots& dots, int map,
                               int first_row, int end, int tile) {
  const Lane lane = lane_place();
  const Word* words = reinterpret_cast<const Word*>(own);
#pragma unroll
  for (int half = 0; half < 2; ++half) {
    const int warp_row =
        in_register(static_cast<int>(threadIdx.x)) / kWarp * 16 + lane.g + 8 * half;
    float sum = 0;
#pragma unroll
    for (int t = 0; t < 8; ++t) {
      const float2 x = unpack<E>(words[warp_row * (kStagePitch / 2) + 4 * t + lane.q]);
      const float2 d =
          unpack<E>(pack<E>(out[t][2 * half], out[t][2 * half + 1]));  // as memory will hold it
      sum += x.x * d.x + x.y * d.y;
    }
    sum = quad_sum(sum);
    if (lane.q == 0 && first_row + warp_row < end)
      dots.partials[dots.index(map, first_row + warp_row, tile)] = sum;
  }
}

}  // namespace mta::kernels
