// The contract of the fused attention kernels: plain pointers, sizes and strides.
//
// B batch, H heads, T tokens, d head size, c_q and c_k the spans of a kq convolution, c_h the heads
// of a mixing group. The stages are those of "Multi-Token Attention" (arXiv 2504.00927), in this
// order; each may be absent:
//   scores -> [kq convolution] -> [head mixing] -> causal softmax -> [kq convolution] -> [head
//   mixing]
//          -> [dropout] -> weighted sum of v
#pragma once

#include "lib/kernels/launch_plan.h"

#include <cstddef>
#include <cstdint>

namespace mta::kernels {

/// The type of q, k, v, o and their gradients. Sums are always fp32.
enum class ElementType : int { Float16, BFloat16 };

/// Which scores a convolved row i may read; r = i - (c_q-1) + a is the row read.
enum class Causality : int {
  Double,  ///< keys up to the row read, j <= r: zero, convolve, mask, as the public reference does
  Exact,   ///< keys up to the row written, j <= i: the indicator of the paper's equation (4)
};

/// A [B, H, T, d] tensor with strides in elements; the last stride is 1. [B, T, H, d] in memory is
/// a choice of strides.
struct Tensor {
  void* data = nullptr;
  std::int64_t batch_stride = 0, head_stride = 0, token_stride = 0;
};

/// C[h,i,j] = sum_{a,b} kernel[h,a,b] X[h, i-(c_q-1)+a, j-pad_left+b]; zero outside the map.
struct Convolution {
  const float* kernel =
      nullptr;  ///< [H, c_q, c_k] contiguous, on the device; null: the stage is absent
  float* gradient = nullptr;  ///< backward only: [H, c_q, c_k], overwritten
  int query_span = 1;         ///< c_q
  int key_span = 1;           ///< c_k
  int pad_left = 0;  ///< `both` (c_k-1)/2, `left` c_k-1, `right` 0; any value from 0 to c_k-1
};

/// Before softmax M[g] = sum_h weight[g,h] C[h]; after softmax A[g] = sum_h weight[h,g] R[h]
/// (transposed).
struct Mixing {
  const float* weight =
      nullptr;  ///< [H/c_h, c_h, c_h] contiguous, on the device; null: the stage is absent
  float* gradient = nullptr;  ///< backward only: the same shape, overwritten
  int group = 1;              ///< c_h; divides H
};

/// Inverted dropout on the weights, regenerated in backward: see dropout.h for the exact counters.
struct Dropout {
  float rate = 0;            ///< 0 is off; below 1
  std::uint64_t seed = 0;    ///< the Philox key
  std::uint32_t stream = 0;  ///< keeps layers and steps apart
  const std::uint32_t* step =
      nullptr;  ///< on the device, may be null: added to `stream` when the kernels run, so
                ///< that a captured graph draws new numbers at each replay
};

/// What both directions share.
struct Problem {
  int batch = 0, heads = 0, tokens = 0, head_dim = 0;
  ElementType type = ElementType::BFloat16;
  float scale = 0;  ///< factor of the scores, usually 1 / sqrt(d)
  Causality causality = Causality::Double;
  Convolution conv_before = {}, conv_after = {};  ///< before and after softmax
  Mixing mix_before = {}, mix_after = {};
  Dropout dropout = {};
  LaunchPlan launch = {};  ///< how the work is cut; part of what decides the workspace's size
};

/// Scratch memory of the caller: 256-byte aligned, on the device; see workspace.h for its size.
struct Workspace {
  void* data = nullptr;
  std::size_t bytes = 0;
};

struct ForwardParams {
  Problem problem;
  Tensor q, k, v;        ///< read
  Tensor o;              ///< written: [B, H, T, d]
  float* lse = nullptr;  ///< written: [B, H, T] contiguous, natural log-sum-exp of each row;
                         ///< backward needs it
  Workspace workspace;
};

struct BackwardParams {
  Problem problem;
  Tensor q, k, v;              ///< as given to the forward call
  Tensor o = {};               ///< as written by the forward call, or null: it decides the
                               ///< workspace's size, and is read where backward_in_one_pass says so
  const float* lse = nullptr;  ///< as written by the forward call
  Tensor d_o;                  ///< read
  Tensor d_q, d_k, d_v;        ///< written
  Workspace workspace;
};

}  // namespace mta::kernels
