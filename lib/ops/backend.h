// What a device implements of mta::attention, and how autograd joins the two directions.
#pragma once

#include "lib/ops/attention.h"

#include <ATen/core/Tensor.h>

#include <utility>
#include <vector>

namespace mta::ops {

struct ForwardResult {
  at::Tensor out;   ///< [B, H, R, d_v], stored as [B, R, H, d_v]
  at::Tensor rows;  ///< [B, H, R, 2], float or double: what backward needs of each row's softmax;
                    ///< the content is the backend's own
};

/// The two directions on a device. Neither is differentiable, and both throw on a call that the
/// device does not cover.
struct Backend {
  ForwardResult (*forward)(const AttentionCall& call);
  /// Gradients in the order of `differentiable_tensors(call)`, each in the type of its tensor.
  /// `out`: what forward gave, where `saves_output(call)`; may be undefined, which costs time only.
  std::vector<at::Tensor> (*backward)(const AttentionCall& call, const at::Tensor& rows,
                                      const at::Tensor& out, const at::Tensor& d_out);
};

/// Does the backward gain from the output? On a GPU, where a convolution before the softmax is the
/// only stage.
bool saves_output(const AttentionCall& call);

/// The tensors of a call that are there, by name: "q", "k", "v", "kq_before", "kq_after",
/// "heads_before", "heads_after".
std::vector<std::pair<const char*, at::Tensor>> named_tensors(const AttentionCall& call);

/// The same without names: all of them have gradients.
std::vector<at::Tensor> differentiable_tensors(const AttentionCall& call);

/// Forward now and backward when autograd asks; saves the inputs, `rows` and, where
/// `saves_output`, the output: no more memory, as what comes next keeps it anyway.
at::Tensor attend(const AttentionCall& call, const Backend& backend);

/// [B, H, rows, columns], stored as [B, rows, H, columns], like `like` [B, H, ...] but for that.
at::Tensor rows_of_heads(const at::Tensor& like, std::int64_t rows, std::int64_t columns);

/// Throws unless the sizes of the call's tensors fit together.
void check_sizes(const AttentionCall& call);

}  // namespace mta::ops
