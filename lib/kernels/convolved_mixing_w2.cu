// Instantiates the convolution with the mixing after it for key windows of up to 2 blocks.
#include "lib/kernels/convolved_mixing.cuh"

template struct mta::kernels::ConvolvedMixingKernels<2>;
