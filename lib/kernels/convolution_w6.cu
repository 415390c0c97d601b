// Instantiates the kq convolution for key windows of up to 6 blocks of 8 columns, forward.
#include "lib/kernels/kq_convolution.cuh"

template void mta::kernels::ConvolutionKernels<6>::forward(MapKind, const ConvolutionArgs&,
                                                           cudaStream_t);
