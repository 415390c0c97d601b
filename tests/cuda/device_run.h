// Runs a kernel case on the device: rounds its inputs, copies, poisons outputs and workspace,
// calls, copies back. Decoding takes the last rows of a case.
#pragma once

#include "lib/kernels/decode.h"
#include "tests/kernels/dense_reference.h"
#include "tests/kernels/kernel_case.h"

#include <string>
#include <vector>

namespace mta::check {

/// Why there is no usable device; empty if there is one.
std::string no_device();

/// Are the kernels compiled for the CPU (tests/kernels/emulator)?
bool device_is_emulated();

/// Rounding to the case's element type, as memory holds it.
Rounding rounding_of(kernels::ElementType type);

/// Rounds q, k, v and d_o to the case's type, so that reference and kernels read the same numbers.
void round_inputs(KernelCase& kernel_case);

enum class TokenLayout { HeadsFirst, TokensFirst };  // [B, H, T, d] or [B, T, H, d] in memory

struct DeviceOptions {
  TokenLayout layout = TokenLayout::HeadsFirst;
  std::size_t forward_budget = 0, backward_budget = 0;  // of the workspaces; 0: the smallest chunks
  const std::uint32_t* dropout_step = nullptr;          // on the host
  bool gives_output = true;  // o to the backward, which may then take one pass
};

/// Forward and backward; outputs and workspaces hold NaN before. Fails the running test on any
/// status but Ok.
kernels::ReferenceResult run_on_device(const KernelCase& kernel_case, const DeviceOptions& options);

struct DecodeOptions {
  TokenLayout layout = TokenLayout::HeadsFirst;
  int rows = 1;        // new ones, the last of the case's tokens
  int query_rows = 0;  // as kernels::DecodeRows has it: the last queries, or 0: one for each token
  kernels::DecodeOutput output = {};  // weights on the host
  int room = 0;  // 0: the work is cut for the case's tokens. Else for as many, of which those after
                 // the case's are NaN, and the kernels read the length on the device
};

/// The output [B, H, rows, d] of decoding; outputs and workspaces hold NaN before. Fails the
/// running test on any status but Ok.
std::vector<double> decode_on_device(const KernelCase& kernel_case, const DecodeOptions& options);

}  // namespace mta::check
