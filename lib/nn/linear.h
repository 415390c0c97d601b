// A product with a weight matrix, in the type of its input.
#pragma once

#include <ATen/core/Tensor.h>

#include <cstdint>
#include <vector>

namespace mta {

/// Call these as mta::linear: at::linear is found by its arguments wherever it is included.
/// x [..., in], weight [out, in] -> [..., out]. Master weights of another type are rounded at use,
/// or were by a RoundedWeights.
at::Tensor linear(const at::Tensor& x, const at::Tensor& weight);
at::Tensor linear(const at::Tensor& x, const at::Tensor& weight, const at::Tensor& bias);

/// The products of one x with several weights [out_i, in]: [..., out_i] each. On a GPU they are one
/// product, of which these are views.
std::vector<at::Tensor> linear_each(const at::Tensor& x, const std::vector<at::Tensor>& weights);
/// The same side by side: [..., sum of out_i].
at::Tensor linear_group(const at::Tensor& x, const std::vector<at::Tensor>& weights);

struct TailProducts {
  at::Tensor last, all;
};
/// Of x [B, T, in] the rows from `first` on with one weight, [B, T - first, out], and all rows with
/// the others, side by side: [B, T, sum of out_i]. The gradients of x are added up in place.
TailProducts linear_tail(const at::Tensor& x, std::int64_t first, const at::Tensor& last,
                         const std::vector<at::Tensor>& weights);

/// Rows of tables [V, D] by one index (int64, any shape): [..., D]. On a GPU, and for a small V, a
/// product with 0/1 rows, whose gradient has the same bits in every run; else LibTorch's embedding.
class Lookup {
 public:
  Lookup(const at::Tensor& index, std::int64_t table_rows, at::ScalarType type);
  at::Tensor rows_of(const at::Tensor& table) const;

 private:
  at::Tensor index_;
  at::Tensor chosen_;  // [..., V] of 0 and 1, or undefined
};

}  // namespace mta
