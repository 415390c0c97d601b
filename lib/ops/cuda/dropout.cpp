// From a Dropout to the kernels' numbers, and to a mask on the device.
#include "lib/ops/cuda/dropout.h"

#include "lib/kernels/dropout.h"
#include "lib/kernels/dropout_mask.h"
#include "lib/ops/cuda/queue.h"
#include "lib/ops/dropout.h"

#include <ATen/ops/empty.h>
#include <c10/util/Exception.h>

namespace mta::ops::cuda {

kernels::Dropout kernel_dropout(const Dropout& dropout, at::Device device) {
  TORCH_CHECK(dropout.rate >= 0 && dropout.rate < 1, "dropout rate ", dropout.rate,
              " is not in [0, 1)");
  check_step(dropout, device);
  kernels::Dropout result;
  result.rate = static_cast<float>(dropout.rate);
  result.seed = dropout.seed;
  result.stream = static_cast<std::uint32_t>(dropout.stream);
  if (dropout.step.defined()) {
    result.step = static_cast<const std::uint32_t*>(dropout.step.const_data_ptr());
  }
  return result;
}

at::Tensor keep_mask(const Dropout& dropout, at::Device device, const MaskShape& shape) {
  const Queue queue(device);
  at::Tensor keep = at::empty({shape.batch, shape.heads, shape.rows, shape.keys},
                              at::TensorOptions(device).dtype(at::kBool));
  check_status(kernels::dropout_mask(kernel_dropout(dropout, device),
                                     {.maps = shape.batch * shape.heads,
                                      .first_row = shape.first_row,
                                      .rows = shape.rows,
                                      .keys = shape.keys,
                                      .keep = static_cast<std::uint8_t*>(keep.mutable_data_ptr())},
                                     queue.stream()));
  return keep;
}

double kept_scale(const Dropout& dropout) {
  constexpr double kSteps = 65536;
  return kSteps / (kSteps - kernels::dropout_threshold(static_cast<float>(dropout.rate)));
}

}  // namespace mta::ops::cuda
