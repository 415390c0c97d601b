// Maps in device memory, and what every stage does with a block of one: load with masks, store with
// dropout.
#pragma once

#include "lib/kernels/dropout.h"
#include "lib/kernels/launch.cuh"
#include "lib/kernels/matrix_unit.cuh"
#include "lib/kernels/stages.h"
#include "lib/kernels/tile_plan.h"

namespace mta::kernels {

constexpr float kLog2e = 1.44269504088896341f;
constexpr int kLoadThreads = 128;  // of the kernels that load tiles

/// More than 48 KB of shared memory, static memory included, is an opt-in of each kernel.
template <class Kernel>
void allow_shared_bytes(Kernel kernel, int bytes) {
  constexpr int kFree = 40 * 1024;  // leaves room for static memory
  if (bytes > kFree) {
    cudaFuncSetAttribute(kernel, cudaFuncAttributeMaxDynamicSharedMemorySize, bytes);
  }
}

/// A map's tiles.
__device__ inline Number* map_tiles(const MapView& view, int map) {
  return view.data + map * view.numbers;
}
/// Numbers of `tiles` tiles.
__device__ inline std::ptrdiff_t tile_numbers(int tiles) {
  return static_cast<std::ptrdiff_t>(tiles) * kMapTile;
}
/// The first tile of the block of 16 rows that `row` is in.
__device__ inline int row_tile(const MapView& view, int row) {
  return view.shape.first_tile(early_ring_slot(row / kMapRows, view.shape.blocks));
}

/// Blocks of 16 rows, the n-th from that of `first_row` >= -kMapRows on, without a division for
/// each.
struct MapBlocks {
  MapShape shape;
  int first;
  __device__ MapBlocks(const MapView& view, int first_row)
      : shape(view.shape), first(ring_slot((first_row >> 4) + shape.blocks, shape.blocks)) {
    static_assert(kMapRows == 1 << 4);
  }
  __device__ int first_tile(int n) const {
    const int block = first + n;
    return shape.first_tile(block < shape.blocks ? block : block - shape.blocks);
  }
  /// Do `count` blocks from the n-th on follow each other in steps of tiles_of(first + n)? Blocks
  /// of triangular maps do so that begin with a tile of 64 rows, or the block above one; but for
  /// the fifth, which is a tile further where the first begins a tile.
  __device__ bool has_steps(int n, int count) const {
    return first + n + count <= shape.blocks && (shape.growth == 0 || ((first + n + 1) & 2) == 0);
  }
};

__device__ inline const Number* tensor_row(const TensorView& x, int map, int heads, int token) {
  return static_cast<const Number*>(x.data) + map / heads * x.batch_stride +
         map % heads * x.head_stride + token * x.token_stride;
}

/// A head's tokens, [T, d].
struct HeadTokens {
  const Number* first;
  std::int64_t stride;
};
__device__ inline HeadTokens head_tokens(const TensorView& x, int map, int heads) {
  return {tensor_row(x, map, heads, 0), x.token_stride};
}

/// kTokens x kDim numbers into shared memory, rows of kDim + 8; zeros for tokens outside [0, end).
/// A thread keeps to one 16-byte column, so that whole tiles cost it one addition a copy.
template <int kDim, int kTokens = kTileRows>
__device__ void load_tokens(Number* target, const HeadTokens& x, int first, int end) {
  constexpr int kChunks = kDim / kChunk, kLines = kLoadThreads / kChunks;
  const int line = static_cast<int>(threadIdx.x) / kChunks,
            column = static_cast<int>(threadIdx.x) % kChunks * kChunk;
  if (line >= kLines) return;  // the last few threads have no column of their own
  target += line * (kDim + 8) + column;
  if (first >= 0 && first + kTokens <= end) {
    const Number* from = x.first + column + (first + line) * x.stride;
#pragma unroll
    for (int r = 0; r < kTokens; r += kLines) {
      if (r + kLines <= kTokens || r + line < kTokens) copy_async(target, from, true);
      target += kLines * (kDim + 8), from += kLines * x.stride;
    }
    return;
  }
#pragma unroll 1
  for (int r = line; r < kTokens; r += kLines) {
    const int wanted = first + r, token = max(min(wanted, end - 1), 0);
    copy_async(target, x.first + column + token * x.stride, token == wanted);
    target += kLines * (kDim + 8);
  }
}
/// The two numbers of a word, kept where the flag is set.
__device__ inline Word keep_pair(Word word, bool low, bool high) {
  return word & ((low ? 0xFFFFu : 0u) | (high ? 0xFFFF0000u : 0u));
}

/// Zeroes the numbers of an 8-key chunk from place `count` on.
__device__ inline uint4 keep_first(uint4 x, int count) {
  Word* words = &x.x;
#pragma unroll
  for (int n = 0; n < 4; ++n) {
    if (count <= 2 * n) words[n] = 0;
    if (count == 2 * n + 1) words[n] &= 0xFFFFu;
  }
  return x;
}

/// Two softmax weights in E. Every stage makes them this way, so that D = sum_j P dP and dM = P (dP
/// - D) use the same P and the rows of dM sum to zero as well as they can.
template <class E>
__device__ inline Word weight_pair(Word m, float lse2) {
  const float2 pair = unpack<Half>(m);
  return pack<E>(exp2_fast(fmaf(pair.x, kLog2e, -lse2)), exp2_fast(fmaf(pair.y, kLog2e, -lse2)));
}

/// exp(M - lse) of a chunk of eight; `lse2` is in base 2.
template <class E>
__device__ inline uint4 softmax_weights(uint4 m, float lse2) {
  Word* words = &m.x;
#pragma unroll
  for (int n = 0; n < 4; ++n) {
    words[n] = weight_pair<E>(words[n], lse2);
  }
  return m;
}

/// dM = P (dP - D) for two keys.
template <class E>
__device__ inline Word softmax_gradient_pair(Word m, Word d_p, float lse2, float dot) {
  const float2 p = unpack<E>(weight_pair<E>(m, lse2)), d = unpack<E>(d_p);
  return pack<E>(p.x * (d.x - dot), p.y * (d.y - dot));
}

template <class From, class To>
__device__ inline uint4 convert_chunk(uint4 x) {
  return {convert<From, To>(x.x), convert<From, To>(x.y), convert<From, To>(x.z),
          convert<From, To>(x.w)};
}

__device__ inline std::uint32_t dropout_stream(const DropoutArgs& dropout) {
  return dropout.stream + (dropout.step == nullptr ? 0u : *dropout.step);
}

/// Applies dropout to the eight weights of `key`..`key`+7.
template <class E>
__device__ inline uint4 drop(uint4 x, const DropoutArgs& dropout, int map, int row, int key) {
  const auto unsigned_of = [](int n) { return static_cast<std::uint32_t>(n); };
  const DropoutBlock block =
      dropout_block(dropout.seed, dropout_stream(dropout), unsigned_of(dropout.first_map + map),
                    unsigned_of(row), unsigned_of(key));
  Word* words = &x.x;
#pragma unroll
  for (int n = 0; n < 4; ++n) {
    const float2 pair = unpack<E>(words[n]);
    words[n] = pack<E>(pair.x * dropout_factor(block, 2 * n, dropout.threshold),
                       pair.y * dropout_factor(block, 2 * n + 1, dropout.threshold));
  }
  return x;
}

/// A warp's 16x64 block in accumulators of eight 8-key columns: element (row g or g+8, key 8t + 2q
/// or +1).
using Block = float[8][4];

/// Zeroes what lies past the diagonal (and `reach`) or past the last token.
template <int kColumns>
__device__ inline void mask_block(float (&block)[kColumns][4], int first_row, int first_key,
                                  int tokens, int reach) {
  const int end = first_key + 8 * kColumns;
  if (end - 1 <= first_row + reach && end <= tokens) return;
  const Lane lane = lane_place();
#pragma unroll
  for (int t = 0; t < kColumns; ++t) {
#pragma unroll
    for (int e = 0; e < 4; ++e) {
      const int row = first_row + lane.g + e / 2 * 8, key = first_key + 8 * t + 2 * lane.q + e % 2;
      if (!in_map(row, key, tokens, reach)) block[t][e] = 0;
    }
  }
}

/// Where a warp writes its 16 rows in 16-byte pieces: lane n takes piece n % 8 of rows n / 8 + 0,
/// 4, 8, 12. `first_row` is a multiple of 16: the rows are a block in memory.
struct StoreRows {
  static constexpr int kRows = kMapRows, kRowsAPass = kWarp / 8;
  Number* first;  // this lane's piece of its first row in the block's first tile
  int first_row, count;
  __device__ StoreRows(const MapView& view, int map, int first_row_, int end)
      : StoreRows(view, map, row_tile(view, first_row_), first_row_, end) {}
  /// The same where the block's first tile is known.
  __device__ StoreRows(const MapView& view, int map, int first_tile, int first_row_, int end)
      : first(map_tiles(view, map) + tile_numbers(first_tile) +
              static_cast<int>(threadIdx.x) % kWarp * kChunk),
        first_row(first_row_),
        count(min(kRows, end - first_row_)) {}
  __device__ static int line() { return static_cast<int>(threadIdx.x) % kWarp / 8; }
  __device__ static int column() { return static_cast<int>(threadIdx.x) % 8 * kChunk; }
  /// Does the last of the rows reach this key? Memory may have no such tile where none does.
  __device__ bool reach_key(int key, int reach) const { return key < first_row + kRows + reach; }
};

/// Applies dropout to this lane's pieces of a block in `stage`.
template <class E>
__device__ void drop_pieces(Number* stage, const StoreRows& rows, int map, int first_key,
                            const DropoutArgs& dropout) {
#pragma unroll 1
  for (int r = StoreRows::line(); r < StoreRows::kRows; r += StoreRows::kRowsAPass) {
    uint4* piece = reinterpret_cast<uint4*>(stage + r * kStagePitch + StoreRows::column());
    *piece = drop<E>(*piece, dropout, map, rows.first_row + r, first_key + StoreRows::column());
  }
}

/// Writes the 16 rows that a warp has in `stage` in 16-byte pieces; one of them reaches the keys.
template <class E>
__device__ void store_pieces(Number* stage, const StoreRows& rows, int map, int first_key,
                             const DropoutArgs& dropout) {
  __syncwarp();
  if (dropout.threshold > 0) drop_pieces<E>(stage, rows, map, first_key, dropout);
  const Number* piece = stage + StoreRows::line() * kStagePitch + StoreRows::column();
  Number* target = rows.first + tile_numbers(key_tile(first_key));
#pragma unroll
  for (int r = 0; r < StoreRows::kRows; r += StoreRows::kRowsAPass) {
    if (r + StoreRows::line() < rows.count) {
      *reinterpret_cast<uint4*>(target + r * kTileKeys) =
          *reinterpret_cast<const uint4*>(piece + r * kStagePitch);
    }
  }
}

/// Writes a block through `stage` (16 rows of kStagePitch numbers, this warp's own).
template <class E>
__device__ void store_block(const Block& block, Number* stage, const StoreRows& rows, int map,
                            int first_key, const DropoutArgs& dropout) {
  const Lane lane = lane_place();
  Word* words = reinterpret_cast<Word*>(stage);
  __syncwarp();
#pragma unroll
  for (int t = 0; t < 8; ++t) {
    words[lane.g * (kStagePitch / 2) + 4 * t + lane.q] = pack<E>(block[t][0], block[t][1]);
    words[(lane.g + 8) * (kStagePitch / 2) + 4 * t + lane.q] = pack<E>(block[t][2], block[t][3]);
  }
  store_pieces<E>(stage, rows, map, first_key, dropout);
}

}  // namespace mta::kernels
