// One attention problem with its numbers: drawn at random, shared by the CPU and the CUDA kernel
// tests.
#pragma once

#include "lib/kernels/params.h"
#include "lib/kernels/tiled_reference.h"

#include <cstdint>
#include <random>
#include <string>
#include <vector>

namespace mta::check {

/// Owns the weights that `problem` points to. Copies would leave the pointers behind, so it only
/// moves.
struct KernelCase {
  kernels::Problem problem;
  std::vector<float> conv_before, conv_after, mix_before, mix_after;
  kernels::ReferenceInputs inputs;
  std::size_t forward_budget = 0, backward_budget = 0;  // 0: the smallest chunks

  KernelCase() = default;
  KernelCase(KernelCase&&) = default;
  KernelCase& operator=(KernelCase&&) = default;
  KernelCase(const KernelCase&) = delete;
  KernelCase& operator=(const KernelCase&) = delete;
};

using Generator = std::mt19937_64;

/// Uniform in [low, high].
int between(Generator& generator, int low, int high);

struct CaseLimits {
  int max_tokens = 150, max_heads = 6, max_batch = 3;
  std::vector<int> head_dims = {32};
};

/// Any combination of stages, spans, paddings, groups and lengths inside the limits; spans often
/// exceed the length.
KernelCase random_case(Generator& generator, const CaseLimits& limits);

/// Fills weights and inputs for the shape in `kernel_case.problem`, whose stages are on where a
/// span or group is given
/// (`query_span` 0 or `group` 0: the stage is off).
void fill(KernelCase& kernel_case, Generator& generator);

/// "B2 H4 T37 d32 before 6x11+5 mix 2 exact after ...".
std::string describe(const kernels::Problem& problem);

}  // namespace mta::check
