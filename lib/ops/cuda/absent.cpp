// The GPU's functions in a build without CUDA: they say so.
#include "lib/ops/cuda/dropout.h"

#include <c10/util/Exception.h>

namespace mta::ops::cuda {

at::Tensor keep_mask(const Dropout& /*dropout*/, at::Device device, const MaskShape& /*shape*/) {
  TORCH_CHECK(false, "dropout on ", device, ": this build is without CUDA");
}

double kept_scale(const Dropout& dropout) { return 1 / (1 - dropout.rate); }

}  // namespace mta::ops::cuda
