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

/// Query offsets that the streamed convolution is built for.
constexpr int kStreamedSpan = 6;

/// Where a convolved row is in shared memory: words n (keys 2n and 2n+1 of the tile) lie as
///
///   place   0  1  2  3 | 4  5  6  7 | ...          word 16 h + 4 i + q at place 16 h + 4 q + i
///   word    0  4  8 12 | 1  5  9 13 | ...
///
/// so that the four words that a lane of a mixing writes (4q + t) are one 16-byte piece, and so are
/// those that a lane of a convolution by tiles has in four neighbouring blocks (4t + q). Odd rows
/// start one piece later: the two rows that eight lanes of the latter write then use different
/// banks.
template <int kPitch>
struct Words {
  __device__ static Number* row(Number* tile, int r) { return tile + r * kPitch + r % 2 * kChunk; }
};

/// The bands of all offsets, the first ones zero where the kernel has fewer.
template <int kBlocks>
struct StreamedBands {
  Word of[kStreamedSpan][kBlocks];
  __device__ StreamedBands(const Word* tables, int query_span, int slack) {
    const int lacking = kStreamedSpan - query_span;
    tables -= lacking * table_words(kBlocks);
#pragma unroll
    for (int a = 0; a < kStreamedSpan; ++a, tables += table_words(kBlocks)) {
#pragma unroll
      for (int b = 0; b < kBlocks; ++b) of[a][b] = 0;
      if (a >= lacking) load_band<kBlocks>(of[a], tables, slack);
    }
  }
};

/// Convolves the 32 rows of a head's tile, which its c_q-1 rows above precede, and writes each,
/// 16-bit, over the input row of the same number. Keys past the diagonal are not masked.
template <int kBlocks>
__device__ inline void convolve_streamed(Number* tile, const StreamedBands<kBlocks>& bands,
                                         int query_span) {
  using Shape = TileShape<kBlocks>;
  constexpr int kRows = kFusedRows / 2, kSteps = kRows + kStreamedSpan - 1;
  static_assert(kBlocks == 2 || kBlocks == 3, "a pair of blocks, and one more");
  const int lane = static_cast<int>(threadIdx.x) % kWarp, lacking = kStreamedSpan - query_span;
  tile -= lacking * Shape::kPitch;
  // Eight lanes give the pieces of one row: of row t, of row t + 16, and of both one block on.
  const Number* const corner =
      tile + lane / 8 % 2 * kRows * Shape::kPitch + (lane % 8 + lane / 16) * kChunk;
  Number* const own = tile + (kStreamedSpan - 1) * Shape::kPitch;
  const int place = lane / 16 * 16 + lane % 4 * 4 + lane / 4 % 4;
  float sums[kStreamedSpan][4] = {};
#pragma unroll
  for (int t = 0; t < kSteps; ++t) {
    if (t < kStreamedSpan - 1 && t < lacking) continue;  // no such row, and no weights for it
    Word x[4], last[2];
    load_blocks(x, corner + t * Shape::kPitch);
    if constexpr (kBlocks == 3) load_two_blocks(last, corner + t * Shape::kPitch + 2 * kChunk);
#pragma unroll
    for (int a = 0; a < kStreamedSpan; ++a) {
      const int o = t - a;
      if (o < 0 || o >= kRows) continue;
      float(&sum)[4] = sums[o % kStreamedSpan];
      mma_k16<Half>(sum, x[0], x[1], x[2], x[3], bands.of[a][0], bands.of[a][1]);
      if constexpr (kBlocks == 3) mma_k8<Half>(sum, last[0], last[1], bands.of[a][2]);
    }
    const int done = t - (kStreamedSpan - 1);
    if (done < 0) continue;
    float(&sum)[4] = sums[done % kStreamedSpan];
    __syncwarp();  // all lanes have read the rows
#pragma unroll
    for (int half = 0; half < 2; ++half) {
      Number* const row = Words<Shape::kPitch>::row(own, done + half * kRows);
      Word* const words = reinterpret_cast<Word*>(row);
      words[place] = pack<Half>(sum[2 * half], sum[2 * half + 1]);
    }
#pragma unroll
    for (float& x_sum : sum) x_sum = 0;
  }
}

}  // namespace mta::kernels
