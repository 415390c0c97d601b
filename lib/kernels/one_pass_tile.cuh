// What both directions in one pass do with a warp's 16 lines of a tile: the mask at the diagonal,
// and one query offset of a convolution.
#pragma once

#include "lib/kernels/toeplitz.cuh"

namespace mta::kernels {

/// Puts kFill in the place of what lies past the diagonal of rows g and g + 8: row n of 16 keeps
/// columns up to `last` + n. Away from the diagonal nothing.
template <Word kFill, int kColumns>
__device__ void mask_words(Word (&words)[kColumns][2], int last) {
  if (last >= kChunk * kColumns - 1) return;
  const Lane lane = lane_place();
#pragma unroll
  for (int t = 0; t < kColumns; ++t) {
#pragma unroll
    for (int half = 0; half < 2; ++half) {
      const int spare = last + lane.g + 8 * half - (kChunk * t + 2 * lane.q);
      words[t][half] = keep_pair(words[t][half], spare >= 0, spare > 0) |
                       keep_pair(kFill, spare < 0, spare <= 0);
    }
  }
}

/// This lane's place in a query offset's table.
__device__ inline const Word* band_words(const Word* table, int slack) {
  const Lane lane = lane_place();
  return table + kTableOrigin + 2 * lane.q - lane.g - slack;
}

/// out += windows of the lines' blocks, from output kFirst on, times the band. `corner`: this
/// lane's place in the lines, `words`: its place in the offset's table.
template <class E, int kBlocks, int kPitch, int kFirst, int kColumns>
__device__ void convolve_offset(float (&out)[kColumns][4], const Number* corner,
                                const Word* words) {
  static_assert(kBlocks == 2 || kBlocks == 3);
  constexpr int kLoaded = kColumns + kBlocks - 1;
  Word x[kLoaded + kLoaded % 2][2], band[kBlocks];
#pragma unroll
  for (int b = 0; b < kBlocks; ++b) band[b] = words[8 * b];
  load_row_blocks<kLoaded>(x, corner);
  Word middle = band[1];  // as if another: both pairs of words must lie side by side
  asm volatile("" : "+r"(middle));
  // Pairs of blocks from an even one on, then the single ones: chains of two products.
#pragma unroll
  for (int t = kFirst; t < kColumns; ++t) {
    const bool is_even = t % 2 == 0;
    if (is_even) {
      mma_k16<E>(out[t], x[t][0], x[t][1], x[t + 1][0], x[t + 1][1], band[0], band[1]);
    } else if (kBlocks == 3) {
      mma_k16<E>(out[t], x[t + 1][0], x[t + 1][1], x[t + 2][0], x[t + 2][1], middle,
                 band[kBlocks - 1]);
    } else {
      mma_k8<E>(out[t], x[t + 1][0], x[t + 1][1], band[1]);
    }
  }
#pragma unroll
  for (int t = kFirst; t < kColumns; ++t) {
    if (t % 2 == 1) mma_k8<E>(out[t], x[t][0], x[t][1], band[0]);
    if (t % 2 == 0 && kBlocks == 3) mma_k8<E>(out[t], x[t + 2][0], x[t + 2][1], band[2]);
  }
}

}  // namespace mta::kernels
