// Dropout on the attention weights as a pure function of (seed, stream, map, row, key); host and
// device.
//
// One Philox 4x32-10 block (Salmon et al., SC 2011) decides eight neighbouring keys of one row:
//   key      = {low 32 bits of seed, high 32 bits of seed}
//   counter  = {j / 8, i, b * H + h, stream}
// Key j takes 16 bits: the low half of output word (j % 8) / 2 when j is even, the high half when
// it is odd. The weight is kept when these bits are >= threshold = round(rate * 65536), and then
// divided by 1 - threshold/65536. The rate is thus rounded to a multiple of 1/65536 and the
// expectation is exact for the rounded rate.
#pragma once

#include "lib/kernels/host_device.h"

#include <cstdint>

namespace mta::kernels {

struct DropoutBlock {
  std::uint32_t word[4];
};

MTA_HOST_DEVICE inline std::uint32_t high_product(std::uint32_t a, std::uint32_t b) {
  return static_cast<std::uint32_t>((static_cast<std::uint64_t>(a) * b) >> 32);
}

MTA_HOST_DEVICE inline DropoutBlock philox_4x32_10(std::uint32_t c0, std::uint32_t c1,
                                                   std::uint32_t c2, std::uint32_t c3,
                                                   std::uint32_t k0, std::uint32_t k1) {
  constexpr std::uint32_t kMultiply0 = 0xD2511F53u,
                          kMultiply1 = 0xCD9E8D57u;  // the paper's constants
  constexpr std::uint32_t kWeyl0 = 0x9E3779B9u, kWeyl1 = 0xBB67AE85u;
  for (int round = 0; round < 10; ++round) {
    const std::uint32_t high0 = high_product(kMultiply0, c0), low0 = kMultiply0 * c0;
    const std::uint32_t high1 = high_product(kMultiply1, c2), low1 = kMultiply1 * c2;
    c0 = high1 ^ c1 ^ k0;
    c1 = low1;
    c2 = high0 ^ c3 ^ k1;
    c3 = low0;
    k0 += kWeyl0;
    k1 += kWeyl1;
  }
  return {{c0, c1, c2, c3}};
}

/// The rate in units of 1/65536; at most 65535, so that something is kept.
MTA_HOST_DEVICE inline std::uint32_t dropout_threshold(float rate) {
  const auto threshold = static_cast<std::uint32_t>(rate * 65536.0f + 0.5f);
  return threshold > 65535u ? 65535u : threshold;
}

/// The bits of the eight keys from 8 * (key / 8) on, row `row` of map `map` = b * H + h.
MTA_HOST_DEVICE inline DropoutBlock dropout_block(std::uint64_t seed, std::uint32_t stream,
                                                  std::uint32_t map, std::uint32_t row,
                                                  std::uint32_t key) {
  return philox_4x32_10(key / 8, row, map, stream, static_cast<std::uint32_t>(seed),
                        static_cast<std::uint32_t>(seed >> 32));
}

/// What a kept weight is multiplied by: 1 / (1 - threshold/65536).
MTA_HOST_DEVICE inline float dropout_scale(std::uint32_t threshold) {
  return 65536.0f / (65536.0f - static_cast<float>(threshold));
}

/// The factor of the block's key `lane` = j % 8: 0 or 1 / (1 - threshold/65536).
MTA_HOST_DEVICE inline float dropout_factor(const DropoutBlock& block, int lane,
                                            std::uint32_t threshold) {
  const std::uint32_t bits = (block.word[lane / 2] >> (16 * (lane % 2))) & 0xFFFFu;
  return bits >= threshold ? dropout_scale(threshold) : 0.0f;
}

}  // namespace mta::kernels
