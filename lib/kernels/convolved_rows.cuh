// A convolution along the keys whose input rows stream through registers: each row of a tile is
// loaded once and serves all query offsets.
//
// On the matrix unit M counts windows of eight outputs, eight of row r and eight of row r + 16:
//
//   sums of output rows (o | o + 16) += rows (t | t + 16)[window u, 8 kBlocks columns] band[a]
//                                                                           for every a = t - o
//
// so a fragment of row t is what the rows o = t, t-1, .. t-(c_q-1) need of it, and the offset only
// chooses whose sums it goes to. The bands of all offsets stay in registers.
#pragma once

#include "lib/kernels/toeplitz.cuh"

namespace mta::kernels {

/// Of the tiles of a block that has all heads.
template <int kBlocks>
constexpr int kFusedPitch = loaded_columns(kBlocks);

/// Where a lane of a streamed convolution writes word `lane` (keys 2n and 2n+1) of a row. Words lie
/// as
///
///   place   0  1  2  3 | 4  5  6  7 | ...          word 16 h + 4 i + q at place 16 h + 4 q + i
///   word    0  4  8 12 | 1  5  9 13 | ...
///
/// so that the four words that a lane of a mixing writes (4q + t) are one 16-byte piece, and so are
/// those that a lane of a convolution by tiles has in four neighbouring blocks (4t + q).
__device__ inline int convolved_place() {
  const int lane = static_cast<int>(threadIdx.x) % kWarp;
  return lane / 16 * 16 + lane % 4 * 4 + lane / 4 % 4;
}

/// The bands of all offsets, the first ones zero where the kernel has fewer.
template <int kBlocks>
struct StreamedBands {
  Word of[kMaxStreamedSpan][kBlocks];
  __device__ StreamedBands(const Word* tables, int query_span, int slack) {
    const int lacking = kMaxStreamedSpan - query_span;
    tables -= lacking * table_words(kBlocks);
#pragma unroll
    for (int a = 0; a < kMaxStreamedSpan; ++a, tables += table_words(kBlocks)) {
#pragma unroll
      for (int b = 0; b < kBlocks; ++b) of[a][b] = 0;
      if (a >= lacking) load_band<kBlocks>(of[a], tables, slack);
    }
  }
};

/// Adds rows (t | t + 16) to the output rows that want them. `thirds` are the third blocks of rows
/// t-1 and t: they make one product for two offsets.
template <int kBlocks>
__device__ inline void add_row(float (&sums)[kMaxStreamedSpan][4], const Word (&x)[4],
                               const Word (&thirds)[4], const StreamedBands<kBlocks>& bands,
                               int t) {
  static_assert(kBlocks == 2 || kBlocks == 3, "a pair of blocks, and one more");
#pragma unroll
  for (int a = kMaxStreamedSpan - 1; a >= 0; --a) {  // first what is complete then
    const int o = t - a;
    if (o < 0 || o >= kFusedRows / 2) continue;
    float(&sum)[4] = sums[o % kMaxStreamedSpan];
    mma_k16<Half>(sum, x[0], x[1], x[2], x[3], bands.of[a][0], bands.of[a][1]);
    if (kBlocks == 3 && a % 2 == 1) {
      mma_k16<Half>(sum, thirds[0], thirds[1], thirds[2], thirds[3], bands.of[a - 1][kBlocks - 1],
                    bands.of[a][kBlocks - 1]);
    }
  }
}

/// Rounds what is complete of two rows; their sums' place begins anew.
__device__ inline void finish_row(Word (&finished)[2], float (&sum)[4]) {
#pragma unroll
  for (int half = 0; half < 2; ++half) {
    finished[half] = pack<Half>(sum[2 * half], sum[2 * half + 1]);
    sum[2 * half] = sum[2 * half + 1] = 0;
  }
}

/// Convolves the 32 rows of a head's tile, which its c_q-1 rows above precede, and writes each,
/// 16-bit, over the input row of the same number, from its number `target` on. Keys past the
/// diagonal are not masked.
template <int kBlocks>
__device__ inline void convolve_streamed(Number* tile, Number* target,
                                         const StreamedBands<kBlocks>& bands, int query_span) {
  constexpr int kPitch = kFusedPitch<kBlocks>, kRows = kFusedRows / 2,
                kSteps = kRows + kMaxStreamedSpan - 1;
  const int lane = static_cast<int>(threadIdx.x) % kWarp, lacking = kMaxStreamedSpan - query_span;
  tile -= lacking * kPitch;
  Word* const own = reinterpret_cast<Word*>(target + (query_span - 1) * kPitch) + convolved_place();
  // Eight lanes give the pieces of one row: of row t, of row t + 16, and of both one block on.
  const Number* const corner =
      tile + lane / 8 % 2 * kRows * kPitch + (lane % 8 + lane / 16) * kChunk;
  const Number* const third = corner + lane / 16 * (kPitch - kChunk) - kPitch + 2 * kChunk;
  float sums[kMaxStreamedSpan][4] = {};
  Word finished[2];  // of the step before
#pragma unroll
  for (int t = 0; t <= kSteps; ++t) {
    if (t < kMaxStreamedSpan - 1 && t < lacking) continue;  // no such row, and no weights for it
    Word x[4], thirds[4];
    if (t < kSteps) load_blocks(x, corner + t * kPitch);
    if (kBlocks == 3 && t > 0 && t < kSteps) {
      // There is no row t-1 above the first one: its weights are zero, any number will do.
      const bool is_first = t < kMaxStreamedSpan && t == lacking;
      load_blocks(thirds, third + (is_first && lane < 16 ? t + 1 : t) * kPitch);
    }
    if (t >= kMaxStreamedSpan) {
      __syncwarp();  // all lanes have read row t-1
#pragma unroll
      for (int half = 0; half < 2; ++half) {
        own[(t - kMaxStreamedSpan + half * kRows) * (kPitch / 2)] = finished[half];
      }
    }
    add_row<kBlocks>(sums, x, thirds, bands, t);
    if (t >= kMaxStreamedSpan - 1) finish_row(finished, sums[(t + 1) % kMaxStreamedSpan]);
  }
}

}  // namespace mta::kernels
