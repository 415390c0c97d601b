// Instantiates the convolution with the mixing after it for windows of up to 3 blocks, backward.
#include "lib/kernels/convolved_mixing_backward_walk.cuh"

template void mta::kernels::ConvolvedMixingKernels<3>::after_backward(const ConvolvedMixingArgs&,
                                                                      ElementType, cudaStream_t);
