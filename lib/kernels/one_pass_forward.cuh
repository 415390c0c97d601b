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
//   1. The last `front` columns of the tile before to where this one starts, and S of the new keys
//      behind them, in fp16. The tile takes the place of the one before.
//   2. C = W * S on the matrix unit, as in the chain (toeplitz.cuh).
//   3. Mask, running maximum and sum; the weights stay in registers, as fragments for P V. Dropout
//      takes them after the sum.
#pragma once

#include "lib/kernels/kept_weights.cuh"
#include "lib/kernels/kq_convolution.cuh"
#include "lib/kernels/one_pass_tile.cuh"
#include "lib/kernels/weighted_sum.cuh"

namespace mta::kernels {

constexpr int kOnePassThreads = 128;  // four warps of 16 rows

/// Columns of a tile that the tile before has made.
MTA_HOST_DEVICE constexpr int front_columns(int blocks) { return kChunk * (blocks - 1); }

/// Where the pieces of shared memory start, in numbers.
template <int kDim, int kBlocks>
struct OnePassShared {
  static constexpr int kPitch = TileShape<kBlocks>::kPitch, kToken = kDim + 8;
  static constexpr int kQueries = 0;
  static constexpr int kKeys = kQueries + kOnePassRows * kToken;
  static constexpr int kValues = kKeys + token_numbers(kDim);
  static constexpr int kScores = kValues + token_numbers(kDim);
  static constexpr int kTable = kScores + kOnePassRows * kPitch;
  static_assert(kNumberBytes * kTable == one_pass_shared_bytes(kDim, kBlocks, 0));
};

/// Scores of the last keys before tile 0's new ones, where a tile before it would have left them:
/// `keys` are 16.
template <class E, int kDim, int kBlocks>
__device__ void start_scores(Number* shared, const Number* keys, int last, float scale) {
  using At = OnePassShared<kDim, kBlocks>;
  constexpr int kColumns = 2, kFirst = kColumns - (kBlocks - 1);
  Number* scores = shared + At::kScores + front_columns(kBlocks) + kTileKeys - 16;
  const auto put = [&](int line) {
    put_scores<E, kDim, At::kPitch, kFirst, kColumns>(scores + line * At::kPitch,
                                                      shared + At::kQueries + line * At::kToken,
                                                      keys, last + line, scale);
  };
  const int warp = static_cast<int>(threadIdx.x) / kWarp;
  put(16 * warp);
  if (warp == 0) put(kTileRows);
}

/// S of the 64 new keys behind the front: each warp its own 16 lines, and of the lines below them a
/// quarter of the keys. Line n keeps the new keys up to `last` + n.
template <class E, int kDim, int kBlocks>
__device__ void make_scores(Number* shared, int last, float scale) {
  using At = OnePassShared<kDim, kBlocks>;
  constexpr int kFront = front_columns(kBlocks);
  const int warp = static_cast<int>(threadIdx.x) / kWarp, own = 16 * warp;
  const Number *queries = shared + At::kQueries, *keys = shared + At::kKeys;
  Number *scores = shared + At::kScores, *lower = scores + kTileRows * At::kPitch;
  const auto carry = [](Number* lines) { copy_keys<kFront, At::kPitch>(lines, lines + kTileKeys); };
  carry(scores + own * At::kPitch);
  if (own == kTileKeys - 16) carry(lower);  // the warp that overwrites the last keys there
  put_scores<E, kDim, At::kPitch, 0, kTileKeys / kChunk>(
      scores + own * At::kPitch + kFront, queries + own * At::kToken, keys, last + own, scale);
  put_scores<E, kDim, At::kPitch, 0, 2>(lower + kFront + own, queries + kTileRows * At::kToken,
                                        keys + own * At::kToken, last + kTileRows - own, scale);
}

/// c += C of a warp's 16 rows: the band of each query offset a times the lines that start a below.
template <int kBlocks>
__device__ void convolve_lines(Block& c, const Number* lines, const Word* table, int query_span,
                               int slack) {
  constexpr int kPitch = TileShape<kBlocks>::kPitch;
  const Number* corner = lines + square_offset(kPitch);
  const Word* words = band_words(table, slack);
#pragma unroll 1
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

/// Copies what stays for the whole walk, tile 0's new keys, and, where the values will be, the 16
/// before them. `lag`: the first new key.
template <int kDim, int kBlocks>
__device__ void load_start(const OnePassArgs& args, Number* shared, int map, int first_score_row,
                           int lag) {
  using At = OnePassShared<kDim, kBlocks>;
  const int tokens = args.extent.tokens, heads = args.extent.heads;
  const HeadTokens k = head_tokens(args.k, map, heads);
  load_tokens<kDim, kOnePassRows>(shared + At::kQueries, head_tokens(args.q, map, heads),
                                  first_score_row, tokens);
  load_tokens<kDim, 16>(shared + At::kValues, k, lag - 16, tokens);
  load_tokens<kDim>(shared + At::kKeys, k, lag, tokens);
  copy_table<kBlocks>(shared + At::kTable, args.tables, map % heads, args.query_span);
  commit_copies();
}

/// C of a warp's 16 rows, from all their lines of S.
template <int kDim, int kBlocks, bool kPlain>
__device__ void convolve(Block& c, const OnePassArgs& args, const Number* shared, int first_row,
                         int first_key) {
  using At = OnePassShared<kDim, kBlocks>;
  const Number* scores = shared + At::kScores;
  const Word* table = reinterpret_cast<const Word*>(shared + At::kTable);
  if (!kPlain && args.extent.reach > 0 && first_key + kTileKeys + 8 * kBlocks > first_row) {
    add_convolution<kBlocks, true>(c, scores, table, args.query_span, args.window.slack, first_row,
                                   first_key - args.window.halo);
    return;
  }
  const int warp = static_cast<int>(threadIdx.x) / kWarp;
  convolve_lines<kBlocks>(c, scores + 16 * warp * At::kPitch, table, args.query_span,
                          args.window.slack);
}

/// Takes a tile of S and its values into a warp's 16 rows.
template <class E, int kDim, int kBlocks, bool kPlain>
__device__ void take_tile(RunningRows<kDim>& rows, const OnePassArgs& args, const Number* shared,
                          int map, int first_row, int first_key) {
  const int own_row = first_row + static_cast<int>(threadIdx.x) / kWarp * 16;
  Block c = {};
  convolve<kDim, kBlocks, kPlain>(c, args, shared, first_row, first_key);
  take_logits<kDim>(rows, c, own_row, first_key);
  if (!kPlain && args.dropout.threshold > 0) {
    drop_weights(c, kept_weights<8>(args.dropout, map, own_row, first_key), 1.0f);
  }
  Word weights[4][4];
  pack_weights<E>(weights, c);
  accumulate_product<E, kDim>(rows.o, weights, shared + OnePassShared<kDim, kBlocks>::kValues);
}

/// Blocks a multiprocessor that registers must leave room for: as many as do without spills.
template <int kDim, bool kPlain>
constexpr int kOnePassBlocks =
#if defined(__CUDA_ARCH__) && __CUDA_ARCH__ < 900
    kDim > 96 ? 2 :
#endif
              (kDim <= 64 ? 3 : 2) + (kPlain ? 1 : 0);

/// Grid: sum_grid(maps, row tiles). `kPlain`: neither dropout nor keys past the diagonal, whose
/// code takes registers from all else.
template <class E, int kDim, int kBlocks, bool kPlain>
__global__ void __launch_bounds__(kOnePassThreads, kOnePassBlocks<kDim, kPlain>)
    one_pass_forward_kernel(const OnePassArgs args) {
  wait_for_previous_kernel();
  using At = OnePassShared<kDim, kBlocks>;
  Number* const shared = dynamic_shared<Number>();
  const int tokens = args.extent.tokens, heads = args.extent.heads, reach = args.extent.reach;
  int map = map_in_turn();
  if (map >= args.extent.maps) return;
  // Later rows have more keys: start with them.
  const int first_row = static_cast<int>(gridDim.y - 1 - blockIdx.y) * kTileRows;
  const int first_score_row = first_row - (args.query_span - 1);
  const int lag = front_columns(kBlocks) - args.window.halo;  // of a tile's first new key
  const int tile_count = key_tiles(min(first_row + kTileRows, tokens) - 1, tokens, 0);
  load_start<kDim, kBlocks>(args, shared, map, first_score_row, lag);
  wait_for_copies<0>();
  __syncthreads();
  start_scores<E, kDim, kBlocks>(shared, shared + At::kValues, first_score_row + reach - (lag - 16),
                                 args.scale);

  RunningRows<kDim> rows;
  for (int t = 0; t < tile_count; ++t) {
    // As if it changed: what is made of it is cheaper to make again than to keep in registers.
    asm volatile("" : "+r"(map));
    const int first_key = t * kTileKeys;
    wait_for_copies<0>();
    __syncthreads();  // the keys are there, values and scores are no longer read
    load_tokens<kDim>(shared + At::kValues, head_tokens(args.v, map, heads), first_key, tokens);
    commit_copies();
    make_scores<E, kDim, kBlocks>(shared, first_score_row + reach - (first_key + lag), args.scale);
    wait_for_copies<0>();
    __syncthreads();  // scores and values are there, the keys are no longer read
    if (t + 1 < tile_count) {
      load_tokens<kDim>(shared + At::kKeys, head_tokens(args.k, map, heads),
                        first_key + kTileKeys + lag, tokens);
    }
    commit_copies();
    take_tile<E, kDim, kBlocks, kPlain>(rows, args, shared, map, first_row, first_key);
  }
  finish_rows<E, kDim>(rows, args, map, first_row + static_cast<int>(threadIdx.x) / kWarp * 16,
                       kPlain ? 1.0f : dropout_scale(args.dropout.threshold));
}

template <class E, int kDim, int kBlocks>
void launch_one_pass(const OnePassArgs& args, cudaStream_t stream) {
  const int bytes = one_pass_shared_bytes(kDim, kBlocks, args.query_span);
  const dim3 grid = sum_grid(args.extent.maps, args.extent.row_tiles());
  const bool is_plain = args.dropout.threshold == 0 && args.extent.reach == 0;
  const auto kernel = is_plain ? one_pass_forward_kernel<E, kDim, kBlocks, true>
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
