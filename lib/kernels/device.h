// What the current device offers the kernels.
#pragma once

#include "lib/kernels/support.h"

namespace mta::kernels {

/// Of the thread's current CUDA device. Cheap enough to ask at every call; all zero where there is
/// no device.
Device current_device();

}  // namespace mta::kernels
