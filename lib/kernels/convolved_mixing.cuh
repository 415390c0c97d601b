// Stage: a kq convolution and the head mixing that follows it, forward, in one kernel: before the
// softmax from S, after it from M.
//
// A block makes 32 rows x 64 keys of all heads of one mixing unit (16, or fewer). Shared memory has
// the input of every head with its halo:
//
//   1  each warp loads its heads, turns M into exp(M - lse) where that is wanted, convolves them on
//      the matrix unit and writes the result, 16-bit, over the input of the same head
//   2  one barrier
//   3  each warp mixes all heads of its rows, 64 keys at a time, straight to the target
//
// The words of a convolved row lie in an order (`Words` below) that lets step 1 store and step 3
// write to memory 16 bytes at a time: a lane's outputs of the matrix unit are then neighbours.
#pragma once

#include "lib/kernels/head_mixing_points.cuh"
#include "lib/kernels/toeplitz.cuh"

namespace mta::kernels {

constexpr int kFusedWarps = 8;
constexpr int kFusedThreads = kFusedWarps * kWarp;
constexpr int kRowsAWarp = kFusedRows / kFusedWarps;

/// A number of each row of a tile with its halo, two in a lane.
class RowNumbers {
 public:
  static constexpr int kRows = kFusedRows + kMaxQuerySpan - 1;

  __device__ RowNumbers() {}
  /// factor * source[first_row + r], where there is such a row.
  __device__ RowNumbers(const float* source, int first_row, int tokens, float factor) {
    const int row = first_row + static_cast<int>(threadIdx.x) % kWarp;
    low_ = source[max(min(row, tokens - 1), 0)] * factor;
    high_ = source[max(min(row + kWarp, tokens - 1), 0)] * factor;
  }
  /// Row r's, which is among the kCount from `first` on; all lanes call together.
  template <int kCount>
  __device__ float of(int r, int first) const {
    const float low = first < kWarp ? __shfl_sync(0xFFFFFFFFu, low_, r % kWarp) : 0,
                high = first + kCount > kWarp ? __shfl_sync(0xFFFFFFFFu, high_, r % kWarp) : 0;
    return r < kWarp ? low : high;
  }

 private:
  float low_ = 0, high_ = 0;
};

/// Copies one head's tile with its halo, and finishes what it copied: a lane keeps to one 16-byte
/// column and takes every kStep-th row of it.
template <int kBlocks>
class HeadTile {
  using Shape = TileShape<kBlocks>;
  static constexpr int kStep = kWarp / Shape::kChunks;

 public:
  /// Rows first_row + 0..rows-1, keys from `first_key` on; those from `end_row` on, and all of them
  /// where there is no such head, are zero.
  __device__ HeadTile(const MapView& view, int first_row, int rows, int end_row, int first_key,
                      int tokens, int reach)
      : pitch_(view.pitch),
        ring_(view.ring),
        rows_(rows),
        reach_(reach),
        tokens_(tokens),
        end_row_(end_row) {
    const int lane = static_cast<int>(threadIdx.x) % kWarp;
    column_ = lane % Shape::kChunks * kChunk;
    line_ = lane / Shape::kChunks < kStep ? lane / Shape::kChunks : rows;
    key_ = first_key + column_;
    first_row_ = first_row;
    // Row r is inside where begin_ <= r < begin_ + count_: not above the map, and not so high that
    // the diagonal has not come to this column.
    begin_ = max(key_ - reach, 0) - first_row;
    const bool outside = key_ < 0 || key_ >= tokens;
    count_ = outside ? 0 : max(end_row - first_row - begin_, 0);
    const int slot = ring_slot(first_row + view.ring, view.ring);
    wrap_ = view.ring - slot;  // rows from this one on are at the ring's beginning
    offset_ = static_cast<std::ptrdiff_t>(slot + line_) * view.pitch + (outside ? 0 : key_);
  }

  /// `map` as in map_lines. Pieces outside the map (and past `reach`) become zeros.
  __device__ void start(Number* tile, const Number* map, bool is_head) const {
    const Number* source = map + offset_;
    Number* target = tile + line_ * Shape::kPitch + column_;
    const unsigned count = is_head ? static_cast<unsigned>(count_) : 0u;
    int r = line_;
#pragma unroll 1
    for (int part = 0; part < 2; ++part) {
      const int end = part == 0 ? min(wrap_, rows_) : rows_;
#pragma unroll 4
      for (; r < end; r += kStep) {
        copy_async(target, source, static_cast<unsigned>(r - begin_) < count);
        source += kStep * static_cast<std::ptrdiff_t>(pitch_);
        target += kStep * Shape::kPitch;
      }
      source -= static_cast<std::ptrdiff_t>(ring_) * pitch_;
    }
  }

