// Instantiates the backward in one pass for head size 96.
#include "lib/kernels/one_pass_backward.cuh"

template struct mta::kernels::OnePassBackward<96>;
