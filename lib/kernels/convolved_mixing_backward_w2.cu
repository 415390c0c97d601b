// Instantiates the convolution with the mixing after it for windows of up to 2 blocks, backward.
#include "lib/kernels/convolved_mixing_backward_walk.cuh"

template void mta::kernels::ConvolvedMixingKernels<2>::after_backward(const ConvolvedMixingArgs&,
                                                                      ElementType, cudaStream_t);
