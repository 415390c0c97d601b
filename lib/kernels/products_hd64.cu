// Instantiates the products for head size 64.
#include "lib/kernels/products.cuh"

template struct mta::kernels::Products<64>;
