// From a Dropout to the numbers that the kernels take.
#pragma once

#include "lib/ops/attention.h"
#include "lib/ops/cpu/call.h"

namespace mta::ops {

/// A threshold of 0 (rate 0) is off.
cpu::DropoutKey dropout_key(const Dropout& dropout);

}  // namespace mta::ops
