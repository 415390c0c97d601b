// Chooses an instruction set at run time.
#include "lib/nn/cpu/levels.h"

namespace mta::nn::cpu {
namespace {

ops::cpu::SimdLevel widest() {
  static const ops::cpu::SimdLevel level = ops::cpu::simd_levels().back();
  return level;
}

}  // namespace

template <>
const Kernels<float>& kernels() {
  switch (widest()) {
#ifdef MTA_X86_LEVELS
    case ops::cpu::SimdLevel::Avx512:
      return avx512::float_kernels();
    case ops::cpu::SimdLevel::Avx2:
      return avx2::float_kernels();
#endif
    default:
      return baseline::float_kernels();
  }
}

template <>
const Kernels<double>& kernels() {
  switch (widest()) {
#ifdef MTA_X86_LEVELS
    case ops::cpu::SimdLevel::Avx512:
      return avx512::double_kernels();
    case ops::cpu::SimdLevel::Avx2:
      return avx2::double_kernels();
#endif
    default:
      return baseline::double_kernels();
  }
}

}  // namespace mta::nn::cpu
