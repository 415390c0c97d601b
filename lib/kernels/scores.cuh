// Stage: target = factor X Y^T over causal tiles. Scores S = scale Q K^T, and dA = dO V^T.
#pragma once

#include "lib/kernels/row_sums.cuh"
#include "lib/kernels/sector_rows.cuh"

namespace mta::kernels {

constexpr int kScoreThreads = 128;  // four warps of 32 rows

/// What a kernel does with a tile besides storing it.
enum class ScoreExtra { Nothing, Statistics, Dots, Dropout };

/// A warp's 32 rows by 32 keys in accumulators: two blocks of 16 rows, four columns of 8 keys.
/// Column t has keys 8 m + 2 t and + 1, m = 0..3, so that a lane has eight keys that stand
/// together.
using HalfTile = float[2][4][4];

/// What a lane of a warp has of them, as memory will hold it: pieces of rows g + 8 n, eight keys
/// from 8 q on.
using HalfPieces = uint4[4];

/// 32 rows from `rows` on, of SectorRows, as A fragments of two blocks of 16 rows. A lane has eight
/// numbers of a row that stand together: of columns 32 k.., 2q.. and 2q+8.. of fragment 2 k + h are
/// 8q + 4h.. and 8q + 4h + 2..
template <int kDim>
__device__ void load_pieces(Word (&x)[2][kDim / 16][4], const Number* rows) {
  const Lane lane = lane_place();
#pragma unroll
  for (int n = 0; n < 2 * kDim / 32; ++n) {
    const int b = n % 2, k = n / 2;
#pragma unroll
    for (int half = 0; half < 2; ++half) {
      const int row = 16 * b + 8 * half + lane.g, column = 32 * k + kChunk * lane.q;
      const uint4 piece = load_piece(rows + SectorRows<kDim>::place(row, column));
      x[b][2 * k][half] = piece.x, x[b][2 * k][2 + half] = piece.y;
      x[b][2 * k + 1][half] = piece.z, x[b][2 * k + 1][2 + half] = piece.w;
    }
  }
}

/// Where a lane's first piece of 32 keys stands: of key 8 (g / 2) + g % 2.
template <int kDim>
__device__ SharedPlace first_key_piece(const Number* keys) {
  const Lane lane = lane_place();
  return SharedPlace(keys + SectorRows<kDim>::place(lane.g / 2 * 8 + lane.g % 2, kChunk * lane.q));
}

/// tile = X Y^T for 32 rows and the 32 keys whose first piece stands at `first`. What is loaded of
/// Y serves both blocks of rows: shared memory, not the matrix unit, is what four warps wait for.
template <class E, int kDim>
__device__ void multiply_half(HalfTile& tile, const Word (&x)[2][kDim / 16][4],
                              const SharedPlace& first) {
#pragma unroll
  for (int n = 0; n < 32; ++n) tile[n / 16][n / 4 % 4][n % 4] = 0;
#pragma unroll
  for (int k = 0; k < kDim / 32; ++k) {
#pragma unroll
    for (int t = 0; t < 4; ++t) {
      // Two rows further the sectors of a pair have changed places.
      const uint4 y =
          SectorRows<kDim>::further(first, 2 * k + t % 2).load(2 * t * SectorRows<kDim>::kBytes);
#pragma unroll
      for (int b = 0; b < 2; ++b) {
        const Word(&low)[4] = x[b][2 * k], (&high)[4] = x[b][2 * k + 1];
        mma_k16<E>(tile[b][t], low[0], low[1], low[2], low[3], y.x, y.y);
        mma_k16<E>(tile[b][t], high[0], high[1], high[2], high[3], y.z, y.w);
      }
    }
  }
}

/// factor times the tile as pieces.
template <class E>
__device__ void pack_half(HalfPieces& pieces, const HalfTile& tile, float factor) {
#pragma unroll
  for (int n = 0; n < 4; ++n) {
    const auto word = [&](int t) {
      const float* pair = tile[n / 2][t] + n % 2 * 2;
      return pack<E>(factor * pair[0], factor * pair[1]);
    };
    pieces[n] = {word(0), word(1), word(2), word(3)};
  }
}

/// Applies dropout to the pieces of 32 keys.
template <class E>
__device__ void drop_half(HalfPieces& pieces, const DropoutArgs& dropout, int map, int first_row,
                          int first_key) {
  const Lane lane = lane_place();
#pragma unroll
  for (int n = 0; n < 4; ++n) {
    pieces[n] =
        drop<E>(pieces[n], dropout, map, first_row + lane.g + 8 * n, first_key + kChunk * lane.q);
  }
}

/// The sum of P dP of eight keys that begin `causal` keys before those that the row does not reach.
template <class E>
__device__ inline float piece_dot(uint4 m, const uint4& d, float lse2, int causal) {
  m = softmax_weights<E>(m, lse2);
  if (causal < kChunk) m = keep_first(m, causal);
  const Word *p = &m.x, *d_p = &d.x;
  float sum = 0;
#pragma unroll
  for (int n = 0; n < 4; ++n) {
    const float2 x = unpack<E>(p[n]), y = unpack<E>(d_p[n]);
    sum += x.x * y.x + x.y * y.y;
  }
  return sum;
}

/// Adds up P dP of 32 keys, with M in SectorRows.
template <class E>
__device__ void add_half_dots(float (&dots)[4], const HalfPieces& pieces, const Number* rows,
                              int half, const float (&lse2)[4], int first_row, int first_key) {
  const Lane lane = lane_place();
#pragma unroll
  for (int n = 0; n < 4; ++n) {
    const int row = lane.g + 8 * n, column = 32 * half + kChunk * lane.q;
    const uint4 m = load_piece(rows + SectorRows<kTileKeys>::place(row, column));
    dots[n] += piece_dot<E>(m, pieces[n], lse2[n], first_row + row + 1 - first_key - column);
  }
}

/// Partial sums of P dP of this warp's 32 rows: the lanes of a quad take one of its four rows each.
__device__ inline void store_half_dots(const float (&sums)[4], const RowDots& dots, int map,
                                       int first_row, int end, int tile) {
  const Lane lane = lane_place();
  const int row = first_row + lane.g + 8 * lane.q;
  float own = 0;
#pragma unroll
  for (int n = 0; n < 4; ++n) {
    const float sum = quad_sum(sums[n]);
    if (lane.q == n) own = sum;
  }
  if (row < end) dots.partials[dots.index(map, row, tile)] = own;
}

/// Statistics of this warp's 32 rows of M.
__device__ inline void store_piece_partials(const HalfPieces (&pieces)[2],
                                            const RowStatistics& statistics, int map, int first_row,
                                            int end, int tile) {
  const int thread = in_register(static_cast<int>(threadIdx.x)) % kWarp;
  const Lane lane = {thread / 4, thread % 4};
#pragma unroll
  for (int n = 0; n < 4; n += 2) {
    Word words[2][8];
#pragma unroll
    for (int t = 0; t < 16; ++t) words[t / 8][t % 8] = (&pieces[t / 4 % 2][n + t / 8].x)[t % 4];
    const int first_last = first_row + 8 * n - tile * kTileKeys,
              last[2] = {first_last + lane.g, first_last + lane.g + 8};
    const float2 partial = row_partials(words, last, first_last >= kTileKeys - 1, [&](int t) {
      return t / 4 * 32 + kChunk * lane.q + t % 4 * 2;
    });
    const int row = first_row + lane.g + 8 * (n + lane.q);
    if (lane.q < 2 && row < end) statistics.partials[statistics.index(map, row, tile)] = partial;
  }
}

/// Where a warp writes 16 rows of its pieces: eight rows of 64 bytes at a time.
class PieceRows {
 public:
  __device__ PieceRows(const MapView& view, int map, int first_row, int end)
      : first_(map_tiles(view, map) + tile_numbers(row_tile(view, first_row)) +
               lane_place().g * kTileKeys + lane_place().q * kChunk),
        first_row_(first_row),
        count_(end - first_row - lane_place().g) {}
  /// Does the last of the rows reach this key? Memory may have no such tile where none does.
  __device__ bool reach_key(int key, int reach) const {
    return key < first_row_ + kMapRows + reach;
  }
  /// A half of a tile's keys: pieces of rows g and g + 8.
  __device__ void store(const uint4& upper, const uint4& lower, int tile, int half) const {
    Number* const target = first_ + tile_numbers(tile) + kTileKeys / 2 * half;
    if (count_ > 0) store_piece(target, upper);
    if (count_ > 8) store_piece(target + 8 * kTileKeys, lower);
  }

