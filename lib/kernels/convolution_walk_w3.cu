// Instantiates the kq convolution that walks down rows for key windows of up to 3 blocks, forward.
#include "lib/kernels/kq_convolution_walk.cuh"

template void mta::kernels::StreamedConvolution<3>::forward(MapKind, const ConvolutionArgs&,
                                                            cudaStream_t);
