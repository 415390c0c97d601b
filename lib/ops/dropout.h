// From a Dropout to the numbers that the kernels take.
#pragma once

#include "lib/ops/attention.h"
#include "lib/ops/cpu/call.h"

namespace mta::ops {

/// A threshold of 0 (rate 0) is off. `step` must be on the CPU, if there is one.
cpu::DropoutKey dropout_key(const Dropout& dropout);

/// Throws unless `step` is absent or as Dropout asks for, on `device`.
void check_step(const Dropout& dropout, at::Device device);

}  // namespace mta::ops
