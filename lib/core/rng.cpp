// Philox through Random123, and the distributions built on it.
#include "lib/core/rng.h"

#include <Random123/philox.h>

#include <cmath>
#include <numbers>

namespace mta {
namespace {

constexpr std::uint32_t low(std::uint64_t value) { return static_cast<std::uint32_t>(value); }
constexpr std::uint32_t high(std::uint64_t value) {
  return static_cast<std::uint32_t>(value >> 32);
}

}  // namespace

Rng::Rng(std::uint64_t seed, Stream stream, std::uint64_t index)
    : seed_{low(seed), high(seed)}, counter_{0, low(index), high(index), stream} {}

std::uint32_t Rng::next() {
  if (used_ == 4) {
    const r123::Philox4x32::ctr_type counter = {
        {counter_[0], counter_[1], counter_[2], counter_[3]}};
    const r123::Philox4x32::key_type key = {{seed_[0], seed_[1]}};
    const auto block = r123::Philox4x32()(counter, key);
    for (std::size_t i = 0; i < 4; ++i) block_[i] = block[i];
    ++counter_[0];
    used_ = 0;
  }
  return block_[used_++];
}

std::uint32_t Rng::below(std::uint32_t bound) {
  // Lemire's multiplication: the low half tells whether this draw falls into the part that would
  // bias the result.
  std::uint64_t product = static_cast<std::uint64_t>(next()) * bound;
  if (low(product) < bound) {
    const std::uint32_t threshold = (0u - bound) % bound;
    while (low(product) < threshold) product = static_cast<std::uint64_t>(next()) * bound;
  }
  return high(product);
}

double Rng::uniform() {
  const std::uint64_t upper = next();
  const std::uint64_t bits = (upper << 32 | next()) >> 11;
  return static_cast<double>(bits) * 0x1p-53;
}

double Rng::normal() {
  const double radius = std::sqrt(-2.0 * std::log1p(-uniform()));
  return radius * std::cos(2.0 * std::numbers::pi * uniform());
}

double Rng::truncated_normal(double cut) {
  double value = normal();
  while (std::abs(value) > cut) value = normal();
  return value;
}

}  // namespace mta
