// Instantiates the backward in one pass for head size 32.
#include "lib/kernels/one_pass_backward.cuh"

template struct mta::kernels::OnePassBackward<32>;
