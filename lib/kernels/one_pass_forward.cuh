// The whole forward in one kernel, where a kq convolution before the softmax is all that stands
// between scores and weights: no map in device memory, and time for two products and little more.
//
// A block makes the outputs of 64 query rows. It walks the keys in tiles of 64 with a running
// softmax, as FlashAttention-2 does (Dao 2023), and convolves between the two products:
//
//   tile t of S, 64 + c_q-1 rows:
//     keys   64t - halo             64t - halo + front                64t - halo + front + 64
//            |<- made for tile t-1 ->|<----------- new ----------------->|
//   outputs, 64 rows:  keys 64t .. 64t+63, whose windows all lie in the tile
//
//   1. S of the new keys into shared memory, in fp16; its last `front` columns also to the place
//      where tile t+1 starts.
//   2. C = W * S on the matrix unit, as in the chain (toeplitz.cuh).
//   3. Mask, running maximum and sum; the weights stay in registers, as fragments for P V. Dropout
//      takes them after the sum.
#pragma once

#include "lib/kernels/kept_weights.cuh"
#include "lib/kernels/kq_convolution.cuh"
#include "lib/kernels/one_pass_tile.cuh"
#include "lib/kernels/weighted_sum.cuh"

namespace mta::kernels {

/// 16 rows of X from `rows` on, as A fragments.
template <int kDim>
__device__ void load_fragments(Word (&x)[kDim / 16][4], const Number* rows) {
  const Number* corner = rows + square_offset(kDim + 8);
#pragma unroll
  for (int k = 0; k < kDim / 16; ++k) load_blocks(x[k], corner + 16 * k);
}

/// This warp's slice of 64 rows of X.
template <int kDim>
__device__ void load_rows_as_fragments(Word (&x)[kDim / 16][4], const Number* tile) {
  const int warp = static_cast<int>(threadIdx.x) / kWarp;
  load_fragments<kDim>(x, tile + warp * 16 * (kDim + 8));
}

/// block = X Y^T for this warp's 16 rows and 64 keys.
template <class E, int kDim>
__device__ void multiply_rows(Block& block, const Word (&x)[kDim / 16][4], const Number* keys) {
  const Number* corner = keys + square_offset_by_row(kDim + 8);
#pragma unroll
  for (int t = 0; t < 8; ++t) {
#pragma unroll
    for (int e = 0; e < 4; ++e) block[t][e] = 0;
  }
#pragma unroll
  for (int k = 0; k < kDim / 16; ++k) {
#pragma unroll
    for (int pair = 0; pair < 4; ++pair) {
      Word y[4];
      load_blocks(y, corner + pair * 16 * (kDim + 8) + 16 * k);
      mma_k16<E>(block[2 * pair], x[k][0], x[k][1], x[k][2], x[k][3], y[0], y[1]);
      mma_k16<E>(block[2 * pair + 1], x[k][0], x[k][1], x[k][2], x[k][3], y[2], y[3]);
    }
  }
}

constexpr int kOnePassThreads = 128;  // four warps of 16 rows

/// Columns of a tile that the tile before has made.
MTA_HOST_DEVICE constexpr int front_columns(int blocks) { return kChunk * (blocks - 1); }

/// Where the pieces of shared memory start, in numbers.
template <int kDim, int kBlocks>
struct OnePassShared {
  static constexpr int kPitch = TileShape<kBlocks>::kPitch;
  static constexpr int kKeys = 0;
  static constexpr int kValues = kKeys + token_numbers(kDim);
  static constexpr int kScores = kValues + token_numbers(kDim);
  static constexpr int kTile = kOnePassRows * kPitch;  // two of them
  static constexpr int kHaloQueries = kScores + 2 * kTile;
  static constexpr int kTable = kHaloQueries + 16 * (kDim + 8);
  static_assert(2 * kTile >= token_numbers(kDim), "the queries start where the scores will be");
};

/// Where a block works.
struct OnePassPlace {
  int first_score_row;  // c_q-1 above the first output
  int reach;
};

/// Writes 16 lines of scores of the tile from line s on, columns n.. of the new keys, the first of
/// which is `key`; zero past the diagonal.
template <int kBlocks, int kColumns>
__device__ void store_scores(const float (&scores)[kColumns][4], Number* tile, Number* next_tile,
                             int s, int n, int key, const OnePassPlace& place, float scale) {
  constexpr int kPitch = TileShape<kBlocks>::kPitch, kFront = front_columns(kBlocks);
  const Lane lane = lane_place();
  Word words[kColumns][2];
#pragma unroll
  for (int t = 0; t < kColumns; ++t) {
#pragma unroll
    for (int half = 0; half < 2; ++half) {
      words[t][half] = pack<Half>(scale * scores[t][2 * half], scale * scores[t][2 * half + 1]);
    }
  }
  mask_words<0>(words, place.first_score_row + s + place.reach - (key + n));
  Number* numbers = tile + (s + lane.g) * kPitch + kFront + n + 2 * lane.q;
#pragma unroll
  for (int t = 0; t < kColumns; ++t) {
    // The last ones also to where the next tile starts.
    const bool is_last = n + kChunk * t >= kTileKeys - kFront;
#pragma unroll
    for (int half = 0; half < 2; ++half) {
      Number* number = numbers + 8 * half * kPitch + kChunk * t;
      *reinterpret_cast<Word*>(number) = words[t][half];
      if (is_last) {
        *reinterpret_cast<Word*>(number + (next_tile - tile) - kTileKeys) = words[t][half];
      }
    }
  }
}

/// scores = x y^T for 16 rows of x, as fragments, and 16 keys.
template <class E, int kDim>
__device__ void multiply_pair(float (&scores)[2][4], const Word (&x)[kDim / 16][4],
                              const Number* keys) {
  const Number* corner = keys + square_offset_by_row(kDim + 8);
#pragma unroll
  for (int k = 0; k < kDim / 16; ++k) {
    Word y[4];
    load_blocks(y, corner + 16 * k);
    mma_k16<E>(scores[0], x[k][0], x[k][1], x[k][2], x[k][3], y[0], y[1]);
    mma_k16<E>(scores[1], x[k][0], x[k][1], x[k][2], x[k][3], y[2], y[3]);
  }
}

/// The same with x in shared memory: the rows below the four warps' own.
template <class E, int kDim>
__device__ void multiply_halo_pair(float (&scores)[2][4], const Number* halo_queries,
                                   const Number* keys) {
  const Number* x_corner = halo_queries + square_offset(kDim + 8);
  const Number* y_corner = keys + square_offset_by_row(kDim + 8);
#pragma unroll
  for (int k = 0; k < kDim / 16; ++k) {
    Word x[4], y[4];
    load_blocks(x, x_corner + 16 * k);
    load_blocks(y, y_corner + 16 * k);
    mma_k16<E>(scores[0], x[0], x[1], x[2], x[3], y[0], y[1]);
    mma_k16<E>(scores[1], x[0], x[1], x[2], x[3], y[2], y[3]);
  }
}

/// The front of tile 0, which no tile before has made, from the 16 keys before its new ones.
template <class E, int kDim, int kBlocks>
__device__ void start_front(const Word (&x)[kDim / 16][4], Number* tile, const Number* halo_queries,
                            const Number* keys, int first_key, const OnePassPlace& place,
                            float scale) {
  constexpr int kFront = front_columns(kBlocks);
  const int warp = static_cast<int>(threadIdx.x) / kWarp;
  constexpr int kColumns = kFront / kChunk;  // the last ones
  const auto store = [&](const float(&scores)[2][4], int s) {
    store_scores<kBlocks>(reinterpret_cast<const float(&)[kColumns][4]>(scores[2 - kColumns]),
                          tile - kFront, tile, s, 0, first_key + 16 - kFront, place, scale);
  };
  float scores[2][4] = {};
  multiply_pair<E, kDim>(scores, x, keys);
  store(scores, 16 * warp);
  if (warp > 0) return;
  float halo_scores[2][4] = {};
  multiply_halo_pair<E, kDim>(halo_scores, halo_queries, keys);
  store(halo_scores, kTileRows);
}

/// S of the 64 new keys: each warp its own 16 rows, and of the rows below them a quarter of the
/// keys.
template <class E, int kDim, int kBlocks>
__device__ void make_scores(const Word (&x)[kDim / 16][4], Number* tile, Number* next_tile,
                            const Number* halo_queries, const Number* keys, int first_key,
                            const OnePassPlace& place, float scale) {
  const int warp = static_cast<int>(threadIdx.x) / kWarp;
  Block block;
  multiply_rows<E, kDim>(block, x, keys);
  store_scores<kBlocks>(block, tile, next_tile, 16 * warp, 0, first_key, place, scale);
  float scores[2][4] = {};
  multiply_halo_pair<E, kDim>(scores, halo_queries, keys + 16 * warp * (kDim + 8));
  store_scores<kBlocks>(scores, tile, next_tile, kTileRows, 16 * warp, first_key, place, scale);
}

/// c += C of a warp's 16 rows: the band of each query offset a times the lines that start a below.
template <int kBlocks>
__device__ void convolve_lines(Block& c, const Number* lines, const Word* table, int query_span,
                               int slack) {
  constexpr int kPitch = TileShape<kBlocks>::kPitch;
  const Number* corner = lines + square_offset(kPitch);
  const Word* words = band_words(table, slack);
#pragma unroll 2
  for (int a = 0; a < query_span; ++a) {
    convolve_offset<Half, kBlocks, kPitch, 0>(c, corner, words);
    corner += kPitch, words += table_words(kBlocks);
  }
}

/// A warp's 16 output rows on their way along the keys.
template <int kDim>
struct RunningRows {
  float o[kDim / 8][4] = {};
  float maximum[2] = {-INFINITY, -INFINITY};  // of rows g and g + 8, in base 2
  float sum[2] = {};                          // this lane's part
};

/// Maxima of rows g and g + 8 of logits in fp16, over their 64 keys.
__device__ inline float2 row_maxima(const Word (&logits)[8][2]) {
  __half2 pair[2];
#pragma unroll
  for (int half = 0; half < 2; ++half) {
    pair[half] = word_as_half2(logits[0][half]);
#pragma unroll
    for (int t = 1; t < 8; ++t) pair[half] = __hmax2(pair[half], word_as_half2(logits[t][half]));
  }
  return {quad_max(fmaxf(__low2float(pair[0]), __high2float(pair[0]))),
          quad_max(fmaxf(__low2float(pair[1]), __high2float(pair[1])))};
}

/// Takes 64 keys of C into the running softmax; they become weights.
template <int kDim>
__device__ void take_logits(RunningRows<kDim>& rows, Block& c, int first_row, int first_key) {
  Word logits[8][2];  // fp16, as the chain's maps hold them: backward makes them again from there
#pragma unroll
  for (int t = 0; t < 8; ++t) {
#pragma unroll
    for (int half = 0; half < 2; ++half) {
      logits[t][half] = pack<Half>(c[t][2 * half], c[t][2 * half + 1]);
    }
  }
  mask_words<kMinusInfinity>(logits, first_row - first_key);
  const float2 maxima = row_maxima(logits);
#pragma unroll
  for (int half = 0; half < 2; ++half) {
    const float maximum = fmaxf(rows.maximum[half], (half == 0 ? maxima.x : maxima.y) * kLog2e);
    const float shrink = exp2_fast(rows.maximum[half] - maximum);
    rows.maximum[half] = maximum;
    float sum = 0;
#pragma unroll
    for (int t = 0; t < 8; ++t) {
      const float2 m = unpack<Half>(logits[t][half]);
      c[t][2 * half] = exp2_fast(fmaf(m.x, kLog2e, -maximum));
      c[t][2 * half + 1] = exp2_fast(fmaf(m.y, kLog2e, -maximum));
      sum += c[t][2 * half] + c[t][2 * half + 1];
    }
    rows.sum[half] = rows.sum[half] * shrink + sum;
#pragma unroll
    for (int n = 0; n < kDim / 8; ++n) {
      rows.o[n][2 * half] *= shrink;
      rows.o[n][2 * half + 1] *= shrink;
    }
  }
}

/// As fragments for the product with V.
template <class E>
__device__ void pack_weights(Word (&weights)[4][4], const Block& c) {
#pragma unroll
  for (int k = 0; k < 4; ++k) {
    weights[k][0] = pack<E>(c[2 * k][0], c[2 * k][1]);
    weights[k][1] = pack<E>(c[2 * k][2], c[2 * k][3]);
    weights[k][2] = pack<E>(c[2 * k + 1][0], c[2 * k + 1][1]);
    weights[k][3] = pack<E>(c[2 * k + 1][2], c[2 * k + 1][3]);
  }
}

/// Divides by the sums, writes the outputs times `factor` and their log-sum-exp.
template <class E, int kDim>
__device__ void finish_rows(RunningRows<kDim>& rows, const OnePassArgs& args, int map,
                            int first_row, float factor) {
  const Lane lane = lane_place();
  constexpr float kLn2 = 0.693147180559945309f;
#pragma unroll
  for (int half = 0; half < 2; ++half) {
    const float sum = quad_sum(rows.sum[half]);
    const int row = first_row + lane.g + 8 * half;
    if (lane.q == 0 && row < args.extent.tokens) {
      args.lse[static_cast<std::size_t>(map) * args.extent.tokens + row] =
          rows.maximum[half] * kLn2 + logf(sum);
    }
    const float inverse = 1 / sum;
#pragma unroll
    for (int n = 0; n < kDim / 8; ++n) {
      rows.o[n][2 * half] *= inverse;
      rows.o[n][2 * half + 1] *= inverse;
    }
  }
  store_tokens<E, kDim>(rows.o, args.o, map, args.extent.heads, first_row, args.extent.tokens,
                        factor);
}

/// Grid: (row tiles, maps).
template <class E, int kDim, int kBlocks, bool kDropout>
__global__ void __launch_bounds__(kOnePassThreads, kDim <= 64 && !kDropout ? 3 : 2)
    one_pass_forward_kernel(const OnePassArgs args) {
  wait_for_previous_kernel();
  using At = OnePassShared<kDim, kBlocks>;
  Number* const shared = dynamic_shared<Number>();
  Number *keys = shared + At::kKeys, *values = shared + At::kValues;
  Number *tiles = shared + At::kScores, *halo_queries = shared + At::kHaloQueries;
  Word* table = reinterpret_cast<Word*>(shared + At::kTable);
  const int tokens = args.extent.tokens, heads = args.extent.heads;
  const int map = static_cast<int>(blockIdx.y), warp = static_cast<int>(threadIdx.x) / kWarp;
  // Later rows have more keys: start with them.
  const int first_row = static_cast<int>(gridDim.x - 1 - blockIdx.x) * kTileRows;
  const OnePassPlace place = {first_row - (args.query_span - 1), args.extent.reach};
  const int lag = front_columns(kBlocks) - args.window.halo;  // of a tile's first new key
  const int tile_count = key_tiles(min(first_row + kTileRows, tokens) - 1, tokens, 0);

  load_tokens<kDim>(tiles, head_tokens(args.q, map, heads), place.first_score_row, tokens);
  load_tokens<kDim, 16>(halo_queries, head_tokens(args.q, map, heads),
                        place.first_score_row + kTileRows, tokens);
  load_tokens<kDim, 16>(values, head_tokens(args.k, map, heads), lag - 16, tokens);
  commit_copies();
  load_tokens<kDim>(keys, head_tokens(args.k, map, heads), lag, tokens);
  commit_copies();
  load_table<kBlocks>(table, args.tables, map % heads, args.query_span);
  wait_for_copies<1>();
  __syncthreads();
  Word x[kDim / 16][4];
  load_rows_as_fragments<kDim>(x, tiles);
  __syncthreads();  // the queries make room for the scores
  start_front<E, kDim, kBlocks>(x, tiles, halo_queries, values, lag - 16, place, args.scale);

  RunningRows<kDim> rows;
  for (int t = 0; t < tile_count; ++t) {
    Number *tile = tiles + t % 2 * At::kTile, *next_tile = tiles + (t + 1) % 2 * At::kTile;
    const int first_key = t * kTileKeys;
    wait_for_copies<0>();
    __syncthreads();  // the keys are there, the values and the next tile are no longer read
    load_tokens<kDim>(values, head_tokens(args.v, map, heads), first_key, tokens);
    commit_copies();
    make_scores<E, kDim, kBlocks>(x, tile, next_tile, halo_queries, keys, first_key + lag, place,
                                  args.scale);
    wait_for_copies<0>();
    __syncthreads();  // scores and values are there, the keys are no longer read
    if (t + 1 < tile_count) {
      load_tokens<kDim>(keys, head_tokens(args.k, map, heads), first_key + kTileKeys + lag, tokens);
    }
    commit_copies();
    Block c = {};
    if (place.reach > 0 && first_key + kTileKeys + 8 * kBlocks > first_row) {
      add_convolution<kBlocks, true>(c, tile, table, args.query_span, args.window.slack, first_row,
                                     first_key - args.window.halo);
    } else {
      convolve_lines<kBlocks>(c, tile + 16 * warp * At::kPitch, table, args.query_span,
                              args.window.slack);
    }
    take_logits<kDim>(rows, c, first_row + 16 * warp, first_key);
    if constexpr (kDropout) {
      drop_weights(c, kept_weights<8>(args.dropout, map, first_row + 16 * warp, first_key), 1.0f);
    }
    Word weights[4][4];
    pack_weights<E>(weights, c);
    accumulate_product<E, kDim>(rows.o, weights, values);
  }
  finish_rows<E, kDim>(rows, args, map, first_row + 16 * warp,
                       kDropout ? dropout_scale(args.dropout.threshold) : 1.0f);
}

template <class E, int kDim, int kBlocks>
void launch_one_pass(const OnePassArgs& args, cudaStream_t stream) {
  const int bytes = one_pass_shared_bytes(kDim, kBlocks, args.query_span);
  const dim3 grid(static_cast<unsigned>(args.extent.row_tiles()),
                  static_cast<unsigned>(args.extent.maps));
  const auto kernel = args.dropout.threshold > 0 ? one_pass_forward_kernel<E, kDim, kBlocks, true>
                                                 : one_pass_forward_kernel<E, kDim, kBlocks, false>;
  allow_shared_bytes(kernel, bytes);
  launch(kernel, grid, kOnePassThreads, bytes, stream, args);
}

template <int kDim>
void OnePass<kDim>::forward(const OnePassArgs& args, ElementType type, cudaStream_t stream) {
  const bool narrow = args.window.blocks <= 2;
  if (type == ElementType::BFloat16) {
    return narrow ? launch_one_pass<Brain, kDim, 2>(args, stream)
                  : launch_one_pass<Brain, kDim, kMaxOnePassBlocks>(args, stream);
  }
  return narrow ? launch_one_pass<Half, kDim, 2>(args, stream)
                : launch_one_pass<Half, kDim, kMaxOnePassBlocks>(args, stream);
}

}  // namespace mta::kernels
