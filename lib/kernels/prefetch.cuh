// Asking for memory ahead of its use.
#pragma once

namespace mta::kernels {

/// Brings the line of an address into the second-level cache, without waiting.
__device__ inline void prefetch(const void* address) {
  asm volatile("prefetch.global.L2 [%0];" ::"l"(address));
}

}  // namespace mta::kernels
