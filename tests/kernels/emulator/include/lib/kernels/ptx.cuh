// Stands in for lib/kernels/ptx.cuh: the same instructions on the CPU.
#pragma once

#include "lib/kernels/words.cuh"
#include "tests/kernels/emulator/block.h"

namespace mta::kernels {

template <class E>
Word pack(float low, float high);
template <>
inline Word pack<Half>(float low, float high) {
  const __half2 pair = __floats2half2_rn(low, high);
  Word word;
  std::memcpy(&word, &pair, sizeof(word));
  return word;
}
template <>
inline Word pack<Brain>(float low, float high) {
  const __nv_bfloat162 pair = __floats2bfloat162_rn(low, high);
  Word word;
  std::memcpy(&word, &pair, sizeof(word));
  return word;
}

/// C += A B for fragments of 16 x depth and depth x 8, depth 8 or 16; `brain`: bf16, else fp16.
struct Product {
  float (*c)[4];
  Word a[4], b[2];
};
void multiply(Product* mine, int depth, bool brain);

template <class E>
void mma_k16(float (&c)[4], Word a0, Word a1, Word a2, Word a3, Word b0, Word b1) {
  Product mine = {&c, {a0, a1, a2, a3}, {b0, b1}};
  multiply(&mine, 16, std::is_same_v<E, Brain>);
}
template <class E>
void mma_k8(float (&c)[4], Word a0, Word a1, Word b0) {
  Product mine = {&c, {a0, a1, 0, 0}, {b0, 0}};
  multiply(&mine, 8, std::is_same_v<E, Brain>);
}

void load_blocks(Word (&r)[4], const Number* row);
void load_blocks_transposed(Word (&r)[4], const Number* row);
void load_two_blocks_transposed(Word (&r)[2], const Number* row);

inline void store_piece(Number* target, const uint4& x) { *reinterpret_cast<uint4*>(target) = x; }

void copy_async(Number* target, const Number* source, bool valid);
class SharedPlace {
 public:
  explicit SharedPlace(const void* pointer)
      : bytes_(static_cast<std::byte*>(const_cast<void*>(pointer))) {}
  void copy_async(int offset, const Number* source, bool valid) const {
    kernels::copy_async(reinterpret_cast<Number*>(bytes_ + offset), source, valid);
  }
  SharedPlace operator^(unsigned bits) const {
    const auto address = reinterpret_cast<std::uintptr_t>(bytes_);
    return SharedPlace(bytes_ + static_cast<std::ptrdiff_t>((address ^ bits) - address));
  }
  SharedPlace operator+(int bytes) const { return SharedPlace(bytes_ + bytes); }
  SharedPlace& operator+=(int bytes) { return bytes_ += bytes, *this; }
  uint4 load(int offset) const { return *reinterpret_cast<const uint4*>(bytes_ + offset); }
  void store(int offset, const uint4& x) const { *reinterpret_cast<uint4*>(bytes_ + offset) = x; }
  Word load_word(int offset) const { return *reinterpret_cast<const Word*>(bytes_ + offset); }
  void store_word(int offset, Word x) const { *reinterpret_cast<Word*>(bytes_ + offset) = x; }
  void load_blocks(Word (&r)[4], int offset) const { kernels::load_blocks(r, numbers(offset)); }
  void load_blocks_transposed(Word (&r)[4], int offset) const {
    kernels::load_blocks_transposed(r, numbers(offset));
  }
  void load_two_blocks_transposed(Word (&r)[2], int offset) const {
    kernels::load_two_blocks_transposed(r, numbers(offset));
  }

 private:
  const Number* numbers(int offset) const {
    return reinterpret_cast<const Number*>(bytes_ + offset);
  }

  std::byte* bytes_;
};

inline void commit_copies() { emulator::close_copy_group(); }
template <int kPending>
void wait_for_copies() {
  emulator::finish_copies(kPending);
}

inline float exp2_fast(float x) { return std::exp2(x); }

}  // namespace mta::kernels
