// exp of a vector: 2^n e^r with |r| <= ln(2) / 2, e^r from a polynomial. Relative error below 2
// units in the last place where the result is a normal number; 0 below that.
#pragma once

#include "lib/ops/cpu/vector.h"

namespace mta::ops::cpu::MTA_SIMD {

template <class T>
struct ExponentialConstants;

template <>
struct ExponentialConstants<float> {
  static constexpr float kLog2E = 1.44269504088896341f;
  // ln 2 in two parts: n times the first has no rounding error for |n| < 2^9.
  static constexpr float kLn2High = 0.693359375f, kLn2Low = -2.12194440e-4f;
  static constexpr float kRounder =
      12582912.0f;                            // 1.5 * 2^23: adding it leaves the nearest integer
  static constexpr float kSmallest = -87.0f;  // e^-87 is still a normal number
  static constexpr int kMantissaBits = 23;
  // e^r = 1 + r + r^2 p(r), minimax on |r| <= ln(2) / 2 (the coefficients of Cephes' expf), highest
  // first.
  static constexpr float kPolynomial[] = {1.9875691500e-4f, 1.3981999507e-3f, 8.3334519073e-3f,
                                          4.1665795894e-2f, 1.6666665459e-1f, 5.0000001201e-1f};
};

template <>
struct ExponentialConstants<double> {
  static constexpr double kLog2E = 1.44269504088896340736;
  static constexpr double kLn2High = 0.693145751953125, kLn2Low = 1.42860682030941723212e-6;
  static constexpr double kRounder = 6755399441055744.0;  // 1.5 * 2^52
  static constexpr double kSmallest = -708.0;
  static constexpr int kMantissaBits = 52;
  // Taylor: 1 / 13! to 1 / 2!; the first term left out is below 5e-18.
  static constexpr double kPolynomial[] = {1.0 / 6227020800.0, 1.0 / 479001600.0, 1.0 / 39916800.0,
                                           1.0 / 3628800.0,    1.0 / 362880.0,    1.0 / 40320.0,
                                           1.0 / 5040.0,       1.0 / 720.0,       1.0 / 120.0,
                                           1.0 / 24.0,         1.0 / 6.0,         1.0 / 2.0};
};

/// For x <= 88 (float) or 709 (double); a NaN stays one.
template <class T>
MTA_INLINE Vector<T> exponential(Vector<T> x) {
  using C = ExponentialConstants<T>;
  const Vector<T> shifted = x * C::kLog2E + C::kRounder;
  const Vector<T> n = shifted - C::kRounder;
  const Vector<T> r = (x - n * C::kLn2High) - n * C::kLn2Low;
  Vector<T> p = broadcast(C::kPolynomial[0]);
#pragma GCC unroll 16
  for (std::size_t i = 1; i < sizeof C::kPolynomial / sizeof(T); ++i) p = p * r + C::kPolynomial[i];
  p = p * r * r + r + 1;
  // The low bits of `shifted` hold n as an integer: moved into the exponent they multiply with 2^n.
  Integers<T> bits, power;
  std::memcpy(&bits, &shifted, sizeof bits);
  std::memcpy(&power, &p, sizeof power);
  power += bits << C::kMantissaBits;
  std::memcpy(&p, &power, sizeof p);
  return x < C::kSmallest ? Vector<T>{} : p;
}

}  // namespace mta::ops::cpu::MTA_SIMD
