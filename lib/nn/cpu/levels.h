// The tables that the instruction sets' objects define.
#pragma once

#include "lib/nn/cpu/kernels.h"

#define MTA_DECLARE_LEVEL(name)            \
  namespace mta::nn::cpu::name {           \
  const Kernels<float>& float_kernels();   \
  const Kernels<double>& double_kernels(); \
  }
MTA_DECLARE_LEVEL(baseline)
MTA_DECLARE_LEVEL(avx2)
MTA_DECLARE_LEVEL(avx512)
#undef MTA_DECLARE_LEVEL
