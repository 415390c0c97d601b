// Single instructions of the device: thin wrappers around PTX, and all of it that the chain uses.
//
// Fragments of mma.m16n8k16 for lane = 4 g + q:
//   A [16, 16]: a0 = (g, 2q..2q+1), a1 = (g+8, 2q..), a2 = (g, 2q+8..), a3 = (g+8, 2q+8..)
//   B [16, 8]:  b0 = (2q..2q+1, g), b1 = (2q+8.., g)
//   C [16, 8]:  c0, c1 = (g, 2q..2q+1), c2, c3 = (g+8, 2q..2q+1)
#pragma once

#include "lib/kernels/words.cuh"

namespace mta::kernels {

template <class E>
__device__ Word pack(float low, float high);
template <>
__device__ inline Word pack<Half>(float low, float high) {
  Word word;
  asm("cvt.rn.f16x2.f32 %0, %1, %2;" : "=r"(word) : "f"(high), "f"(low));
  return word;
}
template <>
__device__ inline Word pack<Brain>(float low, float high) {
  Word word;
  asm("cvt.rn.bf16x2.f32 %0, %1, %2;" : "=r"(word) : "f"(high), "f"(low));
  return word;
}

template <class E>
__device__ void mma_k16(float (&c)[4], Word a0, Word a1, Word a2, Word a3, Word b0, Word b1);
template <class E>
__device__ void mma_k8(float (&c)[4], Word a0, Word a1, Word b0);

#define MTA_MMA(E, TYPE)                                                                       \
  template <>                                                                                  \
  __device__ inline void mma_k16<E>(float(&c)[4], Word a0, Word a1, Word a2, Word a3, Word b0, \
                                    Word b1) {                                                 \
    asm("mma.sync.aligned.m16n8k16.row.col.f32." TYPE "." TYPE                                 \
        ".f32 {%0,%1,%2,%3}, {%4,%5,%6,%7}, {%8,%9}, {%0,%1,%2,%3};"                           \
        : "+f"(c[0]), "+f"(c[1]), "+f"(c[2]), "+f"(c[3])                                       \
        : "r"(a0), "r"(a1), "r"(a2), "r"(a3), "r"(b0), "r"(b1));                               \
  }                                                                                            \
  template <>                                                                                  \
  __device__ inline void mma_k8<E>(float(&c)[4], Word a0, Word a1, Word b0) {                  \
    asm("mma.sync.aligned.m16n8k8.row.col.f32." TYPE "." TYPE                                  \
        ".f32 {%0,%1,%2,%3}, {%4,%5}, {%6}, {%0,%1,%2,%3};"                                    \
        : "+f"(c[0]), "+f"(c[1]), "+f"(c[2]), "+f"(c[3])                                       \
        : "r"(a0), "r"(a1), "r"(b0));                                                          \
  }
MTA_MMA(Half, "f16")
MTA_MMA(Brain, "bf16")
#undef MTA_MMA

__device__ inline unsigned shared_address(const void* pointer) {
  return static_cast<unsigned>(__cvta_generic_to_shared(pointer));
}

/// Four 8x8 blocks; lanes 8n..8n+7 give the row addresses of block n. Lane (g, q) gets row g,
/// columns 2q..2q+1.
__device__ inline void load_blocks(Word (&r)[4], unsigned row) {
  asm volatile("ldmatrix.sync.aligned.m8n8.x4.shared.b16 {%0,%1,%2,%3}, [%4];"
               : "=r"(r[0]), "=r"(r[1]), "=r"(r[2]), "=r"(r[3])
               : "r"(row)
               : "memory");
}
/// The same, transposed: lane (g, q) gets rows 2q..2q+1 of column g.
__device__ inline void load_blocks_transposed(Word (&r)[4], unsigned row) {
  asm volatile("ldmatrix.sync.aligned.m8n8.x4.trans.shared.b16 {%0,%1,%2,%3}, [%4];"
               : "=r"(r[0]), "=r"(r[1]), "=r"(r[2]), "=r"(r[3])
               : "r"(row)
               : "memory");
}
__device__ inline void load_blocks(Word (&r)[4], const Number* row) {
  load_blocks(r, shared_address(row));
}
__device__ inline void load_blocks_transposed(Word (&r)[4], const Number* row) {
  load_blocks_transposed(r, shared_address(row));
}
/// Stores 16 bytes to device memory as one: words that were made one by one the compiler may also
/// store so.
__device__ inline void store_piece(Number* target, const uint4& x) {
  asm volatile("st.global.v4.u32 [%0], {%1,%2,%3,%4};" ::"l"(target), "r"(x.x), "r"(x.y), "r"(x.z),
               "r"(x.w)
               : "memory");
}
/// Copies 16 bytes to shared memory without waiting; zeros when not `valid` (the source must still
/// be an address).
__device__ inline void copy_async(Number* target, const Number* source, bool valid) {
  asm volatile("cp.async.cg.shared.global [%0], [%1], 16, %2;" ::"r"(shared_address(target)),
               "l"(source), "r"(valid ? 16 : 0)
               : "memory");
}
/// A place in shared memory whose address stays in a register: made from a pointer it would be made
/// again in each pass of a loop. Offsets are bytes.
class SharedPlace {
 public:
  __device__ explicit SharedPlace(const void* pointer) : address_(shared_address(pointer)) {
    asm volatile("" : "+r"(address_));
  }
  __device__ void copy_async(int offset, const Number* source, bool valid) const {
    asm volatile("cp.async.cg.shared.global [%0], [%1], 16, %2;" ::"r"(address_ + offset),
                 "l"(source), "r"(valid ? 16 : 0)
                 : "memory");
  }
  /// The place whose address differs in the bits `bits`.
  __device__ SharedPlace operator^(unsigned bits) const {
    SharedPlace other = *this;
    other.address_ ^= bits;
    return other;
  }
  /// The place `bytes` further, and a step there.
  __device__ SharedPlace operator+(int bytes) const {
    SharedPlace other = *this;
    return other += bytes;
  }
  __device__ SharedPlace& operator+=(int bytes) {
    address_ += static_cast<unsigned>(bytes);
    return *this;
  }
  /// 16 bytes, `offset` bytes further.
  __device__ uint4 load(int offset) const {
    uint4 x;
    asm volatile("ld.shared.v4.u32 {%0,%1,%2,%3}, [%4];"
                 : "=r"(x.x), "=r"(x.y), "=r"(x.z), "=r"(x.w)
                 : "r"(address_ + offset)
                 : "memory");
    return x;
  }
  __device__ void store(int offset, const uint4& x) const {
    asm volatile("st.shared.v4.u32 [%0], {%1,%2,%3,%4};" ::"r"(address_ + offset), "r"(x.x),
                 "r"(x.y), "r"(x.z), "r"(x.w)
                 : "memory");
  }
  __device__ Word load_word(int offset) const {
    Word x;
    asm volatile("ld.shared.u32 %0, [%1];" : "=r"(x) : "r"(address_ + offset) : "memory");
    return x;
  }
  __device__ void store_word(int offset, Word x) const {
    asm volatile("st.shared.u32 [%0], %1;" ::"r"(address_ + offset), "r"(x) : "memory");
  }
  /// As the functions of these names, `offset` bytes further.
  __device__ void load_blocks(Word (&r)[4], int offset) const {
    kernels::load_blocks(r, address_ + offset);
  }
  __device__ void load_blocks_transposed(Word (&r)[4], int offset) const {
    kernels::load_blocks_transposed(r, address_ + offset);
  }
  /// Two blocks only, by lanes 0..15.
  __device__ void load_two_blocks_transposed(Word (&r)[2], int offset) const {
    asm volatile("ldmatrix.sync.aligned.m8n8.x2.trans.shared.b16 {%0,%1}, [%2];"
                 : "=r"(r[0]), "=r"(r[1])
                 : "r"(address_ + offset)
                 : "memory");
  }

 private:
  unsigned address_;
};

__device__ inline void commit_copies() { asm volatile("cp.async.commit_group;" ::: "memory"); }
/// Waits until at most `kPending` of the latest groups are still under way.
template <int kPending>
__device__ inline void wait_for_copies() {
  asm volatile("cp.async.wait_group %0;" ::"n"(kPending) : "memory");
}

/// 2^x; the hardware's approximation, relative error under 2^-22.
__device__ inline float exp2_fast(float x) {
  float y;
  asm("ex2.approx.ftz.f32 %0, %1;" : "=f"(y) : "f"(x));
  return y;
}

}  // namespace mta::kernels
