// Marks functions that the CPU twin and the kernels share.
#pragma once

#ifdef __CUDACC__
#define MTA_HOST_DEVICE __host__ __device__
#else
#define MTA_HOST_DEVICE
#endif
