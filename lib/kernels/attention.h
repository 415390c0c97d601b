// The two calls of the kernel library. Nothing here allocates, synchronises, prints or throws.
#pragma once

#include "lib/kernels/params.h"
#include "lib/kernels/status.h"

struct CUstream_st;

namespace mta::kernels {

using Stream = CUstream_st*;  ///< cudaStream_t, named here so that callers need no CUDA header

/// Writes o and lse. Work is queued on `stream`; `params.workspace` must live until it is done, and
/// its size decides how the work is chunked (forward_workspace_bytes). Same inputs and workspace
/// size: the same bits, run after run. Limits: |score| and |score after the stages before softmax|
/// below 65504, the largest fp16 number.
Status forward(const ForwardParams& params, Stream stream);

/// Writes d_q, d_k, d_v and the gradients of all kernels and mixings that are on, from the saved q,
/// k, v, lse and, where given, o. Everything else is computed again. Size of the workspace:
/// backward_workspace_bytes.
Status backward(const BackwardParams& params, Stream stream);

}  // namespace mta::kernels
