// Sets LibTorch's switches.
#include "lib/ops/precision.h"

#include <ATen/Context.h>

namespace mta::ops {

void use_full_float32() {
  using at::Float32Backend, at::Float32Op, at::Float32Precision;
  for (const Float32Op op : {Float32Op::CONV, Float32Op::MATMUL, Float32Op::RNN}) {
    at::globalContext().setFloat32Precision(Float32Backend::CUDA, op, Float32Precision::IEEE);
  }
}

}  // namespace mta::ops
