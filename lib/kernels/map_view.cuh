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

__device__ inline Number* map_row(const MapView& view, int map, int row) {
  const auto line = static_cast<std::size_t>(map) * view.ring + ring_slot(row, view.ring);
  return view.data + line * view.pitch;
}

/// Slots of the rows first_row + r, 0 <= r < ring, without a division for each.
struct RowSlots {
  int first, ring;
  __device__ RowSlots(const MapView& view, int first_row)
      : RowSlots(ring_slot(first_row + view.ring, view.ring), view.ring) {}
  __device__ RowSlots(int first_slot, int ring_rows) : first(first_slot), ring(ring_rows) {}
  __device__ int operator()(int r) const { return first + r < ring ? first + r : first + r - ring; }
};

__device__ inline Number* map_lines(const MapView& view, int map) {
  return view.data + static_cast<std::size_t>(map) * view.ring * view.pitch;
}

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
/// The same by a loop that keeps nothing between its passes, for kernels that are short of
/// registers.
template <int kDim, int kTokens = kTileRows>
__device__ void load_tokens(Number* target, const TensorView& x, int map, int heads, int first,
                            int end) {
  constexpr int kChunks = kDim / kChunk;
  for (int n = threadIdx.x; n < kTokens * kChunks; n += blockDim.x) {
    const int row = n / kChunks, chunk = n % kChunks;
    const int wanted = first + row, token = max(min(wanted, end - 1), 0);
    copy_async(target + row * (kDim + 8) + chunk * kChunk,
               tensor_row(x, map, heads, token) + chunk * kChunk, token == wanted);
  }
}

/// A written map, read in 64x64 tiles from `first_row` >= 0 on. The block has kLoadThreads threads.
class WrittenMap {
 public:
  __device__ WrittenMap(const MapView& view, int map, int first_row, int end, int tokens, int reach)
      : lines_(map_lines(view, map) + column()),
        slots_(view, first_row),
        pitch_(view.pitch),
        first_row_(first_row),
        end_(end),
        tokens_(tokens),
        reach_(reach) {}

  /// Rows first_row + offset.. of a tile into rows of 72 numbers; zeros from row `end` on and past
  /// what a row has written. `offset` is at most the ring's length.
  __device__ void load(Number* target, int offset, int first_key) const {
    const int row = first_row_ + offset, slot = slots_(offset);
    const Number* source = lines_ + first_key;
    target += line() * kStagePitch + column();
    if (row + kTileRows <= end_ && slot + kTileRows <= slots_.ring &&
        first_key < written_keys(row, tokens_, reach_)) {
      source += static_cast<std::size_t>(slot + line()) * pitch_;
#pragma unroll
      for (int r = 0; r < kTileRows; r += kLines) {
        copy_async(target, source, true);
        target += kLines * kStagePitch, source += static_cast<std::ptrdiff_t>(kLines) * pitch_;
      }
      return;
    }
#pragma unroll 1
    for (int r = line(); r < kTileRows; r += kLines) {
      const bool valid = row + r < end_ && first_key < written_keys(row + r, tokens_, reach_);
      copy_async(target,
                 source + (valid ? static_cast<std::size_t>(slots_(offset + r)) * pitch_ : 0),
                 valid);
      target += kLines * kStagePitch;
    }
  }

 private:
  static constexpr int kChunks = kTileKeys / kChunk, kLines = kLoadThreads / kChunks;
  __device__ static int line() { return static_cast<int>(threadIdx.x) / kChunks; }
  __device__ static int column() { return static_cast<int>(threadIdx.x) % kChunks * kChunk; }

  const Number* lines_;
  RowSlots slots_;
  int pitch_, first_row_, end_, tokens_, reach_;
};

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

/// Walks tiles 0..tiles-1 with kStages of them in shared memory: load(tile) starts copies,
/// finish(tile) may change what this thread copied, use(tile) reads all of it. One barrier a tile:
/// a stage is loaded again only after the barrier that follows its last use.
template <int kStages, class Load, class Finish, class Use>
__device__ inline void for_each_streamed_tile(int tiles, Load&& load, Finish&& finish, Use&& use) {
#pragma unroll
  for (int tile = 0; tile < kStages - 1; ++tile) {
    if (tile < tiles) load(tile);
    commit_copies();
  }
  for (int tile = 0; tile < tiles; ++tile) {
    wait_for_copies<kStages - 2>();
    finish(tile);
    __syncthreads();
    if (tile + kStages - 1 < tiles) load(tile + kStages - 1);
    commit_copies();
    use(tile);
  }
}

/// After the copy of load_written_tile: turns this thread's pieces of M into causal softmax
/// weights.
template <class E>
__device__ inline void finish_softmax_tile(Number* tile, int first_row, int end, int first_key,
                                           const float* lse) {
  constexpr int kChunks = kTileKeys / kChunk;
  const int chunk = static_cast<int>(threadIdx.x) % kChunks,
            step = static_cast<int>(blockDim.x) / kChunks;
#pragma unroll 2
  for (int r = static_cast<int>(threadIdx.x) / kChunks; r < kTileRows; r += step) {
    const int row = first_row + r, causal = row + 1 - first_key - chunk * kChunk;
    if (row >= end) continue;
    uint4* piece = reinterpret_cast<uint4*>(tile + r * kStagePitch + chunk * kChunk);
    *piece = keep_first(softmax_weights<E>(*piece, lse[row] * kLog2e), causal);
  }
}

/// Where a warp writes its 16 rows in 16-byte pieces: lane n takes piece n % 8 of rows n / 8 + 0,
/// 4, 8, 12. `first_row` is a multiple of 16, and rings end at such rows, so that no warp's rows
/// wrap around.
struct StoreRows {
  static constexpr int kRows = 16, kRowsAPass = kWarp / 8;
  Number* first;  // this lane's piece of its first row, at key 0
  int pitch, first_row, count;
  __device__ StoreRows(const MapView& view, int map, int first_row_, int end)
      : first(map_row(view, map, first_row_) + static_cast<std::size_t>(line()) * view.pitch +
              column()),
        pitch(view.pitch),
        first_row(first_row_),
        count(min(kRows, end - first_row_)) {}
  __device__ static int line() { return static_cast<int>(threadIdx.x) % kWarp / 8; }
  __device__ static int column() { return static_cast<int>(threadIdx.x) % 8 * kChunk; }
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

/// Writes the 16 rows that a warp has in `stage` in 16-byte pieces.
template <class E>
__device__ void store_pieces(Number* stage, const StoreRows& rows, int map, int first_key,
                             const DropoutArgs& dropout) {
  __syncwarp();
  if (dropout.threshold > 0) drop_pieces<E>(stage, rows, map, first_key, dropout);
  const Number* piece = stage + StoreRows::line() * kStagePitch + StoreRows::column();
  Number* target = rows.first + first_key;
#pragma unroll
  for (int r = 0; r < StoreRows::kRows; r += StoreRows::kRowsAPass) {
    if (r + StoreRows::line() < rows.count) {
      *reinterpret_cast<uint4*>(target) = *reinterpret_cast<const uint4*>(piece + r * kStagePitch);
    }
    target += static_cast<std::ptrdiff_t>(StoreRows::kRowsAPass) * rows.pitch;
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
