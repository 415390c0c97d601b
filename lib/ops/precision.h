// What float32 means on a GPU.
#pragma once

namespace mta::ops {

/// Makes float32 products and convolutions on GPUs exact to float32, for the whole process:
/// LibTorch lets cuDNN round their factors to 10 bits (TF32) until it is told otherwise.
void use_full_float32();

}  // namespace mta::ops
