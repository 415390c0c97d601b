// Words of two 16-bit numbers, the names of their types, and numbers that are made anew.
#pragma once

#include <cuda_bf16.h>
#include <cuda_fp16.h>

#include <cstddef>
#include <cstdint>

namespace mta::kernels {

using Word = std::uint32_t;    // two 16-bit numbers, the lower key in the low half
using Number = std::uint16_t;  // one fp16 or bf16 number in memory
using Half = __half;
using Brain = __nv_bfloat16;

constexpr int kWarp = 32;

/// `x`, made where it stands: neither it nor what follows from it is kept in registers from before
/// a loop.
__device__ inline int in_register(int x) {
  asm volatile("" : "+r"(x));
  return x;
}

__device__ inline std::ptrdiff_t in_register(std::ptrdiff_t x) {
  asm volatile("" : "+l"(x));
  return x;
}

/// `x` as one number that is kept: the compiler neither makes it again nor takes it apart.
template <class Value>
__device__ inline Value* in_register(Value* x) {
  asm volatile("" : "+l"(x));
  return x;
}

}  // namespace mta::kernels
