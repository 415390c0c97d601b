// Instantiates the backward in one pass for head size 128.
#include "lib/kernels/one_pass_backward.cuh"

template struct mta::kernels::OnePassBackward<128>;
