// Instantiates the products for head size 32.
#include "lib/kernels/products.cuh"

template struct mta::kernels::Products<32>;