  /// Are there pieces that are partly outside?
  __device__ bool crosses_edge(int first_key) const {
    const int end = first_key + Shape::kColumns;
    return end > first_row_ + reach_ + 1 || end > tokens_;
  }

  /// After the copy: exp(M - lse) of what this lane copied, zero outside the map. All lanes call
  /// together.
  __device__ void weigh(Number* tile, int first_key, const RowNumbers& lse2) const {
    if (!is_whole(first_key)) {
      finish_edge(tile, [&](uint4 chunk, int r) {
        return softmax_weights<Half>(chunk, lse2.of<RowNumbers::kRows>(r, 0));
      });
      return;
    }
    Number* target = tile + line_ * Shape::kPitch + column_;
#pragma unroll
    for (int first = 0; first < RowNumbers::kRows; first += kStep) {
      if (first >= rows_) break;
      const float own = lse2.of<kStep>(line_ + first, first);
      uint4* piece = reinterpret_cast<uint4*>(target + first * Shape::kPitch);
      if (line_ + first < rows_) *piece = softmax_weights<Half>(*piece, own);
    }
  }
  /// The same for M as it is.
  __device__ void mask(Number* tile, int first_key) const {
    if (crosses_edge(first_key)) finish_edge(tile, [](uint4 chunk, int) { return chunk; });
  }

 private:
  /// `transform(chunk, row of the tile)` of what this lane copied, zero outside the map.
  template <class Transform>
  __device__ void finish_edge(Number* tile, Transform&& transform) const {
#pragma unroll 1
    for (int first = 0; first < rows_; first += kStep) {
      const int r = line_ + first;
      uint4* piece = reinterpret_cast<uint4*>(tile + min(r, rows_ - 1) * Shape::kPitch + column_);
      const uint4 chunk = transform(*piece, r);
      if (r >= rows_ || static_cast<unsigned>(r - begin_) >= static_cast<unsigned>(count_))
        continue;
      *piece = keep_first(chunk, min(tokens_, first_row_ + r + reach_ + 1) - key_);
    }
  }
  /// Are all pieces inside?
  __device__ bool is_whole(int first_key) const {
    return first_row_ >= 0 && first_row_ + rows_ <= end_row_ && first_key >= 0 &&
           !crosses_edge(first_key);
  }

