// The contract of AdamW's CUDA kernels: plain pointers; all tensors at once, clipped by their norm.
//
// LibTorch's fused operator gives each block 65536 values, which leaves most of a GPU idle for a
// small model; here it is 4096, and the norm and the update are two launches.
#pragma once

#include <cstdint>

struct CUstream_st;  // what cudaStream_t points to

namespace mta::train::cuda {

using Stream = CUstream_st*;

/// A parameter of `count` fp32 values with its gradient and moments. Pointers are 16-byte aligned.
/// Where `rounded` is there, the gradient is bf16, too, and the new value is written to it as well.
struct AdamTensor {
  float* parameter = nullptr;
  const void* gradient = nullptr;  // fp32 or bf16
  float* exp_avg = nullptr;
  float* exp_avg_sq = nullptr;
  void* rounded = nullptr;  // bf16, or null
  std::int64_t count = 0;
};

/// What all values of an update share; root_correction is 1 / sqrt(1 - beta2^step).
struct AdamFactors {
  float norm, gradient, decay, rate, root_correction;
};

struct AdamW {
  const AdamTensor* tensors = nullptr;  // on the host, read during the call
  int tensor_count = 0;
  const float* rate = nullptr;     // on the device, as all that follows
  const float* step = nullptr;     // updates with this one
  float* partials = nullptr;       // [adamw_partials()], scratch
  int* blocks_done = nullptr;      // 0 before a call and after it
  AdamFactors* factors = nullptr;  // scratch
  float* norm = nullptr;           // written: of all gradients together, before clipping
  float beta1 = 0, beta2 = 0, eps = 0, weight_decay = 0;
  float clip = 0;  // largest norm; 0 is off
};

/// Values of `partials` that a call needs.
std::int64_t adamw_partials(const AdamTensor* tensors, int tensor_count);

/// Updates all parameters as AdamW (ICLR 2019, algorithm 2) does, or none where the norm is not
/// finite. Sums in a fixed order. Null when launched, else CUDA's reason.
const char* adamw(const AdamW& call, Stream stream);

}  // namespace mta::train::cuda
