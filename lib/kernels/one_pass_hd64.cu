// Instantiates the forward in one pass for head size 64.
#include "lib/kernels/one_pass_forward.cuh"

template struct mta::kernels::OnePass<64>;
