// Instantiates the convolution with the mixing after it for key windows of up to 3 blocks.
#include "lib/kernels/convolved_mixing.cuh"

template struct mta::kernels::ConvolvedMixingKernels<3>;
