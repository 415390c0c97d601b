// Instantiates the products for head size 128.
#include "lib/kernels/products.cuh"

template struct mta::kernels::Products<128>;
