// Instantiates the products for head size 96.
#include "lib/kernels/products.cuh"

template struct mta::kernels::Products<96>;
