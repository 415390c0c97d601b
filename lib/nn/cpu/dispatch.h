// When the CPU kernels cover a call, and how their work is shared among threads.
#pragma once

#include <ATen/Parallel.h>
#include <ATen/core/Tensor.h>

#include <cstdint>

namespace mta::nn::cpu {

/// True when all tensors are on the CPU and of one type, float or double.
inline bool covers(at::TensorList tensors) {
  const auto type = tensors.front().scalar_type();
  if (type != at::kFloat && type != at::kDouble) return false;
  for (const at::Tensor& tensor : tensors) {
    if (!tensor.is_cpu() || tensor.scalar_type() != type) return false;
  }
  return true;
}

/// Calls f(begin, end) for parts of [0, count), of which each costs about `values` memory accesses.
template <class F>
void share(std::int64_t count, std::int64_t values, const F& f) {
  constexpr std::int64_t kValuesATask = 1 << 15;  // some 10 us, above the cost of waking a thread
  at::parallel_for(0, count, kValuesATask / values + 1, f);
}

/// Calls f with a value of the C++ type that `type` stands for.
template <class F>
auto with_type(at::ScalarType type, const F& f) {
  return type == at::kDouble ? f(double{}) : f(float{});
}

}  // namespace mta::nn::cpu
