// What the instructions of a warp do, written from their definitions in the PTX manual.
#include "lib/kernels/ptx.cuh"

#include <vector>

namespace mta::kernels {
namespace {

using emulator::kLanes;
using emulator::meet_warp;

template <bool kBrain>
float half_of(Word word, int which) {
  const auto bits = static_cast<unsigned short>(word >> (16 * which));
  if (kBrain) return __bfloat162float(__nv_bfloat16(__nv_bfloat16_raw{bits}));
  return __half2float(__half(__half_raw{bits}));
}

template <int kDepth, bool kBrain>
void multiply_all(void* const (&lanes)[kLanes]) {
  float a[16][kDepth], b[kDepth][8];
  for (int lane = 0; lane < kLanes; ++lane) {
    const auto& given = *static_cast<const Product*>(lanes[lane]);
    const int g = lane / 4, q = lane % 4;
    for (int which = 0; which < 2; ++which) {
      for (int part = 0; part < kDepth / 8; ++part) {
        const int column = 8 * part + 2 * q + which;
        a[g][column] = half_of<kBrain>(given.a[2 * part], which);
        a[g + 8][column] = half_of<kBrain>(given.a[2 * part + 1], which);
        b[column][g] = half_of<kBrain>(given.b[part], which);
      }
    }
  }
  for (int lane = 0; lane < kLanes; ++lane) {
    float(&c)[4] = *static_cast<const Product*>(lanes[lane])->c;
    const int g = lane / 4, q = lane % 4;
    for (int e = 0; e < 4; ++e) {
      float sum = 0;
      for (int k = 0; k < kDepth; ++k) sum += a[g + e / 2 * 8][k] * b[k][2 * q + e % 2];
      c[e] += sum;
    }
  }
}

struct BlockLoad {
  Word* words;
  const Number* row;
};

template <bool kTransposed, int kBlocks>
void load_all(void* const (&lanes)[kLanes]) {
  for (int lane = 0; lane < kLanes; ++lane) {
    const int g = lane / 4, q = lane % 4;
    for (int n = 0; n < kBlocks; ++n) {
      const auto at = [&](int row, int column) {
        return Word{static_cast<const BlockLoad*>(lanes[8 * n + row])->row[column]};
      };
      static_cast<const BlockLoad*>(lanes[lane])->words[n] =
          kTransposed ? at(2 * q, g) | at(2 * q + 1, g) << 16
                      : at(g, 2 * q) | at(g, 2 * q + 1) << 16;
    }
  }
}

void must_be_aligned(const void* pointer) {
  if (reinterpret_cast<std::uintptr_t>(pointer) % 16 != 0)
    emulator::fail("gives an address that is not a multiple of 16 bytes");
}

}  // namespace

void multiply(Product* mine, int depth, bool brain) {
  if (depth == 16) {
    meet_warp(mine, brain ? multiply_all<16, true> : multiply_all<16, false>);
  } else {
    meet_warp(mine, brain ? multiply_all<8, true> : multiply_all<8, false>);
  }
}

void load_blocks(Word (&r)[4], const Number* row) {
  must_be_aligned(row);
  BlockLoad mine = {r, row};
  meet_warp(&mine, load_all<false, 4>);
}

void load_blocks_transposed(Word (&r)[4], const Number* row) {
  must_be_aligned(row);
  BlockLoad mine = {r, row};
  meet_warp(&mine, load_all<true, 4>);
}

void load_two_blocks_transposed(Word (&r)[2], const Number* row) {
  must_be_aligned(row);
  BlockLoad mine = {r, row};
  meet_warp(&mine, load_all<true, 2>);
}

void copy_async(Number* target, const Number* source, bool valid) {
  must_be_aligned(target);
  must_be_aligned(source);
  emulator::copy_later(target, valid ? source : nullptr, 16);
}

}  // namespace mta::kernels

namespace {
std::vector<float> all_halves() {
  std::vector<float> values(1 << 16);
  for (unsigned n = 0; n < values.size(); ++n) {
    const auto bits = static_cast<unsigned short>(n);
    _Float16 half;
    std::memcpy(&half, &bits, sizeof(half));
    values[n] = static_cast<float>(half);
  }
  return values;
}
}  // namespace

const float* half_values() {
  static const std::vector<float> values = all_halves();
  return values.data();
}

void __syncthreads() { mta::emulator::meet_block(); }

void __syncwarp() {
  mta::emulator::meet_warp(nullptr, [](void* const(&)[mta::emulator::kLanes]) {});
}

namespace {
struct Exchange {
  float value, found;
  int from;
};

float exchanged(unsigned mask, float value, int from) {
  if (mask != 0xFFFFFFFFu) mta::emulator::fail("shuffles without its whole warp");
  Exchange mine = {value, 0, from};
  mta::emulator::meet_warp(&mine, [](void* const(&lanes)[mta::emulator::kLanes]) {
    for (void* lane : lanes) {
      auto& to = *static_cast<Exchange*>(lane);
      to.found = static_cast<const Exchange*>(lanes[to.from])->value;
    }
  });
  return mine.found;
}
}  // namespace

float __shfl_sync(unsigned mask, float value, int from) {
  return exchanged(mask, value, from % mta::emulator::kLanes);
}

float __shfl_xor_sync(unsigned mask, float value, int lane_mask) {
  const int lane = static_cast<int>(threadIdx.x) % mta::emulator::kLanes;
  return exchanged(mask, value, lane ^ lane_mask);
}

unsigned __shfl_xor_sync(unsigned mask, unsigned value, int lane_mask) {
  const float found = __shfl_xor_sync(mask, __uint_as_float(value), lane_mask);
  unsigned bits = 0;
  std::memcpy(&bits, &found, sizeof(bits));
  return bits;
}

unsigned __ballot_sync(unsigned mask, bool value) {
  if (mask != 0xFFFFFFFFu) mta::emulator::fail("votes without its whole warp");
  struct Vote {
    bool own;
    unsigned all;
  } mine = {value, 0};
  mta::emulator::meet_warp(&mine, [](void* const(&lanes)[mta::emulator::kLanes]) {
    unsigned all = 0;
    for (unsigned n = 0; n < mta::emulator::kLanes; ++n) {
      all |= static_cast<const Vote*>(lanes[n])->own ? 1u << n : 0u;
    }
    for (void* lane : lanes) static_cast<Vote*>(lane)->all = all;
  });
  return mine.all;
}

unsigned __byte_perm(unsigned low, unsigned high, unsigned selector) {
  const std::uint64_t bytes = std::uint64_t{high} << 32 | low;
  unsigned out = 0;
  for (unsigned n = 0; n < 4; ++n) {
    const unsigned which = selector >> (4 * n) & 7u;
    out |= static_cast<unsigned>(bytes >> (8 * which) & 0xFFu) << (8 * n);
  }
  return out;
}
