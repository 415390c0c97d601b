// Tensors as the kernels of this folder take them.
#pragma once

#include "lib/nn/cuda/kernels.h"

#include <ATen/core/Tensor.h>
#include <c10/core/impl/VirtualGuardImpl.h>
#include <c10/util/Exception.h>

#include <cstdint>

namespace mta::nn::cuda {

/// On a GPU, of a type that the kernels compute.
inline bool narrow(const at::Tensor& x) {
  return x.is_cuda() && (x.scalar_type() == at::kFloat || x.scalar_type() == at::kBFloat16);
}

inline bool aligned(const at::Tensor& x) {
  constexpr std::uintptr_t kAlignment = 16;  // bytes
  return reinterpret_cast<std::uintptr_t>(x.const_data_ptr()) % kAlignment == 0;
}

inline Type type_of(const at::Tensor& x) {
  return x.scalar_type() == at::kBFloat16 ? Type::BFloat16 : Type::Float;
}

/// The stream that LibTorch works on, for kernels that are launched by hand.
inline Stream stream_of(const at::Tensor& x) {
  const c10::impl::VirtualGuardImpl guard(at::kCUDA);
  return static_cast<Stream>(guard.getStreamNativeHandle(guard.getStream(x.device())));
}

inline void check(const char* failure, const char* kernel) {
  TORCH_CHECK(failure == nullptr, kernel, ": ", failure);
}

}  // namespace mta::nn::cuda
