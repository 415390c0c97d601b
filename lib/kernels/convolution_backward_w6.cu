// Instantiates the kq convolution for key windows of up to 6 blocks of 8 columns, backward.
#include "lib/kernels/kq_convolution_backward.cuh"

template void mta::kernels::ConvolutionKernels<6>::backward(MapKind, const ConvolutionBackwardArgs&,
                                                            ElementType, cudaStream_t);
