// Sums over a row's keys where M or P need not be written: heads along the lanes.
//
// M = W S with the heads of S as the matrix unit's B operand leaves head g (and g + 8) of eight
// points in each lane: sums over keys are sums over a lane's own numbers, and a quad's in the end.
// Pairs of neighbouring keys are the A operand of a sum over points, P X^T.
#pragma once

#include "lib/kernels/head_mixing_backward.cuh"

namespace mta::kernels {

/// M of a tile: [t][n] is key t of point 2 q + n % 2, head g + 8 (n / 2).
__device__ inline void mix_tile(Mixed& m, const WeightBlock& w, const Points& s) {
  clear(m);
  mix_points<Half>(m, w, s);
}

/// Replaces what lies past the tile's key `last`.
__device__ inline void replace_past(Mixed& m, int last, float value) {
#pragma unroll
  for (int n = 0; n < 32; ++n) {
    if (8 * point_group<NeighbourGroups>(2 * lane_place().q + n % 2) + n / 4 > last)
      m[n / 4][n % 4] = value;
  }
}

/// exp(M - lse); lse2[n] is of head g + 8 n, in base 2.
__device__ inline void apply_exponential(Mixed& m, const float (&lse2)[2]) {
#pragma unroll
  for (int n = 0; n < 32; ++n) {
    float& x = m[n / 4][n % 4];
    x = exp2_fast(fmaf(x, kLog2e, -lse2[n % 4 / 2]));
  }
}

/// A lane's sum of exponentials over its keys of a row, times 2^-reference. The reference may be
/// any number near the maximum: only a sum that leaves the middle of fp32's range asks for the
/// maximum and takes it as the new reference.
struct ExponentialSum {
  float reference = -INFINITY, sum = 0;

  /// Adds the keys of head g + 8 half.
  __device__ void add(const Mixed& m, int half) {
    constexpr float kLeast = 0x1p-40f, kMost = 0x1p60f;
    const float total = sum + exponentials(m, half);
    if (total > kLeast && total < kMost) {
      sum = total;
      return;
    }
    float maximum = -INFINITY;
#pragma unroll
    for (int n = 0; n < 16; ++n) maximum = fmaxf(maximum, m[n / 2][2 * half + n % 2]);
    if (maximum == -INFINITY) return;  // no causal keys
    maximum *= kLog2e;
    if (sum != 0) maximum = fmaxf(maximum, reference);
    const float kept = sum == 0 ? 0 : sum * exp2_fast(reference - maximum);
    reference = maximum;
    sum = kept + exponentials(m, half);
  }
  /// The quad's sum as a partial result, after which the next row begins.
  __device__ float2 finish() {
    const float maximum = quad_max(sum == 0 ? -INFINITY : reference);
    const float whole = quad_sum(sum == 0 ? 0 : sum * exp2_fast(reference - maximum));
    sum = 0;
    return {maximum, whole};
  }

 private:
  __device__ float exponentials(const Mixed& m, int half) const {
    float parts[2] = {};
#pragma unroll
    for (int n = 0; n < 16; ++n) {
      parts[n % 2] += exp2_fast(fmaf(m[n / 2][2 * half + n % 2], kLog2e, -reference));
    }
    return parts[0] + parts[1];
  }
};

/// Sums of P dA^T, [head of P, head of dA], over a row's keys and over all rows.
template <class E>
struct HeadGram {
  MixingSums<1> all = {};
  float row[2][4] = {};

  /// Adds a tile; chunk n of dA is head g + 8 (n / 2), keys of point 2 q + n % 2.
  __device__ void add(const Mixed& p, const Points& d_a) {
#pragma unroll
    for (int s = 0; s < 4; ++s) {  // keys 2 s and 2 s + 1 of two groups
      Word rows[4];
#pragma unroll
      for (int n = 0; n < 4; ++n) {
        rows[n] = pack<E>(p[2 * s][n % 2 * 2 + n / 2], p[2 * s + 1][n % 2 * 2 + n / 2]);
      }
#pragma unroll
      for (int half = 0; half < 2; ++half) {
        mma_k16<E>(row[half], rows[0], rows[1], rows[2], rows[3], (&d_a.chunk[2 * half].x)[s],
                   (&d_a.chunk[2 * half + 1].x)[s]);
      }
    }
  }
  /// The row's dots sum_j P dR of heads g and g + 8, where dR = W dA: the diagonal of G W^T for the
  /// row's sums G. Then the next row begins.
  __device__ float2 finish_row(const WeightBlock& w) {
    float dots[2];
#pragma unroll
    for (int half = 0; half < 2; ++half) {
      const float2 left = unpack<E>(w.a[half]), right = unpack<E>(w.a[half + 2]);
      dots[half] = quad_sum(left.x * row[0][2 * half] + left.y * row[0][2 * half + 1] +
                            right.x * row[1][2 * half] + right.y * row[1][2 * half + 1]);
    }
#pragma unroll
    for (int n = 0; n < 8; ++n) {
      all.value[0][n / 4][n % 4] += row[n / 4][n % 4];
      row[n / 4][n % 4] = 0;
    }
    return {dots[0], dots[1]};
  }
};

}  // namespace mta::kernels
