// Instantiates the kq convolution for key windows of up to 3 blocks of 8 columns, backward.
#include "lib/kernels/kq_convolution_backward.cuh"

template void mta::kernels::ConvolutionKernels<3>::backward(MapKind, const ConvolutionBackwardArgs&,
                                                            ElementType, cudaStream_t);
