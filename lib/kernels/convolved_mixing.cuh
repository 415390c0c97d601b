// Stage: a kq convolution and the head mixing that follows it, in one kernel, by tiles: before the
// softmax from S, after it from M. Forward where blocks cannot walk (convolved_mixing_walk.cuh).
//
// A block makes 32 rows x 64 keys of all heads of one mixing unit (16, or fewer). Shared memory has
// the input of every head with its halo:
//
//   1  each warp loads its heads, turns M into exp(M - lse) where that is wanted, convolves them on
//      the matrix unit and writes the result, 16-bit, over the input of the same head
//   2  one barrier
//   3  each warp mixes all heads of its rows, 64 keys at a time, straight to the target
//
// The words of a convolved row lie in an order (`convolved_place`) that lets step 1 store and step
// 3 write to memory 16 bytes at a time: a lane's outputs of the matrix unit are then neighbours.
#pragma once

#include "lib/kernels/convolved_tile.cuh"
#include "lib/kernels/head_mixing_points.cuh"

namespace mta::kernels {

/// Warps of a block: each has two heads to convolve and four rows to mix.
constexpr int kFusedWarps = 8;

/// Where a block stands; made anew for step 3 rather than kept in registers.
struct FusedPlace {
  MixingPlace unit;
  int first_map, first_row, end_row, first_key;
};
__device__ inline FusedPlace fused_place(const ConvolvedMixingArgs& args) {
  FusedPlace place = {};
  const int z = in_register(static_cast<int>(blockIdx.z)), units = args.plan.units;
  place.unit.batch = units == 1 ? z : z / units;  // divisions are long
  place.unit.unit = z - place.unit.batch * units;
  place.unit.heads = mixing_unit(args.plan, place.unit.unit, args.extent.heads);
  place.first_map = place.unit.batch * args.extent.heads + place.unit.heads.in_first;
  place.first_row = args.extent.rows.begin + in_register(static_cast<int>(blockIdx.y)) * kFusedRows;
  place.end_row = min(place.first_row + kFusedRows, args.extent.rows.end);
  place.first_key = in_register(static_cast<int>(blockIdx.x)) * kTileKeys;
  return place;
}

/// Row r of the block at its first key, from the maps' data on.
__device__ inline std::ptrdiff_t fused_row(const MapView& view, const FusedPlace& place, int map,
                                           int r) {
  const int row = place.first_row + r;
  return map * view.numbers + tile_numbers(row_tile(view, row) + key_tile(place.first_key)) +
         row_place(row);
}

/// Writes a row of a tile, of which `heads` are the unit's; `offset` is of this lane's head g, key
/// group q, from the maps' data on.
__device__ inline void store_points(const MapView& view, std::ptrdiff_t offset,
                                    const Points& points, int heads) {
  Number* row = view.data + offset;
  const int left = heads - lane_place().g;
  if (left > 0) {
    store_piece(row, points.chunk[0]);
    store_piece(row + 4 * kChunk, points.chunk[1]);
  }
  row += 8 * view.numbers;
  if (left > 8) {
    store_piece(row, points.chunk[2]);
    store_piece(row + 4 * kChunk, points.chunk[3]);
  }
}

/// Where a lane writes its outputs of rows: heads g and g+8, the tile's key groups q and q+4.
struct FusedStore {
  std::ptrdiff_t offset;  // of head g, key group q of the first row, from the maps' data on
  int heads;              // of the unit
  /// Of rows from row r of the block on, to a multiple of kMapRows.
  __device__ FusedStore(const MapView& view, const FusedPlace& place, int r)
      : offset(fused_row(view, place, place.first_map + lane_place().g, r) +
               lane_place().q * kChunk),
        heads(place.unit.heads.out_count) {}
  /// The n-th row.
  __device__ void operator()(const MapView& view, int n, const Points& points) const {
    store_points(view, offset + n * kTileKeys, points, heads);
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

/// Half of a tile's keys of a row, four groups, in output layout: heads g and g + 8, keys of group
/// q.
struct HalfPoints {
  uint4 head[2];
};

/// Half of the keys of W times the convolved heads; `corner`: of the first.
template <class E>
__device__ inline HalfPoints mix_half(const WeightBlock& w, const Number* corner) {
  HalfPoints out;
#pragma unroll
  for (int t = 0; t < 4; t += 2) {
    Word square[4];
    load_blocks_transposed(square, corner + t * kChunk);
#pragma unroll
    for (int n = 0; n < 2; ++n) {
      float mixed[4] = {};
      mma_k16<Half>(mixed, w.a[0], w.a[1], w.a[2], w.a[3], square[2 * n], square[2 * n + 1]);
#pragma unroll
      for (int half = 0; half < 2; ++half) {
        (&out.head[half].x)[t + n] = pack<E>(mixed[2 * half], mixed[2 * half + 1]);
      }
    }
  }
  return out;
}

/// The same of all keys of a tile.
template <class E>
__device__ inline Points mix_convolved(const WeightBlock& w, const Number* corner) {
  Points points;
#pragma unroll
  for (int half = 0; half < 2; ++half) {
    const HalfPoints keys = mix_half<E>(w, corner + half * kTileKeys / 2);
    points.chunk[half] = keys.head[0], points.chunk[2 + half] = keys.head[1];
  }
  return points;
}

/// The lane's ldmatrix address in row r of the convolved heads, which begin at row `first` of the
/// tiles.
template <int kBlocks>
__device__ inline const Number* convolved_corner(Number* shared, int head_numbers,
                                                 const ConvolvedMixingArgs& args, int first,
                                                 int r) {
  const int lane = static_cast<int>(threadIdx.x) % kWarp, head = lane % 16;
  return shared + (first + r) * kFusedPitch<kBlocks> + head * head_numbers +
         fused_lead(args.window.halo) + convolved_lead(head) + lane / 16 * kChunk;
}

/// Sixteen rows of a head, convolved, in place. `tile` and `target` are at the first row that they
/// read.
template <int kBlocks, bool kExact>
__device__ inline void convolve_rows_in_place(Number* tile, Number* target, const Word* bands,
                                              const ConvolvedMixingArgs& args,
                                              const FusedPlace& place, int first_row) {
  Block out = {};
  convolve_head<kBlocks, kExact>(out, tile, bands, args.query_span, args.window.slack, first_row,
                                 place.first_key - args.window.halo);
  const ConvolvedKeys keys[2] = {ConvolvedKeys(out), ConvolvedKeys(out + 4)};
  __syncwarp();  // all lanes have read the rows
  store_convolved<kFusedPitch<kBlocks>>(target, keys);
}

/// How a warp convolves the rows of a head: down the rows, where it can (convolved_rows.cuh); else
/// sixteen at a time, offset by offset, with keys up to the row written for exact causality.
enum class FusedRows { Streamed, Sixteen, Exact };

/// The row of a head's tile where its first convolved row is.
template <FusedRows kRows>
__device__ inline int first_convolved_row(int query_span) {
  return kRows == FusedRows::Streamed ? query_span - 1 : 0;
}

/// Convolves the rows of a head's tile in place, to `target` in its first row.
template <int kBlocks, FusedRows kRows>
__device__ inline void convolve_in_place(Number* tile, Number* target, const Word* bands,
                                         const ConvolvedMixingArgs& args, const FusedPlace& place) {
  if constexpr (kRows == FusedRows::Streamed) {
    const StreamedBands<kBlocks> in_registers(bands, args.query_span, args.window.slack);
    convolve_streamed<kBlocks>(tile, target, in_registers, args.query_span);
  } else {
#pragma unroll 1
    for (int m = 0; m < kFusedRows; m += 16) {  // rows above are not read again
      const int offset = m * kFusedPitch<kBlocks>;
      convolve_rows_in_place<kBlocks, kRows == FusedRows::Exact>(
          tile + offset, target + offset, bands, args, place, place.first_row + m);
    }
  }
}

/// Step 1: the unit's heads, convolved, in shared memory. A warp takes every eighth head; heads
/// that the unit does not have are zero.
template <int kBlocks, MapKind kKind, FusedRows kRows>
__device__ void convolve_unit(Number* shared, int head_numbers, const ConvolvedMixingArgs& args,
                              const FusedPlace& place) {
  constexpr int kHeads = kUnitHeads / kFusedWarps;
  const Extent& extent = args.extent;
  const int warp = static_cast<int>(threadIdx.x) / kWarp, halo_rows = args.query_span - 1,
            loaded_key = place.first_key - args.window.halo, heads = place.unit.heads.in_count,
            lead = fused_lead(args.window.halo);
  const HeadTile<kBlocks> stream(args.source, place.first_row - halo_rows, kFusedRows + halo_rows,
                                 extent.rows.end, loaded_key, extent.tokens, extent.reach);
#pragma unroll
  for (int n = 0; n < kHeads; ++n) {
    const int head = warp + n * kFusedWarps;
    stream.start(shared + head * head_numbers + lead,
                 map_tiles(args.source, place.first_map + (head < heads ? head : 0)), head < heads);
    commit_copies();
  }
#pragma unroll 1
  for (int n = 0; n < kHeads; ++n) {
    const int head = warp + n * kFusedWarps;
    Number* const tile = shared + head * head_numbers + lead;
    const int map = place.first_map + (head < heads ? head : 0);
    const RowNumbers lse2 =
        kKind == MapKind::SoftmaxWeights
            ? RowNumbers(args.lse + static_cast<std::size_t>(map) * extent.tokens,
                         place.first_row - round_up(halo_rows, kMapRows), extent.tokens, kLog2e)
            : RowNumbers();
    if (n + 1 < kHeads) {
      wait_for_copies<kHeads - 1>();
    } else {
      wait_for_copies<0>();
    }
    if (head >= heads) continue;
    if (kKind == MapKind::SoftmaxWeights) {
      stream.weigh(tile, lse2);
    } else {
      stream.mask(tile);
    }
    __syncwarp();
    const Word* const bands =
        args.tables + (place.unit.heads.in_first + head) * args.query_span * table_words(kBlocks);
    convolve_in_place<kBlocks, kRows>(tile, tile + convolved_lead(head), bands, args, place);
  }
}

/// Dropout on A of one row, in output layout: one piece after the other, as the random numbers take
/// many registers.
template <class E>
__device__ inline void drop_row(Points& points, const DropoutArgs& dropout, const MixingPlace& unit,
                                int heads, int row, int first_key) {
  DropoutArgs own = dropout;
  auto low = static_cast<Word>(own.seed), high = static_cast<Word>(own.seed >> 32);
  asm volatile("" : "+r"(low), "+r"(high));  // keeps the generator's ten keys out of registers
  own.seed = static_cast<std::uint64_t>(high) << 32 | low;
#pragma unroll
  for (int n = 0; n < 4; ++n) {
    const int lane = own_lane(), key = first_key + 8 * (lane % 4) + n % 2 * 32,
              map = unit.batch * heads + unit.heads.out_first + lane / 4 + n / 2 * 8;
    points.chunk[n] = drop<E>(points.chunk[n], own, map, row, key);
  }
}

/// Step 3: M or A of this warp's rows. The other warps' heads must have been written.
template <int kBlocks, MapKind kKind, class E, FusedRows kRows>
__device__ void mix_rows(Number* shared, int head_numbers, const ConvolvedMixingArgs& args,
                         const FusedPlace& place) {
  const int heads = args.extent.heads;
  const WeightBlock w = load_weights(args.weights + place.unit.unit * kMixingBlock);
  constexpr int kRowsEach = kFusedRows / kFusedWarps;
  const int first_row = static_cast<int>(threadIdx.x) / kWarp * kRowsEach,
            above = first_convolved_row<kRows>(args.query_span);
  const FusedStore store(args.target, place, first_row);
#pragma unroll 1
  for (int n = 0; n < kRowsEach; ++n) {
    const int r = first_row + n, row = place.first_row + r;
    if (row >= place.end_row) break;
    const Number* corner = convolved_corner<kBlocks>(shared, head_numbers, args, above, r);
    if (args.convolved.data != nullptr) {
      Points convolved = convolved_points(corner);
      keep_causal_outputs(convolved, row, place.first_key);
      store(args.convolved, n, convolved);
    }
    Points out = mix_convolved<E>(w, corner);
    keep_causal_outputs(out, row, place.first_key);
    if (kKind == MapKind::SoftmaxWeights && args.dropout.threshold > 0)
      drop_row<E>(out, args.dropout, place.unit, heads, row, place.first_key);
    store(args.target, n, out);
    if (kKind == MapKind::Scores && args.statistics.partials != nullptr) {
      store_mixed_partials(out, args.statistics, place.unit, heads, row, place.first_key);
    }
  }
}

/// Blocks a multiprocessor that registers must leave room for: windows of 3 blocks are fused from
/// compute capability 9.0 on only.
template <int kBlocks>
constexpr int kFusedForwardBlocks =
#if defined(__CUDA_ARCH__) && __CUDA_ARCH__ < 900
    kBlocks > 2 ? 1 : kFusedBlocks;
#else
    kFusedBlocks;
#endif

/// M = W conv(S) with its row statistics, or A = dropout(W conv(exp(M - lse))). Grid: (key tiles,
/// row tiles of 32, batch x units).
template <int kBlocks, MapKind kKind, class E, FusedRows kRows>
__global__ void __launch_bounds__(kFusedWarps* kWarp, kFusedForwardBlocks<kBlocks>)
    convolved_mixing_kernel(const ConvolvedMixingArgs args) {
  wait_for_previous_kernel();
  Number* const shared = dynamic_shared<Number>();
  const int head_numbers = fused_head_numbers(kBlocks, args.query_span);
  const FusedPlace place = fused_place(args);
  if (place.first_key >= written_keys(place.end_row - 1, args.extent.tokens, 0)) return;
  convolve_unit<kBlocks, kKind, kRows>(shared, head_numbers, args, place);
  __syncthreads();
  mix_rows<kBlocks, kKind, E, kRows>(shared, head_numbers, args, fused_place(args));
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
  launch(kernel, fused_grid(args), kFusedWarps * kWarp, bytes, stream, args);
}

template <int kBlocks, MapKind kKind, class E, FusedRows kRows>
void launch_fused_forward(const ConvolvedMixingArgs& args, cudaStream_t stream) {
  launch_fused<kBlocks>(convolved_mixing_kernel<kBlocks, kKind, E, kRows>, args, stream);
}

}  // namespace mta::kernels
