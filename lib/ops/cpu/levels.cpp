// Chooses an instruction set at run time.
#include "lib/ops/cpu/levels.h"

namespace mta::ops::cpu {

std::vector<SimdLevel> simd_levels() {
  std::vector<SimdLevel> levels = {SimdLevel::Baseline};
#ifdef MTA_X86_LEVELS
  if (__builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma")) {
    levels.push_back(SimdLevel::Avx2);
    if (__builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512dq") &&
        __builtin_cpu_supports("avx512bw") && __builtin_cpu_supports("avx512vl")) {
      levels.push_back(SimdLevel::Avx512);
    }
  }
#endif
  return levels;
}

namespace {

template <class T>
struct Tables;
template <>
struct Tables<float> {
  static const Kernels<float>& baseline() { return baseline::float_kernels(); }
#ifdef MTA_X86_LEVELS
  static const Kernels<float>& avx2() { return avx2::float_kernels(); }
  static const Kernels<float>& avx512() { return avx512::float_kernels(); }
#endif
};
template <>
struct Tables<double> {
  static const Kernels<double>& baseline() { return baseline::double_kernels(); }
#ifdef MTA_X86_LEVELS
  static const Kernels<double>& avx2() { return avx2::double_kernels(); }
  static const Kernels<double>& avx512() { return avx512::double_kernels(); }
#endif
};

}  // namespace

template <class T>
const Kernels<T>& kernels([[maybe_unused]] SimdLevel level) {
#ifdef MTA_X86_LEVELS
  if (level == SimdLevel::Avx512) return Tables<T>::avx512();
  if (level == SimdLevel::Avx2) return Tables<T>::avx2();
#endif
  return Tables<T>::baseline();
}

template const Kernels<float>& kernels(SimdLevel);
template const Kernels<double>& kernels(SimdLevel);

}  // namespace mta::ops::cpu