  int pitch_, ring_, rows_, reach_, tokens_, end_row_;
  int column_, line_, key_, first_row_;
  int begin_, count_, wrap_;
  std::ptrdiff_t offset_;
};

/// Adds what one query offset gives to sixteen rows. `past`: by how much key first_key + 2q is past
/// the lane's first output row, where keys past the output row are to be dropped.
template <int kBlocks, bool kKeysUpToOutput>
__device__ inline void add_offset(Block& out, const Number* corner, const Word (&band)[kBlocks],
                                  int past) {
  using Shape = TileShape<kBlocks>;
  Word x[Shape::kChunks + Shape::kChunks % 2][2];
  load_row_blocks<Shape::kChunks, Shape::kPitch>(x, corner);
  if constexpr (kKeysUpToOutput) {
    past = in_register(past);
#pragma unroll
    for (int b = 0; b < Shape::kChunks; ++b) {
#pragma unroll
      for (int half = 0; half < 2; ++half) {
        const int by = past + 8 * b - 8 * half;
        x[b][half] = keep_pair(x[b][half], by <= 0, by < 0);
      }
    }
  }
#pragma unroll
  for (int t = 0; t < 8; ++t) multiply_band<Half, kBlocks>(out[t], x, t, band);
}

/// Sixteen rows of a head, whose first input row is `tile`'s first. `bands` are the head's tables,
/// in memory: the next offset's are on their way while one is used.
template <int kBlocks, bool kKeysUpToOutput>
__device__ inline void convolve_head(Block& out, const Number* tile, const Word* bands,
                                     int query_span, int slack, int first_row, int first_key) {
  using Shape = TileShape<kBlocks>;
  const Lane lane = lane_place();
  const Number* corner = tile + square_offset(Shape::kPitch);
  const int past = first_key + 2 * lane.q - (first_row + lane.g);
  Word band[kBlocks];
  load_band<kBlocks>(band, bands, slack);
#pragma unroll 1
  for (int left = query_span - 1; left > 0; --left, corner += Shape::kPitch) {
    Word next[kBlocks];
    bands += table_words(kBlocks);
    load_band<kBlocks>(next, bands, slack);
    add_offset<kBlocks, kKeysUpToOutput>(out, corner, band, past);
#pragma unroll
    for (int b = 0; b < kBlocks; ++b) band[b] = next[b];
  }
  add_offset<kBlocks, kKeysUpToOutput>(out, corner, band, past);
}

/// A convolved row in shared memory. Words n (keys 2n and 2n+1 of the tile) lie as
///
///   place   0  1  2  3 | 4  5  6  7 | ...          word 16 h + 4 i + q at place 16 h + 4 q + i
///   word    0  4  8 12 | 1  5  9 13 | ...
///
/// so that the four words that a lane of a convolution has of a row in four neighbouring blocks
/// (4t + q) are one 16-byte piece, and so are those of a mixing (4q + t). Odd rows start one piece
/// later: the two rows that eight lanes write at a time then use different banks.
template <int kPitch>
struct Words {
  __device__ static Number* row(Number* tile, int r) { return tile + r * kPitch + r % 2 * kChunk; }
};

/// Writes sixteen rows, rounded to fp16, over the first ones that they were made from.
template <int kPitch>
__device__ inline void store_convolved(Number* tile, const Block& out) {
  const Lane lane = lane_place();
  Number* row = Words<kPitch>::row(tile, lane.g) + lane.q * kChunk;
#pragma unroll
  for (int half = 0; half < 2; ++half) {
#pragma unroll
    for (int h = 0; h < 2; ++h) {
      const auto word = [&](int t) {
        return pack<Half>(out[4 * h + t][2 * half], out[4 * h + t][2 * half + 1]);
      };
      *reinterpret_cast<uint4*>(row + 8 * half * kPitch + 32 * h) = {word(0), word(1), word(2),
                                                                     word(3)};
    }
  }
}

/// Where a block stands.
struct FusedPlace {
  MixingPlace unit;
  int first_map, first_row, end_row, first_key;
};
__device__ inline FusedPlace fused_place(const ConvolvedMixingArgs& args, int tile) {
  FusedPlace place = {};
  place.unit.batch = static_cast<int>(blockIdx.z) / args.plan.units;
  place.unit.unit = static_cast<int>(blockIdx.z) % args.plan.units;
  place.unit.heads = mixing_unit(args.plan, place.unit.unit, args.extent.heads);
  place.first_map = place.unit.batch * args.extent.heads + place.unit.heads.in_first;
  place.first_row = args.extent.rows.begin + static_cast<int>(blockIdx.y) * kFusedRows;
  place.end_row = min(place.first_row + kFusedRows, args.extent.rows.end);
  place.first_key = tile * kTileKeys;
  return place;
}

/// Numbers from one map to the next.
__device__ inline std::ptrdiff_t map_stride(const MapView& view) {
  return static_cast<std::ptrdiff_t>(view.ring) * view.pitch;
}

/// Where a lane writes its outputs of a row: heads g and g+8, the tile's key groups q and q+4.
struct FusedStore {
  std::ptrdiff_t offset;  // of head g, key group q, from the map's data on
  int heads;              // of the unit, from head g on
  __device__ FusedStore(const MapView& view, const FusedPlace& place)
      : offset((place.first_map + lane_place().g) * map_stride(view) + place.first_key +
               lane_place().q * kChunk),
        heads(place.unit.heads.out_count - lane_place().g) {}
  __device__ void operator()(const MapView& view, int slot, const Points& points) const {
    Number* row = view.data + offset + static_cast<std::ptrdiff_t>(slot) * view.pitch;
    if (heads > 0) {
      *reinterpret_cast<uint4*>(row) = points.chunk[0];
      *reinterpret_cast<uint4*>(row + 4 * kChunk) = points.chunk[1];
    }
    row += 8 * map_stride(view);
    if (heads > 8) {
      *reinterpret_cast<uint4*>(row) = points.chunk[2];
      *reinterpret_cast<uint4*>(row + 4 * kChunk) = points.chunk[3];
    }
  }
};

/// The convolved heads of one row, as they are, in output layout. `corner` is the lane's ldmatrix
/// address: head lane % 16, the second of two blocks for the upper lanes.
__device__ inline Points convolved_points(const Number* corner) {
  Points points;
#pragma unroll
  for (int t = 0; t < 8; t += 2) {
    Word square[4];
    load_blocks(square, corner + t * kChunk);
    Word* const low = &points.chunk[t / 4].x + t % 4;
    Word* const high = &points.chunk[2 + t / 4].x + t % 4;
    low[0] = square[0], high[0] = square[1], low[1] = square[2], high[1] = square[3];
  }
  return points;
}

/// W times the convolved heads of one row, in output layout.
template <class E>
__device__ inline Points mix_convolved(const WeightBlock& w, const Number* corner) {
  Points points;
#pragma unroll
  for (int t = 0; t < 8; t += 2) {
    Word square[4];
    load_blocks_transposed(square, corner + t * kChunk);
#pragma unroll
    for (int n = 0; n < 2; ++n) {
      float mixed[4] = {};
      mma_k16<Half>(mixed, w.a[0], w.a[1], w.a[2], w.a[3], square[2 * n], square[2 * n + 1]);
      (&points.chunk[t / 4].x)[t % 4 + n] = pack<E>(mixed[0], mixed[1]);
      (&points.chunk[2 + t / 4].x)[t % 4 + n] = pack<E>(mixed[2], mixed[3]);
    }
  }
  return points;
}

/// The lane's ldmatrix address in row r of the convolved heads.
template <int kBlocks>
__device__ inline const Number* convolved_corner(Number* shared, int head_numbers, int r) {
  const int lane = static_cast<int>(threadIdx.x) % kWarp;
  return Words<TileShape<kBlocks>::kPitch>::row(shared, r) + lane % 16 * head_numbers +
         lane / 16 * kChunk;
}

/// Step 1: the unit's heads, convolved, in shared memory. A warp takes every eighth head; heads
/// that the unit does not have are zero.
template <int kBlocks, MapKind kKind>
__device__ void convolve_unit(Number* shared, int head_numbers, const ConvolvedMixingArgs& args,
                              const FusedPlace& place) {
  using Shape = TileShape<kBlocks>;
  constexpr int kHeads = kUnitHeads / kFusedWarps;
  const Extent& extent = args.extent;
  const int warp = static_cast<int>(threadIdx.x) / kWarp, halo_rows = args.query_span - 1,
            loaded_key = place.first_key - args.window.halo, heads = place.unit.heads.in_count;
  const HeadTile<kBlocks> stream(args.source, place.first_row - halo_rows, kFusedRows + halo_rows,
                                 extent.rows.end, loaded_key, extent.tokens, extent.reach);
#pragma unroll
  for (int n = 0; n < kHeads; ++n) {
    const int head = warp + n * kFusedWarps;
    stream.start(shared + head * head_numbers,
                 map_lines(args.source, place.first_map + (head < heads ? head : 0)), head < heads);
    commit_copies();
  }
  const bool near_diagonal = place.first_key + kTileKeys + 8 * kBlocks > place.first_row;
#pragma unroll 1
  for (int n = 0; n < kHeads; ++n) {
    const int head = warp + n * kFusedWarps;
    Number* const tile = shared + head * head_numbers;
    const int map = place.first_map + (head < heads ? head : 0);
    const RowNumbers lse2 =
        kKind == MapKind::SoftmaxWeights
            ? RowNumbers(args.lse + static_cast<std::size_t>(map) * extent.tokens,
                         place.first_row - halo_rows, extent.tokens, kLog2e)
            : RowNumbers();
    if (n + 1 < kHeads) {
      wait_for_copies<kHeads - 1>();
    } else {
      wait_for_copies<0>();
    }
    if (head >= heads) continue;
    if (kKind == MapKind::SoftmaxWeights) {
      stream.weigh(tile, loaded_key, lse2);
    } else {
      stream.mask(tile, loaded_key);
    }
    __syncwarp();
    const Word* bands = args.tables + static_cast<std::size_t>(place.unit.heads.in_first + head) *
                                          args.query_span * table_words(kBlocks);
#pragma unroll 1
    for (int m = 0; m < kFusedRows; m += 16) {  // rows above are not read again
      Block out = {};
      Number* const rows = tile + m * Shape::kPitch;
      if (extent.reach > 0 && near_diagonal) {
        convolve_head<kBlocks, true>(out, rows, bands, args.query_span, args.window.slack,
                                     place.first_row + m, loaded_key);
      } else {
        convolve_head<kBlocks, false>(out, rows, bands, args.query_span, args.window.slack,
                                      place.first_row + m, loaded_key);
      }
      mask_block(out, place.first_row + m, place.first_key, extent.tokens, 0);
      __syncwarp();  // all lanes have read the rows
      store_convolved<Shape::kPitch>(rows, out);
    }
  }
}

/// Dropout on A of one row, in output layout.
template <class E>
__device__ inline void drop_outputs(Points& points, const DropoutArgs& dropout,
                                    const FusedPlace& place, int heads, int row) {
  DropoutArgs own = dropout;
  auto low = static_cast<Word>(own.seed), high = static_cast<Word>(own.seed >> 32);
  asm volatile("" : "+r"(low), "+r"(high));  // keeps the generator's ten keys out of registers
  own.seed = static_cast<std::uint64_t>(high) << 32 | low;
#pragma unroll
  for (int n = 0; n < 4; ++n) {
    const int key = place.first_key + 8 * lane_place().q + n % 2 * 32;
    points.chunk[n] = drop<E>(points.chunk[n], own, output_map(place.unit, heads, n / 2), row, key);
  }
}

/// Step 3: M or A of this warp's rows. The other warps' heads must have been written.
template <int kBlocks, MapKind kKind, class E>
__device__ void mix_rows(Number* shared, int head_numbers, const ConvolvedMixingArgs& args,
                         const FusedPlace& place) {
  const int heads = args.extent.heads;
  const WeightBlock w = load_weights(args.weights + place.unit.unit * kMixingBlock);
  const FusedStore store(args.target, place);
  const RowSlots slots(args.target, place.first_row);
#pragma unroll 1
  for (int n = 0; n < kRowsAWarp; ++n) {
    const int r = static_cast<int>(threadIdx.x) / kWarp * kRowsAWarp + n, row = place.first_row + r;
    if (row >= place.end_row) break;
    const Number* corner = convolved_corner<kBlocks>(shared, head_numbers, r);
    if (args.convolved.data != nullptr) {
      store(args.convolved, slots(r), convolved_points(corner));
    }
    Points out = mix_convolved<E>(w, corner);
    if (kKind == MapKind::SoftmaxWeights && args.dropout.threshold > 0)
      drop_outputs<E>(out, args.dropout, place, heads, row);
    store(args.target, slots(r), out);
    if (kKind == MapKind::Scores && args.statistics.partials != nullptr) {
      store_mixed_partials(out, args.statistics, place.unit, heads, row, place.first_key);
    }
  }
}

/// M = W conv(S) with its row statistics, or A = dropout(W conv(exp(M - lse))). Grid: (key tiles,
/// row tiles of 32, batch x units).
template <int kBlocks, MapKind kKind, class E>
__global__ void __launch_bounds__(kFusedThreads, kFusedBlocks)
    convolved_mixing_kernel(const ConvolvedMixingArgs args) {
  wait_for_previous_kernel();
  Number* const shared = dynamic_shared<Number>();
  const FusedPlace place = fused_place(args, static_cast<int>(blockIdx.x));
  if (place.first_key >= written_keys(place.end_row - 1, args.extent.tokens, 0)) return;
  const int head_numbers = fused_head_numbers(kBlocks, args.query_span);
  convolve_unit<kBlocks, kKind>(shared, head_numbers, args, place);
  __syncthreads();
  mix_rows<kBlocks, kKind, E>(shared, head_numbers, args, place);
}

inline dim3 fused_grid(const ConvolvedMixingArgs& args) {
  const Extent& extent = args.extent;
  return dim3(static_cast<unsigned>(key_tiles(extent.rows.end - 1, extent.tokens, 0)),
              static_cast<unsigned>(ceil_div(extent.rows.size(), kFusedRows)),
              static_cast<unsigned>(extent.maps / extent.heads * args.plan.units));
}

template <int kBlocks>
void launch_fused(void (*kernel)(ConvolvedMixingArgs), const ConvolvedMixingArgs& args,
                  cudaStream_t stream) {
  const int bytes = fused_shared_bytes(kBlocks, args.query_span);
  allow_shared_bytes(kernel, bytes);
  launch(kernel, fused_grid(args), kFusedThreads, bytes, stream, args);
}

template <int kBlocks>
void ConvolvedMixingKernels<kBlocks>::before(const ConvolvedMixingArgs& args, cudaStream_t stream) {
  launch_fused<kBlocks>(convolved_mixing_kernel<kBlocks, MapKind::Scores, Half>, args, stream);
}
template <int kBlocks>
void ConvolvedMixingKernels<kBlocks>::after(const ConvolvedMixingArgs& args, ElementType type,
                                            cudaStream_t stream) {
  if (type == ElementType::BFloat16) {
    launch_fused<kBlocks>(convolved_mixing_kernel<kBlocks, MapKind::SoftmaxWeights, Brain>, args,
                          stream);
  } else {
    launch_fused<kBlocks>(convolved_mixing_kernel<kBlocks, MapKind::SoftmaxWeights, Half>, args,
                          stream);
  }
}

}  // namespace mta::kernels
