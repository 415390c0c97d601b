// 16-bit number pairs, and how lanes lie in the fragments of the matrix unit.
#pragma once

#include "lib/kernels/ptx.cuh"

namespace mta::kernels {

struct Lane {
  int g, q;
};
__device__ inline Lane lane_place() {
  const int lane = static_cast<int>(threadIdx.x) % kWarp;
  return {lane / 4, lane % 4};
}

/// This lane's number, made where it stands (in_register).
__device__ inline int own_lane() {
  return static_cast<int>(static_cast<unsigned>(in_register(static_cast<int>(threadIdx.x))) %
                          kWarp);
}

__device__ inline Lane own_place() {
  const int lane = own_lane();
  return {lane / 4, lane % 4};
}

__device__ inline __half2 word_as_half2(Word word) {
  __half2 pair;
  *reinterpret_cast<Word*>(&pair) = word;
  return pair;
}

constexpr Word kMinusInfinity = 0xFC00FC00u;  // twice, in fp16

/// The larger of each half of two words of fp16 numbers.
__device__ inline Word larger_halves(Word x, Word y) {
  const __half2 pair = __hmax2(word_as_half2(x), word_as_half2(y));
  return *reinterpret_cast<const Word*>(&pair);
}

template <class E>
__device__ float2 unpack(Word word);
template <>
__device__ inline float2 unpack<Half>(Word word) {
  return __half22float2(word_as_half2(word));
}
template <>
__device__ inline float2 unpack<Brain>(Word word) {
  return {__uint_as_float(word << 16), __uint_as_float(word & 0xFFFF0000u)};
}

template <class From, class To>
__device__ inline Word convert(Word word) {
  const float2 pair = unpack<From>(word);
  return pack<To>(pair.x, pair.y);
}
template <>
__device__ inline Word convert<Half, Half>(Word word) {
  return word;
}
template <>
__device__ inline Word convert<Brain, Brain>(Word word) {
  return word;
}

/// The four blocks of a 16x16 square in the order (top left), (bottom left), (top right), (bottom
/// right): the address that this lane gives, as an offset into rows of `pitch` numbers.
__device__ inline int square_offset(int pitch) {
  const int lane = static_cast<int>(threadIdx.x) % kWarp;
  return (lane % 16) * pitch + lane / 16 * 8;
}
/// The same in the order (top left), (top right), (bottom left), (bottom right).
__device__ inline int square_offset_by_row(int pitch) {
  const int lane = static_cast<int>(threadIdx.x) % kWarp;
  return (lane % 8 + lane / 16 * 8) * pitch + lane / 8 % 2 * 8;
}

/// Sum or maximum over the four lanes of a quad: they share fragment row g.
__device__ inline float quad_sum(float x) {
  x += __shfl_xor_sync(0xFFFFFFFFu, x, 1);
  return x + __shfl_xor_sync(0xFFFFFFFFu, x, 2);
}
__device__ inline float quad_max(float x) {
  x = fmaxf(x, __shfl_xor_sync(0xFFFFFFFFu, x, 1));
  return fmaxf(x, __shfl_xor_sync(0xFFFFFFFFu, x, 2));
}

}  // namespace mta::kernels
