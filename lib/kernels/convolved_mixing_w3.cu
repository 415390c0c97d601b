// Instantiates the convolution with the mixing after it for key windows of up to 3 blocks, forward.
#include "lib/kernels/convolved_mixing_walk.cuh"

template void mta::kernels::ConvolvedMixingKernels<3>::before(const ConvolvedMixingArgs&,
                                                              cudaStream_t);
template void mta::kernels::ConvolvedMixingKernels<3>::after(const ConvolvedMixingArgs&,
                                                             ElementType, cudaStream_t);
