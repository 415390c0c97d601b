// What both directions in one pass do with a warp's 16 lines of a tile in shared memory: scores
// with their mask at the diagonal, keys that the next tile begins with, one query offset of a
// convolution.
#pragma once

#include "lib/kernels/toeplitz.cuh"

namespace mta::kernels {

/// Starts the copy of a head's pair tables [c_q, table_words] to shared memory: of all threads,
/// with their next group.
template <int kBlocks>
__device__ void copy_table(Number* target, const Word* tables, int head, int query_span) {
  constexpr int kNumbers = table_words(kBlocks) * kWordBytes / kNumberBytes;
  static_assert(kNumbers % kChunk == 0);
  const int numbers = query_span * kNumbers;
  const Number* source = reinterpret_cast<const Number*>(tables) + head * numbers;
  for (int n = static_cast<int>(threadIdx.x) * kChunk; n < numbers;
       n += static_cast<int>(blockDim.x) * kChunk) {
    copy_async(target + n, source + n, true);
  }
}

/// The first kKeys keys of 16 lines of a tile, from one place to another, by one warp.
template <int kKeys, int kPitch>
__device__ void copy_keys(Number* to, const Number* from) {
  static_assert(kKeys <= 2 * kChunk);
  const int lane = static_cast<int>(threadIdx.x) % kWarp;
  const int place = lane % 16 * kPitch + lane / 16 * kChunk;
  if (lane / 16 < kKeys / kChunk) {
    *reinterpret_cast<uint4*>(to + place) = *reinterpret_cast<const uint4*>(from + place);
  }
  __syncwarp();
}

/// out = X Y^T for 16 tokens of X and the keys from column kFirst on.
template <class E, int kDim, int kFirst, int kColumns>
__device__ void multiply_lines(float (&out)[kColumns][4], const Number* x, const Number* y) {
  const Number* x_corner = x + square_offset(kDim + 8);
  const Number* y_corner = y + square_offset_by_row(kDim + 8);
#pragma unroll
  for (int t = 0; t < kColumns; ++t) {
#pragma unroll
    for (int e = 0; e < 4; ++e) out[t][e] = 0;
  }
#pragma unroll
  for (int k = 0; k < kDim / 16; ++k) {
    Word a[4];
    load_blocks(a, x_corner + 16 * k);
#pragma unroll
    for (int pair = kFirst / 2; pair < kColumns / 2; ++pair) {
      Word b[4];
      load_blocks(b, y_corner + pair * 16 * (kDim + 8) + 16 * k);
      if (2 * pair >= kFirst) mma_k16<E>(out[2 * pair], a[0], a[1], a[2], a[3], b[0], b[1]);
      mma_k16<E>(out[2 * pair + 1], a[0], a[1], a[2], a[3], b[2], b[3]);
    }
  }
}

/// Rows g and g + 8 into 16 lines of shared memory, from column kFirst on.
template <int kFirst, int kPitch, int kColumns>
__device__ void put_words(const Word (&words)[kColumns][2], Number* lines) {
  const Lane lane = lane_place();
  Number* numbers = lines + lane.g * kPitch + 2 * lane.q;
#pragma unroll
  for (int t = kFirst; t < kColumns; ++t) {
#pragma unroll
    for (int half = 0; half < 2; ++half) {
      *reinterpret_cast<Word*>(numbers + 8 * half * kPitch + kChunk * t) = words[t][half];
    }
  }
}

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

/// S of 16 queries and the keys from column kFirst on into `lines`, in fp16: line n keeps the keys
/// up to `last` + n, the others are zero.
template <class E, int kDim, int kPitch, int kFirst, int kColumns>
__device__ void put_scores(Number* lines, const Number* queries, const Number* keys, int last,
                           float scale) {
  float scores[kColumns][4];
  multiply_lines<E, kDim, kFirst>(scores, queries, keys);
  Word words[kColumns][2];
#pragma unroll
  for (int t = 0; t < kColumns; ++t) {
#pragma unroll
    for (int half = 0; half < 2; ++half) {
      words[t][half] = pack<Half>(scale * scores[t][2 * half], scale * scores[t][2 * half + 1]);
    }
  }
  mask_words<0>(words, last);
  put_words<kFirst, kPitch>(words, lines);
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
