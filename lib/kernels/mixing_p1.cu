// Instantiates head mixing for groups that span 1 blocks of 16 heads.
#include "lib/kernels/head_mixing_backward.cuh"

template struct mta::kernels::MixingKernels<1>;
