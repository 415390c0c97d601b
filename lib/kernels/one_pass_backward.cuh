// The backward of a kq convolution before the softmax alone, but for the two sums over rows: one
// kernel makes dQ, the weights A = dropout(P), dS and the kernel's gradient; dV = A^T dO and dK =
// scale dS^T Q follow as transposed sums. A and dS are the only maps in device memory.
//
// A block owns 64 query rows of dS and dQ and walks the keys in tiles of n = 64 or 32. What the
// transposed convolution reads below them (c_q-1 rows of dC) it makes again, and what those read
// above (c_q-1 rows of S more). With c_q <= 6 each is 80 lines, 16 for each of five warps; a sixth
// has none:
//
//   line       0                    c_q-1                     64                79
//   S          r0-(c_q-1) ......... r0 .................................... r0+80-c_q
//   dP, C, dC  r0 ......................................... r0+63 | c_q-1 more |
//   dS, dQ     r0 ......................................... r0+63   (the first four warps)
//
// A window reads one 8-key column before its output and one after. So the maps run ahead of each
// other, and a tile keeps the 16 keys of the tile before in front:
//
//   keys       n t - 8   n t       n t + 8   n t + 16             n (t+1)    + 8       + 16
//   S                    |<--- front ------->|<-------------- new -------------------->|
//   C, dP, dC  |<--- front ------->|<-------------- new ---------------------->|
//   dS                   |<-------------- new ------------------->|
//
// Two phases a tile, a barrier after each; in each the sixth warp copies what the next one needs:
//   1. C = W * S, P = exp(C - lse), dP = dropout(dO V^T), dC = P (dP - D) with D = sum over d of
//      dO O, which is the sum over keys of P dP.
//   2. Four warps: dS = transposed convolution of dC, dQ += dS K. The two others: the kernel's sums
//      from (S, dC). Then S of tile t + 1.
//
// Products of the matrix unit (16x8x16) a tile of 64 x 64, with d = 64 and 6 x 11 taps: S and dP
// 160 each, C 360 (windows of 24 keys: 1.5 each), dS 288, kernel sums 384, dQ 128: 1480, where the
// chain takes 1344. A multiprocessor has twelve warps: what a warp adds up stays in registers, so
// each has dQ or kernel's sums, and none has both.
#pragma once

#include "lib/kernels/kept_weights.cuh"
#include "lib/kernels/one_pass_backward_rows.cuh"
#include "lib/kernels/one_pass_backward_sums.cuh"
#include "lib/kernels/weighted_sum.cuh"

#include <cstddef>

