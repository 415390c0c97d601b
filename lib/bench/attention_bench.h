// Times fused attention against composed attention and standard attention, in one process.
#pragma once

#include "lib/bench/attention_cases.h"
#include "lib/core/json.h"

#include <cstddef>
#include <string>
#include <vector>

namespace mta {

struct AttentionBench {
  std::vector<AttentionCase> cases;
  std::size_t turns = 15;
  std::string device = "auto";
  std::int64_t threads = 0;  // of the CPU; 0 = all
  std::vector<std::string> command_line;
};

/// From q, k and v to O = A v, forward, and forward with backward, in bfloat16 on a GPU and float
/// on a CPU. For each case and path: times, operations and bytes by formula (lib/kernels/cost.h)
/// and their share of what the device was measured to do just before, memory, and the error against
/// double in a smaller copy of the case; for the fused path on a GPU also whose launch plan it took
/// and the time of each stage beside its floor (attention_stages.h). "standard" is LibTorch's
/// scaled_dot_product_attention of the same q, k and v, without the case's stages. Report of schema
/// mta.bench/1.
Json bench_attention(const AttentionBench& bench);

/// Built-in cases that a CPU computes in seconds.
bool fits_a_cpu(const AttentionCase& one);

}  // namespace mta
