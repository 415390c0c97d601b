// Instantiates head mixing for groups within one block of 16 heads.
#include "lib/kernels/mix_before_backward.cuh"

namespace mta::kernels {
template void MixingKernels<1>::before(const MixingArgs&, cudaStream_t);
template void MixingKernels<1>::after(const MixingArgs&, ElementType, cudaStream_t);
template void MixingKernels<1>::after_backward(const MixingArgs&, ElementType, cudaStream_t);
}  // namespace mta::kernels
