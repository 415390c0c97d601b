// The contract of the attention of a few last rows: what a loss on an answer needs of the last
// layer.
//
// Up to eight query rows at the end of T keys, with or without a kq convolution before the softmax.
// One block computes a head of a sample with all its maps in shared memory; fp32 throughout,
// rounded once. Backward computes the maps again, and adds up in a fixed order.
#pragma once

#include "lib/kernels/attention.h"
#include "lib/kernels/params.h"
#include "lib/kernels/status.h"

#include <cstddef>
#include <cstdint>

namespace mta::kernels {

struct LastRows {
  int batch = 0, heads = 0, rows = 0, keys = 0, head_dim = 0;
  int first_row = 0;  ///< query r stands at position first_row + r; rows above it count as zero
  ElementType type = ElementType::BFloat16;
  float scale = 0;
  Causality causality = Causality::Double;
  Convolution conv_before = {};  ///< its gradient is [B, H, c_q, c_k]: one summand a sample
  Dropout dropout = {};
  Tensor q, k, v;  ///< [B, H, rows, d], [B, H, keys, d] twice
};

inline constexpr int kLastRows = 8;       ///< rows at most
inline constexpr int kLastHeadDim = 128;  ///< head size at most; a multiple of 4

/// Shared memory that backward takes, which is more than forward does; at most what the device
/// gives a block.
std::size_t last_rows_bytes(int keys);

/// o [B, H, rows, d] is written.
Status last_rows_forward(const LastRows& call, const Tensor& o, Stream stream);

struct LastRowsGradients {
  Tensor d_o;            ///< read
  Tensor d_q, d_k, d_v;  ///< written, all rows of each
};
Status last_rows_backward(const LastRows& call, const LastRowsGradients& gradients, Stream stream);

}  // namespace mta::kernels