 private:
  Number* first_;  // this lane's piece of row g
  int first_row_, count_;
};

/// Blocks a multiprocessor that registers must leave room for: as many as do without spills. For
/// older cards the compiler needs more of them.
#if defined(__CUDA_ARCH__) && __CUDA_ARCH__ < 900
constexpr int kScoreBlocksLess = 1;
#else
constexpr int kScoreBlocksLess = 0;
#endif
template <int kDim, ScoreExtra kExtra>
constexpr int kScoreBlocks = (kExtra == ScoreExtra::Dots      ? (kDim <= 64 ? 3 : 2)
                              : kExtra == ScoreExtra::Nothing ? (kDim <= 96 ? 4 : 3)
                                                              : (kDim <= 64 ? 4 : 3)) -
                             kScoreBlocksLess;

/// Grid: (strips of key tiles, blocks of kProductRows, maps). A block walks a strip with its rows
/// of X in registers. `Target` is the type of the map.
template <class E, class Target, int kDim, ScoreExtra kExtra>
__global__ void __launch_bounds__(kScoreThreads, kScoreBlocks<kDim, kExtra>)
    scores_kernel(const ScoresArgs args) {
  wait_for_previous_kernel();
  constexpr bool kDots = kExtra == ScoreExtra::Dots;
  constexpr int kKeyNumbers = token_rows_numbers(kDim);
  Number* const shared = dynamic_shared<Number>();
  const auto keys_of = [&](int stage) { return shared + (stage + 2) % kScoreStages * kKeyNumbers; };
  const auto mixed_of = [&](int stage) {
    return shared + kScoreStages * kKeyNumbers + stage * 2 * kMapRowsNumbers;
  };
  const Extent& extent = args.extent;
  const int map = static_cast<int>(blockIdx.z), warp = static_cast<int>(threadIdx.x) / kWarp;
  const int first_row = extent.rows.begin + static_cast<int>(blockIdx.y) * kProductRows;
  const int last_row = min(first_row + kProductRows, extent.rows.end) - 1;
  const int first_tile = static_cast<int>(blockIdx.x) * args.strip_tiles;
  const int end_tile =
      min(first_tile + args.strip_tiles, key_tiles(last_row, extent.tokens, extent.reach));
  if (first_tile >= end_tile) return;

  const HeadTokens keys = head_tokens(args.y, map, extent.heads);
  const WrittenMap m_tiles(args.mixed, map, first_row, extent.rows.end, extent.tokens, 0);
  const auto load = [&](int n, int stage) {
    const int first_key = (first_tile + n) * kTileKeys;
    load_token_rows<kDim>(keys_of(stage), keys, first_key, extent.tokens);
    if (!kDots) return;
    m_tiles.load(mixed_of(stage), m_tiles.strip(0), 0, first_tile + n);
    m_tiles.load(mixed_of(stage) + kMapRowsNumbers, m_tiles.strip(kTileRows), kTileRows,
                 first_tile + n);
  };
  // The rows of X stand where the second and third tile of keys will be.
  static_assert(kProductRows == 2 * kTileKeys && kScoreStages == 3);
  load_token_rows<kDim, kProductRows>(shared, head_tokens(args.x, map, extent.heads), first_row,
                                      extent.rows.end);
  load(0, 0);
  commit_copies();
  wait_for_copies<0>();
  __syncthreads();
  Word x[2][kDim / 16][4];
  load_pieces<kDim>(x, shared + 32 * warp * kDim);
  __syncthreads();

  const int row = first_row + 32 * warp, end_row = min(row + 32, extent.rows.end);
  const int own_tiles = row < end_row ? key_tiles(end_row - 1, extent.tokens, extent.reach) : 0;
  float lse2[4] = {};
  if (kDots && own_tiles > 0) {
    const float* lse = args.lse + static_cast<std::size_t>(map) * extent.tokens;
#pragma unroll
    for (int n = 0; n < 4; ++n) {
      lse2[n] = lse[min(row + lane_place().g + 8 * n, end_row - 1)] * kLog2e;
    }
  }
  const PieceRows rows[] = {{args.target, map, row, extent.rows.end},
                            {args.target, map, row + kMapRows, extent.rows.end}};
  for_each_staged_tile<1>(
      kScoreStages, end_tile - first_tile, load, [](int, int) {},
      [&](int n, int stage) {
        const int tile = first_tile + n, first_key = tile * kTileKeys;
        if (tile >= own_tiles) return;  // above the diagonal
        HalfPieces pieces[2];
        float dots[4] = {};
#pragma unroll
        for (int half = 0; half < 2; ++half) {
          HalfTile block;
          const SharedPlace y = first_key_piece<kDim>(keys_of(stage) + 32 * half * kDim);
          multiply_half<E, kDim>(block, x, y);
          pack_half<Target>(pieces[half], block, args.factor);
          if (kDots) {
            add_half_dots<Target>(dots, pieces[half], mixed_of(stage) + 32 * warp * kTileKeys, half,
                                  lse2, row, first_key);
          }
          if (kExtra == ScoreExtra::Dropout) {
            drop_half<Target>(pieces[half], args.dropout, map, row, first_key + 32 * half);
          }
#pragma unroll
          for (int b = 0; b < 2; ++b) {
            if (!rows[b].reach_key(first_key, extent.reach)) continue;
            rows[b].store(pieces[half][2 * b], pieces[half][2 * b + 1], tile, half);
          }
        }
        if (kDots) store_half_dots(dots, args.dots, map, row, extent.rows.end, tile);
        if (kExtra == ScoreExtra::Statistics) {
          store_piece_partials(pieces, args.statistics, map, row, extent.rows.end, tile);
        }
      });
}

template <class E, class Target, int kDim, ScoreExtra kExtra>
void launch_scores(const ScoresArgs& args, cudaStream_t stream) {
  constexpr int kBytes = scores_shared_bytes(kDim, kExtra == ScoreExtra::Dots);
  const Extent& extent = args.extent;
  const dim3 grid(static_cast<unsigned>(ceil_div(extent.last_key_tiles(), args.strip_tiles)),
                  static_cast<unsigned>(ceil_div(extent.rows.size(), kProductRows)),
                  static_cast<unsigned>(extent.maps));
  const auto kernel = scores_kernel<E, Target, kDim, kExtra>;
  allow_shared_bytes(kernel, kBytes);
  launch(kernel, grid, kScoreThreads, kBytes, stream, args);
}

}  // namespace mta::kernels
