// The dropout decisions of the fused kernels, written out: what a composed path multiplies with.
#pragma once

#include "lib/kernels/attention.h"
#include "lib/kernels/params.h"
#include "lib/kernels/status.h"

#include <cstdint>

namespace mta::kernels {

struct DropoutMask {
  std::int64_t maps = 0;       ///< B x H
  std::int64_t first_row = 0;  ///< position of the first row in the square map
  std::int64_t rows = 0, keys = 0;
  std::uint8_t* keep =
      nullptr;  ///< written: [maps, rows, keys], 1 where the weight is kept, else 0
};

/// Queues the mask of `dropout` on `stream`; `dropout.step` is read when the work runs. Entry (map,
/// r, j) is the decision that `forward` and `backward` take for row first_row + r: see dropout.h.
Status dropout_mask(const Dropout& dropout, const DropoutMask& mask, Stream stream);

}  // namespace mta::kernels
