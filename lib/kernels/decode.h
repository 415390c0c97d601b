// The contract of attention in decoding: the newest rows of a text over all its keys, forward only.
//
// Up to eight new query rows, every stage of params.h but dropout, and the norm and gate of each
// head's output; keys cut into ranges that blocks work on side by side. Convolutions look up: the
// rows above the new ones, as many as the spans reach, are computed again from their queries, which
// the caller keeps. Maps are fp32.
#pragma once

#include "lib/kernels/attention.h"
#include "lib/kernels/params.h"
#include "lib/kernels/status.h"

#include <cstddef>

namespace mta::kernels {

/// What may follow the weighted sum, row by row and head by head, in this order; null: absent.
struct DecodeOutput {
  const float* norm_weight = nullptr;  ///< [d]: o / sqrt(mean(o^2) + norm_eps) * norm_weight *
                                       ///< norm_scale
  float norm_eps = 0, norm_scale = 1;
  const float* gate_weight = nullptr;  ///< [gates, d]: o * sigmoid(gate_weight o + gate_bias)
  const float* gate_bias = nullptr;    ///< [gates]
  int gates = 0;                       ///< 1 or d
};

struct DecodeRows {
  int batch = 0, heads = 0, head_dim = 0;
  int rows = 0;  ///< R, wanted: the last R of the T tokens
  int keys = 0;  ///< T; with `length`: T at most, for which the work is cut and launched
  const int* length =
      nullptr;  ///< on the device, may be null: T, R to `keys`, read when the kernels run, so that
                ///< a captured graph follows a text as it grows
  ElementType type = ElementType::BFloat16;
  float scale = 0;  ///< factor of the scores, usually 1 / sqrt(d)
  Causality causality = Causality::Double;
  Convolution conv_before = {}, conv_after = {};  ///< before and after softmax
  Mixing mix_before = {}, mix_after = {};
  DecodeOutput output = {};
  /// q has the last `query_rows` of the T queries, R at least, and rows above them count as zero.
  /// 0: q has a row for each of the T tokens.
  int query_rows = 0;
  Tensor q = {}, k = {}, v = {};  ///< [B, H, .., d], rows on 16-byte boundaries
};

inline constexpr int kDecodeRows = 8;       ///< R at most
inline constexpr int kDecodeHeadDim = 128;  ///< head size at most; a multiple of 8

/// Ok, or Unsupported / InvalidArgument with last_error() naming what is not covered.
/// `shared_bytes` is what the device gives a block. Looks at sizes and options only.
Status check_decode(const DecodeRows& call, int shared_bytes);

/// Of the workspace: a few rows of maps and sums of each range of keys.
std::size_t decode_workspace_bytes(const DecodeRows& call);

/// o [B, H, R, d] is written. The bits depend on the call, `keys` among it, and on nothing else.
Status decode(const DecodeRows& call, const Tensor& o, const Workspace& workspace, Stream stream);

}  // namespace mta::kernels
