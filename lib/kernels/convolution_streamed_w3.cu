// Instantiates the streamed gradients of the kq convolution for key windows of up to 3 blocks.
#include "lib/kernels/kq_convolution_streamed.cuh"

template void mta::kernels::StreamedConvolution<3>::backward(MapKind,
                                                             const ConvolutionBackwardArgs&,
                                                             ElementType, cudaStream_t);
