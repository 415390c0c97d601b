// Tensors and parameters of a call as the kernels of lib/kernels read them.
#pragma once

#include "lib/kernels/params.h"
#include "lib/ops/attention.h"

#include <ATen/core/Tensor.h>

#include <cmath>
#include <cstdint>
#include <optional>

namespace mta::ops::cuda {

/// A stride that no index multiplies is free.
inline std::int64_t stride(const at::Tensor& t, std::int64_t dimension) {
  return t.size(dimension) == 1 ? 0 : t.stride(dimension);
}

/// The tensor itself where rows lie on 16-byte boundaries, else a copy.
inline at::Tensor aligned(const at::Tensor& t) {
  constexpr std::int64_t kElements = 8;
  constexpr std::uintptr_t kBytes = 16;
  const bool readable = reinterpret_cast<std::uintptr_t>(t.const_data_ptr()) % kBytes == 0 &&
                        t.stride(3) == 1 && stride(t, 0) % kElements == 0 &&
                        stride(t, 1) % kElements == 0 && stride(t, 2) % kElements == 0;
  return readable ? t : t.clone(at::MemoryFormat::Contiguous);
}

inline kernels::Tensor view(const at::Tensor& t) {
  return {const_cast<void*>(t.const_data_ptr()), stride(t, 0), stride(t, 1), stride(t, 2)};
}

/// Parameters as the kernels read them; undefined where the stage is absent.
struct Parameters {
  at::Tensor kq_before, kq_after, heads_before, heads_after;
};

inline Parameters parameters_of(const AttentionCall& call) {
  const auto typed = [](const at::Tensor& t) {
    return t.defined() ? t.to(at::kFloat).contiguous() : t;
  };
  const auto kernel = [&](const std::optional<KqConvolution>& kq) {
    return kq ? typed(kq->kernel) : at::Tensor();
  };
  return {kernel(call.kq_before), kernel(call.kq_after), typed(call.heads_before),
          typed(call.heads_after)};
}

inline const float* read(const at::Tensor& t) {
  return t.defined() ? t.const_data_ptr<float>() : nullptr;
}
inline float* write(const at::Tensor& t) {
  return t.defined() ? t.mutable_data_ptr<float>() : nullptr;
}

inline kernels::Convolution convolution(const std::optional<KqConvolution>& kq,
                                        const at::Tensor& kernel, const at::Tensor& gradient = {}) {
  if (!kq) return {};
  return {.kernel = read(kernel),
          .gradient = write(gradient),
          .query_span = static_cast<int>(kq->kernel.size(1)),
          .key_span = static_cast<int>(kq->kernel.size(2)),
          .pad_left = static_cast<int>(kq->pad_left)};
}

inline kernels::Mixing mixing(const at::Tensor& weight, const at::Tensor& gradient = {}) {
  if (!weight.defined()) return {};
  return {.weight = read(weight),
          .gradient = write(gradient),
          .group = static_cast<int>(weight.size(1))};
}

inline kernels::ElementType element_type(const at::Tensor& t) {
  return t.scalar_type() == at::kHalf ? kernels::ElementType::Float16
                                      : kernels::ElementType::BFloat16;
}

/// Scores are scaled by 1 / sqrt(d).
inline float score_scale(const at::Tensor& q) {
  return static_cast<float>(1 / std::sqrt(static_cast<double>(q.size(3))));
}

inline kernels::Causality causality_of(const AttentionCall& call) {
  const bool exact = call.kq_before && call.kq_before->causality == Causality::Exact;
  return exact ? kernels::Causality::Exact : kernels::Causality::Double;
}

}  // namespace mta::ops::cuda
