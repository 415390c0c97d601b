// Instantiates the convolution with the mixing after it for key windows of up to 2 blocks, forward.
#include "lib/kernels/convolved_mixing_walk.cuh"

template void mta::kernels::ConvolvedMixingKernels<2>::before(const ConvolvedMixingArgs&,
                                                              cudaStream_t);
template void mta::kernels::ConvolvedMixingKernels<2>::after(const ConvolvedMixingArgs&,
                                                             ElementType, cudaStream_t);