namespace mta::kernels {

// Five warps of 16 lines and one without: four with rows of dS, two for the kernel's sums.
constexpr int kLineWarps = kOnePassRows / 16, kOwnWarps = kTileRows / 16;
constexpr int kOnePassBackwardWarps = kOwnWarps + kSumWarps;
constexpr int kOnePassBackwardThreads = kOnePassBackwardWarps * kWarp;

/// What a warp adds up along the walk, 8 keys or 8 columns of d each: dQ of its rows, or the
/// kernel's sums.
template <int kDim>
using BackwardTotals = float[max_of(kDim / 8, kSumAccumulators)][4];

/// S of tile t's new keys, zero past the diagonal; of their last 16 only to start with, where
/// `keys` points at those.
template <class E, int kDim, bool kStart>
__device__ void make_scores(const BackwardPlace<kDim>& at, const Number* keys, int t, float scale) {
  using Shape = BackwardShape<kDim>;
  constexpr int kFirst = kStart ? Shape::kColumns - kFrontColumns : 0;
  const int first_key = t * Shape::kKeys + kFrontKeys;
  put_scores<E, kDim, Shape::kPitch, kFirst, Shape::kColumns>(
      at.score_tile(kStart ? 1 : t) + at.lines() * Shape::kPitch + kFrontKeys,
      at.shared + Shape::kQueries + at.lines() * Shape::kToken,
      keys - (kStart ? (Shape::kKeys - kFrontKeys) * Shape::kToken : 0),
      at.first_row - (at.query_span - 1) + at.lines() - first_key, scale);
}

/// P of a warp's lines and tile t's new keys, zero past the diagonal.
template <class E, int kDim, bool kStart>
__device__ void make_weights(Word (&weights)[BackwardShape<kDim>::kColumns][2],
                             const BackwardPlace<kDim>& at, int t, int slack) {
  using Shape = BackwardShape<kDim>;
  constexpr int kFirst = kStart ? Shape::kColumns - 1 : 0;
  float c[Shape::kColumns][4];
  const Number* tile = at.score_tile(kStart ? 1 : t);
  convolve_lines<Half, kFirst>(c, tile + at.lines() * Shape::kPitch, at.table(), at.query_span,
                               slack);
#pragma unroll
  for (int half = 0; half < 2; ++half) {
    const float lse2 = at.row(half).lse2;
#pragma unroll
    for (int n = 0; n < Shape::kColumns; ++n) {
      // fp16, as the maps of the forward's chain hold them.
      const float2 m = unpack<Half>(pack<Half>(c[n][2 * half], c[n][2 * half + 1]));
      const Word word =
          pack<E>(exp2_fast(fmaf(m.x, kLog2e, -lse2)), exp2_fast(fmaf(m.y, kLog2e, -lse2)));
      weights[n][half] = n < kFirst ? 0 : word;
    }
  }
  mask_words<0>(weights, at.first_row + at.lines() - (t * Shape::kKeys + kChunk));
}

/// Phase 1: A to its map, dC into its tile, and the front of the next tile of S. To start with: of
/// keys 0 to 7 only, where `values` points at keys -8 to 7.
template <class E, int kDim, bool kStart, bool kDropout>
__device__ void make_logit_gradients(const OnePassBackwardArgs& args, const BackwardPlace<kDim>& at,
                                     const Number* values, int t) {
  using Shape = BackwardShape<kDim>;
  constexpr int kFirst = kStart ? Shape::kColumns - 1 : 0;
  const Lane lane = lane_place();
  const int own = at.lines() * Shape::kPitch;
  const int first_key = t * Shape::kKeys + kChunk;
  Word weights[Shape::kColumns][2];
  make_weights<E, kDim, kStart>(weights, at, t, args.window.slack);
  KeptWeights kept = {};
  if constexpr (kDropout) {
    kept =
        kept_weights<Shape::kColumns>(args.dropout, at.map, at.first_row + at.lines(), first_key);
  }
  copy_keys<kFrontKeys, Shape::kPitch>(at.score_tile(t + 1) + own,
                                       at.score_tile(kStart ? 1 : t) + own + Shape::kKeys);
  Number *gradients = at.logit_gradients() + own, *stage = gradients + kFrontKeys;
  if (!kStart) copy_keys<kFrontKeys, Shape::kPitch>(gradients, gradients + Shape::kKeys);
  const bool is_own = at.warp < kOwnWarps;
  if (is_own) {  // by way of the place of dC, while dP is made
    if constexpr (kDropout) {
      Word dropped[Shape::kColumns][2];
      drop_words(dropped, weights, kept);
      put_words<0, Shape::kPitch>(dropped, stage);
    } else {
      put_words<0, Shape::kPitch>(weights, stage);
    }
  }
  float d[Shape::kColumns][4];
  multiply_lines<E, kDim, kFirst>(
      d, at.shared + Shape::kOutputGradients + at.lines() * Shape::kToken,
      values - (kStart ? (Shape::kKeys - kFrontKeys) * Shape::kToken : 0));
  if (is_own) {
    store_lines<Shape::kPitch, Shape::kColumns>(
        stage, at.rows_of(args.weights, args.extent.rows.end), first_key, at.end_key());
  }
  if constexpr (kDropout) drop_weights(d, again(kept), dropout_scale(args.dropout.threshold));
#pragma unroll
  for (int half = 0; half < 2; ++half) {
    Number* numbers = stage + (lane.g + 8 * half) * Shape::kPitch + 2 * lane.q;
    const float dot = at.row(half).dot;
#pragma unroll
    for (int n = kStart ? Shape::kColumns - kFrontColumns : 0; n < Shape::kColumns; ++n) {
      const float2 p = unpack<E>(weights[n][half]);
      *reinterpret_cast<Word*>(numbers + 8 * n) =
          pack<E>(p.x * (d[n][2 * half] - dot), p.y * (d[n][2 * half + 1] - dot));
    }
  }
}

/// Phase 2 of the first four warps: dS of tile t to its map, and dQ.
template <class E, int kDim>
__device__ void take_score_gradients(const OnePassBackwardArgs& args, const BackwardPlace<kDim>& at,
                                     BackwardTotals<kDim>& d_q, int t) {
  using Shape = BackwardShape<kDim>;
  const int own = at.lines() * Shape::kPitch, first_key = t * Shape::kKeys;
  Word words[Shape::kColumns][2];
  float d[Shape::kColumns][4];
  convolve_lines<E, 0>(d, at.logit_gradients() + own, at.flipped(), at.query_span,
                       args.flipped_window.slack);
#pragma unroll
  for (int n = 0; n < Shape::kColumns; ++n) {
#pragma unroll
    for (int half = 0; half < 2; ++half) {
      words[n][half] = pack<E>(d[n][2 * half], d[n][2 * half + 1]);
    }
  }
  mask_words<0>(words, at.first_row + at.lines() - first_key);
  // By way of the place of S of the next tile, while dQ is made.
  Number* stage = at.score_tile(t + 1) + own + kFrontKeys;
  put_words<0, Shape::kPitch>(words, stage);
  accumulate_lines<E, kDim>(d_q, words, at.shared + Shape::kOldKeys);
  store_lines<Shape::kPitch, Shape::kColumns>(
      stage, at.rows_of(args.d_scores, args.extent.rows.end), first_key, at.end_key());
}

/// Copies what stays for the whole walk, the first tile, and keys and values of what it reads
/// before itself: 16 keys and 16 values, from keys 0 and -8, where the old keys will be. A group
/// for the scores and one for what follows.
template <int kDim>
__device__ void load_start(const OnePassBackwardArgs& args, const BackwardPlace<kDim>& at) {
  using Shape = BackwardShape<kDim>;
  const int tokens = args.extent.tokens, heads = args.extent.heads;
  // Pieces of 16 tokens, in turn for each warp.
  int piece = at.warp;
  const auto load = [&](int target, const TensorView& x, int first, int count) {
    const HeadTokens from = head_tokens(x, at.map, heads);
#pragma unroll 1
    for (; piece < count / 16; piece += kOnePassBackwardWarps) {
      copy_tokens<kDim, 16>(at.shared + target + 16 * piece * Shape::kToken, from,
                            first + 16 * piece, tokens);
    }
    piece -= count / 16;
  };
  load(Shape::kQueries, args.q, at.first_row - (at.query_span - 1), kOnePassRows);
  load(Shape::kOldKeys, args.k, 0, kFrontKeys);
  load(Shape::kNewKeys, args.k, kFrontKeys, Shape::kKeys);
  commit_copies();
  load(Shape::kOutputGradients, args.d_o, at.first_row, kOnePassRows);
  load(Shape::kOldKeys + kFrontKeys * Shape::kToken, args.v, -kChunk, kFrontKeys);
  load(Shape::kValues, args.v, kChunk, Shape::kKeys);
  Number* tables = at.shared + Shape::kTables;
  const int head = at.map % heads;
  copy_table<kBackwardWindow>(tables, args.tables, head, at.query_span);
  copy_table<kBackwardWindow>(
      tables + at.query_span * table_words(kBackwardWindow) * kWordBytes / kNumberBytes,
      args.flipped, head, at.query_span);
  commit_copies();
  // Keys -8 to -1 of S.
  if (static_cast<int>(threadIdx.x) < kOnePassRows) {
    *reinterpret_cast<uint4*>(at.score_tile(1) + static_cast<int>(threadIdx.x) * Shape::kPitch +
                              Shape::kKeys - kChunk) = uint4{};
  }
}

/// Blocks a multiprocessor that registers must leave room for: as many as do without spills.
template <bool kDropout>
constexpr int kOnePassBackwardBlocks =
#if defined(__CUDA_ARCH__) && __CUDA_ARCH__ < 900
    kDropout ? 1 : 2;
#else
    2;
#endif

/// Grid: sum_grid(maps, row tiles).
template <class E, int kDim, bool kDropout>
__global__ void __launch_bounds__(kOnePassBackwardThreads, kOnePassBackwardBlocks<kDropout>)
    one_pass_backward_kernel(const OnePassBackwardArgs args) {
  wait_for_previous_kernel();
  using Shape = BackwardShape<kDim>;
  const int tokens = args.extent.tokens, heads = args.extent.heads;
  // Later rows have more keys: start with them.
  const int row_tile = static_cast<int>(gridDim.y - 1 - blockIdx.y);
  BackwardPlace<kDim> at = {dynamic_shared<Number>(), map_in_turn(),
                            args.extent.rows.begin + row_tile * kTileRows,
                            static_cast<int>(threadIdx.x) / kWarp, args.query_span};
  if (at.map >= args.extent.maps) return;
  Number *new_keys = at.shared + Shape::kNewKeys, *old_keys = at.shared + Shape::kOldKeys,
         *values = at.shared + Shape::kValues;
  load_start<kDim>(args, at);
  const bool has_lines = at.warp < kLineWarps, is_own = at.warp < kOwnWarps;
  OutputRows<kDim> rows;
  if (has_lines) load_output_rows<kDim>(rows, args, at);
  wait_for_copies<1>();
  __syncthreads();
  if (has_lines) {
    make_scores<E, kDim, true>(at, old_keys, -1, args.scale);
    make_scores<E, kDim, false>(at, new_keys, 0, args.scale);
  }
  wait_for_copies<0>();
  __syncthreads();
  if (has_lines) {
    make_logit_rows<E, kDim>(rows, args, at);
    make_logit_gradients<E, kDim, true, kDropout>(args, at, old_keys + kFrontKeys * Shape::kToken,
                                                  -1);
  }
  __syncthreads();

  BackwardTotals<kDim> totals = {};
  const int tiles = at.end_key() / Shape::kKeys;
  for (int t = 0; t < tiles; ++t) {
    // As if they changed: what is made of them is cheaper to make again than to keep in registers.
    if constexpr (kDropout) asm volatile("" : "+r"(at.first_row));
    if constexpr (kDropout && kDim > 96) asm volatile("" : "+r"(at.map));
    const bool goes_on = t + 1 < tiles;
    const int first_key = t * Shape::kKeys, next_key = first_key + Shape::kKeys;
    if (!has_lines) {
      const HeadTokens k = head_tokens(args.k, at.map, heads);
      copy_tokens<kDim, Shape::kKeys>(old_keys, k, first_key, tokens);
      if (goes_on) {
        copy_tokens<kDim, Shape::kKeys>(new_keys, k, next_key + kFrontKeys, tokens);
      }
      commit_copies();
    } else {
      make_logit_gradients<E, kDim, false, kDropout>(args, at, values, t);
    }
    wait_for_copies<0>();
    __syncthreads();  // dC and the keys are there, the values are no longer read
    if (goes_on && !has_lines) {
      copy_tokens<kDim, Shape::kKeys>(values, head_tokens(args.v, at.map, heads), next_key + kChunk,
                                      tokens);
      commit_copies();
    }
    if (is_own) {
      take_score_gradients<E, kDim>(args, at, totals, t);
    } else {
      accumulate_kernel_sums<E, Shape::kColumns>(
          totals, at.logit_gradients(), at.score_tile(t) + (at.query_span - 1) * Shape::kPitch,
          at.warp - kOwnWarps, at.query_span);
    }
    if (goes_on && has_lines) make_scores<E, kDim, false>(at, new_keys, t + 1, args.scale);
    wait_for_copies<0>();
    __syncthreads();  // the next S and values are there, dC and the keys are no longer read
  }
  float* scratch = reinterpret_cast<float*>(at.shared + Shape::kScores);
  static_assert(kSumBytes <= Shape::kMapBytes);
  if (is_own) {
    store_tokens<E, kDim>(reinterpret_cast<const float(&)[kDim / 8][4]>(totals), args.d_q, at.map,
                          heads, at.first_row + at.lines(), args.extent.rows.end, args.scale);
  } else {
    put_kernel_sums(totals, scratch, at.warp - kOwnWarps);
  }
  __syncthreads();
  finish_kernel_sums(scratch,
                     args.sums + (static_cast<std::size_t>(at.map) * args.slots + row_tile) *
                                     args.query_span * args.flipped_window.span,
                     args.query_span, args.flipped_window);
}

template <class E, int kDim>
void launch_one_pass_backward(const OnePassBackwardArgs& args, cudaStream_t stream) {
  const int bytes = one_pass_backward_shared_bytes(kDim, args.query_span);
  const dim3 grid = sum_grid(args.extent.maps, args.extent.row_tiles());
  const auto kernel = args.dropout.threshold > 0 ? one_pass_backward_kernel<E, kDim, true>
                                                 : one_pass_backward_kernel<E, kDim, false>;
  allow_shared_bytes(kernel, bytes);
  launch(kernel, grid, kOnePassBackwardThreads, bytes, stream, args);
}

template <int kDim>
void OnePassBackward<kDim>::backward(const OnePassBackwardArgs& args, ElementType type,
                                     cudaStream_t stream) {
  if (type == ElementType::BFloat16) {
    launch_one_pass_backward<Brain, kDim>(args, stream);
  } else {
    launch_one_pass_backward<Half, kDim>(args, stream);
  }
}

}  // namespace mta::kernels
