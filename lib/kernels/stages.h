// What the host chain hands to each stage's launch: views of maps and tensors, row ranges,
// statistics.
//
// Launch functions put their kernels on the stream and return; the chain checks cudaGetLastError
// after each.
#pragma once

#include "lib/kernels/params.h"
#include "lib/kernels/shared_memory.h"
#include "lib/kernels/tile_plan.h"
#include "lib/kernels/workspace.h"

#include <cuda_runtime.h>

#include <cstddef>
#include <cstdint>

namespace mta::kernels {

/// Maps of 16-bit numbers, `numbers` from one to the next.
struct MapView {
  std::uint16_t* data;
  std::int64_t numbers;
  MapShape shape;
};

/// A [B, H, T, d] tensor that starts at the chunk's first batch element.
struct TensorView {
  void* data;
  std::int64_t batch_stride, head_stride, token_stride;
};

struct DropoutArgs {
  std::uint32_t threshold;  // 0: off
  std::uint64_t seed;
  std::uint32_t stream;
  const std::uint32_t* step;
  int first_map;  // global index of the chunk's map 0
};

/// The maps and rows that a launch covers.
struct Extent {
  int maps, heads, tokens;
  RowRange rows;
  int reach;  // keys past the diagonal
  MTA_HOST_DEVICE int row_tiles() const { return ceil_div(rows.size(), kTileRows); }
  MTA_HOST_DEVICE int last_key_tiles() const { return key_tiles(rows.end - 1, tokens, reach); }
};

/// Partial results a row and 64-key tile, or several tiles: [maps, key_tiles, rows] from row
/// `begin` on. A warp that has a tile's rows writes neighbours; one number a request would be what
/// L2 has most to do with.
template <class Value>
struct RowPartials {
  Value* partials;  // null: not wanted
  int begin, rows, key_tiles;
  int tiles_each = 1;  // that a result is of
  MTA_HOST_DEVICE int count(int row, int tokens) const {
    return ceil_div(kernels::key_tiles(row, tokens, 0), tiles_each);
  }
  MTA_HOST_DEVICE std::size_t index(int map, int row, int tile) const {
    const auto line = static_cast<std::size_t>(map) * static_cast<std::size_t>(key_tiles) +
                      static_cast<std::size_t>(tile);
    return line * static_cast<std::size_t>(rows) + static_cast<std::size_t>(row - begin);
  }
};
using RowStatistics = RowPartials<float2>;  // a number (base 2), the maximum or 0, and the sum of
                                            // exponentials relative to it
using RowDots = RowPartials<float>;         // sum of P dP

// --- products with q, k, v (products_hd*.cu) ---

/// target[i, j] = factor x_i . y_j over the causal tiles; fp16 for scores, the element type for dA.
struct ScoresArgs {
  Extent extent;
  int strip_tiles;  // key tiles that a block walks
  TensorView x, y;
  MapView target;
  float factor;
  RowStatistics statistics;  // of the target, when it is M
  DropoutArgs dropout;       // on the target, when it is dA and no dots are wanted
  // With partial dots, of the target dA = dP and P = exp(M - lse), where nothing stands after the
  // softmax:
  RowDots dots;
  MapView mixed;
  const float* lse;  // [maps, T]
};
/// target[i] = factor sum_j map[i, j] y_j. With `lse` the map is M, and exp(M - lse) takes its
/// place.
struct WeightedSumArgs {
  Extent extent;
  MapView map;
  TensorView y, target;
  float factor;
  const float* lse;  // [maps, T]; null: the map holds the weights themselves
  float* partials;   // fp32 [parts, maps, rows, d]; null with one part
  int parts;         // of each block of rows' keys: a block each
  int ahead;         // tiles on their way; 0: the launch decides
};
/// target[j] = factor sum_i map[i, j] x_i over all chunks, of one or two maps in one launch.
struct TransposedSum {
  MapView map;
  TensorView x, target;
  float* sum;  // fp32 [maps, T, d], kept between chunks; null with one chunk
  float factor;
};
struct TransposedSumArgs {
  Extent extent;
  const float* lse;  // as above
  TransposedSum sums[2];
  int count;
  int ahead;  // as above
};

template <int kDim>
struct Products {
  static void scores(const ScoresArgs& args, ElementType type, cudaStream_t stream);
  static void weight_gradient(const ScoresArgs& args, ElementType type, cudaStream_t stream);
  static void weighted_sum(const WeightedSumArgs& args, ElementType type, cudaStream_t stream);
  static void transposed_sum(const TransposedSumArgs& args, ElementType type, cudaStream_t stream);
};

// --- forward in one pass (one_pass_hd*.cu) ---

struct OnePassArgs {
  Extent extent;  // reach of the scores
  TensorView q, k, v, o;
  const std::uint32_t* tables;  // [heads, c_q, table_words]
  int query_span;
  KeyWindow window;
  float scale;
  float* lse;  // [maps, T]
  DropoutArgs dropout;
};

/// o and lse of all rows: what forward_in_one_pass(problem) covers.
template <int kDim>
struct OnePass {
  static void forward(const OnePassArgs& args, ElementType type, cudaStream_t stream);
};

// --- backward in one pass but for the sums over rows (one_pass_backward_hd*.cu) ---

struct OnePassBackwardArgs {
  Extent extent;  // whole 64-row tiles from row 0 on; reach 0
  TensorView q, k, v, o, d_o, d_q;
  const std::uint32_t *tables, *flipped;  // [heads, c_q, table_words]; flipped: in the element type
  int query_span;
  KeyWindow window, flipped_window;
  float scale;
  const float* lse;           // [maps, T]
  MapView weights, d_scores;  // written: A without dropout's scale, and dS
  float* sums;                // [maps, slots, c_q * c_k]
  int slots;                  // a row tile each
  DropoutArgs dropout;
};

/// dQ, A, dS and the kernel's sums: what backward_in_one_pass(problem) covers.
template <int kDim>
struct OnePassBackward {
  static void backward(const OnePassBackwardArgs& args, ElementType type, cudaStream_t stream);
};

// --- kq convolution (convolution_*.cu, convolution_backward_*.cu) ---

/// What is convolved: S as it is, or exp(M - lse). Of the streamed backward also S where the
/// output's gradient dM is not in memory but made of M and dP.
enum class MapKind { Scores, SoftmaxWeights, ScoresBeforeSoftmax };

struct ConvolutionArgs {
  Extent extent;
  int strip_tiles;  // key tiles that a block walks
  MapView source, target;
  const std::uint32_t* tables;  // [heads, c_q, table_words]
  int query_span;
  KeyWindow window;
  const float* lse;   // [maps, T], with SoftmaxWeights
  bool brain_target;  // the target is A of a bf16 problem
  RowStatistics statistics;
  DropoutArgs dropout;
};
struct ConvolutionBackwardArgs {
  Extent extent;  // reach of the target, which is dS or dP
  MapView d_output, source, target;
  const std::uint32_t* tables;  // flipped, in the element type
  int query_span;
  KeyWindow window;  // transposed
  const float* lse;
  float* sums;  // [maps, slots, c_q * c_k]
  int slots, strips;
  int strip_tiles, block_rows;  // of a block
  RowDots dots;                 // of source and target, with SoftmaxWeights
  // With ScoresBeforeSoftmax, d_output being dP:
  MapView mixed;          // M
  const float* row_dots;  // [maps, dot_rows] from row 0 on
  int dot_rows;
};

/// kBlocks: 8-column blocks of the key window that the kernel is built for.
template <int kBlocks>
struct ConvolutionKernels {
  static void forward(MapKind kind, const ConvolutionArgs& args, cudaStream_t stream);
  static void backward(MapKind kind, const ConvolutionBackwardArgs& args, ElementType type,
                       cudaStream_t stream);
};
/// The same where rows can stream through a warp, backward where ConvolutionBlocks::streamed says
/// so; kBlocks up to kMaxStreamedBlocks.
template <int kBlocks>
struct StreamedConvolution {
  static void forward(MapKind kind, const ConvolutionArgs& args, cudaStream_t stream);
  static void backward(MapKind kind, const ConvolutionBackwardArgs& args, ElementType type,
                       cudaStream_t stream);
};
constexpr int built_blocks(int blocks) { return blocks <= 2 ? 2 : blocks <= 3 ? 3 : kMaxBlocks; }

constexpr int kTableOrigin =
    14;  // outputs 1..7 of a block and up to 7 columns of slack read before tap 0

// --- head mixing (mixing_*.cu) ---

struct MixingArgs {
  Extent extent;
  MixingPlan plan;
  int rows_a_block;
  int strips, strip_tiles;
  const std::uint16_t* weights;     // [units, parts, 16, 16] forward orientation, fp16
  const std::uint16_t* transposed;  // backward orientation, element type
  const float* lse;                 // [maps, T]
  const float* dots;                // [maps, rows] from extent.rows.begin on
  int dot_rows;
  MapView source;  // C, or R, or (source_is_softmax) M
  bool source_is_softmax;
  MapView target;    // M, or A
  MapView gradient;  // dA, or dP
  MapView d_target;  // dR, or dC
  MapView mixed;     // M, for dM = P (dP - D), of groups over 16 heads
  RowStatistics statistics;
  RowDots row_dots;
  DropoutArgs dropout;
  float* sums;  // [batch, units, parts, slots, 256]
  int slots;
};

/// kParts: 16-head blocks that one output reads.
template <int kParts>
struct MixingKernels {
  static void before(const MixingArgs& args, cudaStream_t stream);
  static void after(const MixingArgs& args, ElementType type, cudaStream_t stream);
  static void after_backward(const MixingArgs& args, ElementType type, cudaStream_t stream);
  static void before_backward(const MixingArgs& args, ElementType type, cudaStream_t stream);
};

template <>
void MixingKernels<1>::before_backward(const MixingArgs& args, ElementType type,
                                       cudaStream_t stream);

// --- a kq convolution and the head mixing after it (convolved_mixing_*.cu) ---

struct ConvolvedMixingArgs {
  Extent extent;                // reach of the source
  MixingPlan plan;              // of groups that do not span several blocks
  MapView source;               // S, or M
  MapView convolved;            // C, or R; null: not stored
  MapView target;               // M, or A
  const std::uint32_t* tables;  // [heads, c_q, table_words]
  int query_span;
  KeyWindow window;
  const std::uint16_t* weights;  // [units, 16, 16], fp16
  const float* lse;              // [maps, T], after the softmax
  RowStatistics statistics;      // of M
  DropoutArgs dropout;           // on A
  // After the softmax, backward:
  MapView gradient, d_target;       // dA, dR
  const std::uint16_t* transposed;  // [units, 16, 16], element type
  float* sums;                      // [batch, units, slots, 256]
  int slots;  // a block each; which rows a block has depends on the card where blocks walk
};

/// kBlocks: as of ConvolutionKernels, up to kMaxFusedBlocks.
template <int kBlocks>
struct ConvolvedMixingKernels {
  static void before(const ConvolvedMixingArgs& args, cudaStream_t stream);
  static void after(const ConvolvedMixingArgs& args, ElementType type, cudaStream_t stream);
  static void after_backward(const ConvolvedMixingArgs& args, ElementType type,
                             cudaStream_t stream);
};

// --- head mixing where no convolution stands beside it (mixing_alone.cu) ---

/// Of the mixing before softmax: weights, transposed and sums. Null weights and sums: the stage is
/// absent. source is S, then A; gradient is dA, then dS.
struct MixingAloneArgs : MixingArgs {
  const std::uint16_t *weights_after, *transposed_after;
  float* sums_after;
};
struct MixingAlone {
  /// Partial statistics of M, where there is a mixing before softmax.
  static void statistics(const MixingAloneArgs& args, cudaStream_t stream);
  /// A in the place of S.
  static void weights(const MixingAloneArgs& args, ElementType type, cudaStream_t stream);
  /// Partial dots of P dR; the sums of the mixing after softmax.
  static void dots(const MixingAloneArgs& args, ElementType type, cudaStream_t stream);
  /// A and dS in the places of S and dA; the sums of the mixing before softmax.
  static void gradients(const MixingAloneArgs& args, ElementType type, cudaStream_t stream);
};

// --- rows (softmax_rows.cu) ---

/// lse[map, row] from the partial maxima and sums of the row's tiles.
void finish_softmax(const Extent& extent, const RowStatistics& statistics, float* lse,
                    cudaStream_t stream);
/// dots[map, row] = sum of the row's partial dots.
void finish_dots(const Extent& extent, const RowDots& partials, float* dots, cudaStream_t stream);

struct PointwiseArgs {
  Extent extent;
  MapView mixed, gradient, target;
  const float *lse, *dots;
  int dot_rows;
  RowDots row_dots;
  DropoutArgs dropout;
};
/// A = dropout(exp(M - lse)) where no stage stands after the softmax; with a gradient also its
/// partial dots.
void softmax_weights(const PointwiseArgs& args, ElementType type, cudaStream_t stream);
/// dM = P (dP - D) where no mixing stands before the softmax and no other stage makes it.
void softmax_backward(const PointwiseArgs& args, ElementType type, cudaStream_t stream);

// --- weights (weights.cu) ---

struct PreparedWeights {
  std::uint32_t *table_before, *table_after, *flipped_before, *flipped_after;  // null: not wanted
  std::uint16_t *mix_before, *mix_after, *unmix_before, *unmix_after;
  int head_group;          // as the mixing plans of the launches have it
  void* zeros;             // what is to be zero beside them
  std::size_t zero_bytes;  // a multiple of 16
};
/// All of them in one launch.
void prepare_weights(const Problem& problem, const PreparedWeights& prepared, cudaStream_t stream);

/// Partial sums of the gradient of a convolution's kernels, or of a mixing's weights.
struct GradientSums {
  float* sums;                       // [batches, units, slots, width]
  float* gradient;                   // of a convolution [units, width]: a unit is a head
  int batches, units, slots, width;  // of a mixing a unit is a block of 16x16 weights
  MixingPlan plan;                   // of a mixing; else without parts
  int heads;
};
/// Each gradient = its sums over batch elements and slots, in an order that depends on the shapes
/// alone. Many of them are added up in their place. Up to four at a time.
void finish_gradients(const GradientSums* sums, int count, cudaStream_t stream);

}  // namespace mta::kernels
