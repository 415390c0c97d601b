// The fused CPU attention at a chosen instruction set, for tests and benchmarks; everybody else
// calls attention.h.
#pragma once

#include "lib/ops/attention.h"
#include "lib/ops/backend.h"
#include "lib/ops/cpu/call.h"

namespace mta::ops {

const Backend& cpu_backend(cpu::SimdLevel level);

at::Tensor attention_cpu_at(cpu::SimdLevel level, const AttentionCall& call);

at::Tensor dropout_mask_at(cpu::SimdLevel level, const Dropout& dropout, std::int64_t batch,
                           std::int64_t heads, std::int64_t first_row, std::int64_t rows,
                           std::int64_t keys, at::ScalarType dtype);

}  // namespace mta::ops
