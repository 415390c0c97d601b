// The contract of the fused attention: what one layer does between q, k, v and O = A v.
//
// One call covers stages 2 to 8 of the method (arXiv 2504.00927, sections 3.1 to 3.3):
//   scores -> kq convolution -> head mixing -> mask, softmax -> kq convolution -> head mixing ->
//   dropout -> A v
// Every stage but the scores and the softmax may be absent; with none of them the call is standard
// causal attention. B batch, H heads, T keys, R query rows, d head size, d_v value size, G groups
// of c = H / G heads.
#pragma once

#include <ATen/core/Tensor.h>

#include <cstdint>
#include <optional>
#include <string>

namespace mta::ops {

/// Which score entries a convolved row i may read; i and j are positions, r = i - (c_q-1) + a the
/// row read.
enum class Causality {
  Double,  ///< keys up to the row read, j <= r, as the public reference computes it
  Exact,   ///< keys up to the row written, j <= i, the indicator of the paper's equation (4)
};

/// Cross-correlation of each head's map with its own kernel; zero outside the map, never a later
/// row:
///   C[i, j] = sum_{a, b} kernel[h, a, b] * map[i - (c_q-1) + a, j - pad_left + b]
struct KqConvolution {
  at::Tensor kernel;          ///< [H, c_q, c_k], any floating type
  std::int64_t pad_left = 0;  ///< key columns of zeros on the left, 0 to c_k - 1
  /// Stage 3 only: after the softmax the map is zero above the diagonal and the two agree.
  Causality causality = Causality::Double;
};

/// Inverted dropout on A: entries are 0 with probability `rate`, else scaled by 1 / (1 - rate).
/// A GPU draws with the low 32 bits of `stream` and rounds the rate to a multiple of 1/65536.
struct Dropout {
  double rate = 0;  ///< 0 to below 1; 0 is off
  std::uint64_t seed = 0, stream = 0;
  /// Undefined, or one at::kInt on the device of the call, read as unsigned and added to `stream`
  /// when the mask is drawn: a captured graph draws new numbers at each replay. Whoever sets it
  /// must leave it as it is between a forward pass and its backward pass, which draws the mask
  /// again.
  at::Tensor step = {};
};

/// The workspace that one direction of a call may take on a GPU, unless the call says another size.
inline constexpr std::int64_t kWorkspaceBytes = std::int64_t{512} << 20;

struct AttentionCall {
  at::Tensor q, k, v;  ///< [B, H, R, d], [B, H, T, d], [B, H, T, d_v] in one type, on one device:
                       ///< float or double on a CPU, half or bfloat16 on a GPU
  /// Query r stands at position first_row + r of the T keys; R <= T - first_row. Rows above
  /// first_row count as absent: the convolutions read zeros there.
  std::int64_t first_row = 0;
  std::optional<KqConvolution> kq_before = std::nullopt, kq_after = std::nullopt;
  at::Tensor heads_before = {};  ///< [G, c, c] (group, output head, input head); undefined is off
  at::Tensor heads_after = {};   ///< [G, c, c] (group, input head, output head); undefined is off
  Dropout dropout = {};
  /// On a GPU: bytes of scratch memory that a direction may use. More only if the smallest chunk of
  /// rows needs more; larger chunks are faster.
  std::int64_t workspace_bytes = kWorkspaceBytes;
};

/// Empty when a fused path covers the call, else the reason in one clause ("q is Float (fused on a
/// GPU: Half, BFloat16)", ...). The device of q decides which path is asked.
std::string unsupported(const AttentionCall& call);
std::string cpu_unsupported(const AttentionCall& call);
std::string cuda_unsupported(const AttentionCall& call);

/// O = A v, [B, H, R, d_v] (stored as [B, R, H, d_v], so that joining the heads is a view). Scores
/// are scaled by 1 / sqrt(d). Differentiable once in q, k, v, the kernels and the mixings, which
/// may be of any floating type: they are rounded to the type of q, on a GPU to fp16, and their
/// gradients come in their own type. Throws c10::Error on sizes that do not fit and on calls that
/// are not covered.
///
/// This is the operator `mta::attention` of LibTorch's dispatcher, with autograd, autocast and a
/// meta function; Python loads it from libmta_ops.so (schema: attention_op.cpp). The bits of all
/// results depend only on the call; on a GPU on the workspace's size and the card, too. Nothing
/// waits for the device, and a call can be captured in a CUDA graph. Memory on a CPU: the output,
/// two numbers a row, and for each thread a few row blocks of the maps of one group of heads; on a
/// GPU: the output, two numbers a row, and the workspace.
at::Tensor attention(const AttentionCall& call);

/// `weights` [B, H, R, T] after dropout, on their device and in their type: what the fused path of
/// that device does to A, decision for decision. Nothing is copied between host and device. Throws
/// on a rate outside [0, 1) and on a `step` of another type or device.
at::Tensor dropped(const at::Tensor& weights, const Dropout& dropout, std::int64_t first_row);

/// The factors that the fused CPU path applies to A: [B, H, R, T] of 0 and 1 / (1 - rate), on the
/// CPU, in `dtype`. Entry (b, h, i, j) with i = first_row + r is a pure function of (seed, stream,
/// b * H
/// + h, i, j): see dropout.h.
at::Tensor dropout_mask(const Dropout& dropout, std::int64_t batch, std::int64_t heads,
                        std::int64_t first_row, std::int64_t rows, std::int64_t keys,
                        at::ScalarType dtype);

}  // namespace mta::ops
