// Instantiates head mixing for groups that span 4 blocks of 16 heads.
#include "lib/kernels/head_mixing_backward.cuh"

template struct mta::kernels::MixingKernels<4>;
