// The dropout mask as a tensor; lib/ops/cpu/dropout.h has the layout of key and counter.
#include "lib/ops/dropout.h"

#include "lib/ops/attention_cpu.h"
#include "lib/ops/cuda/dropout.h"

#include <ATen/TensorOperators.h>
#include <ATen/ops/empty.h>
#include <Random123/philox.h>
#include <c10/util/Exception.h>

#include <algorithm>
#include <cmath>

namespace mta::ops {
namespace {

constexpr double kWords = 4294967296.0;  // 2^32, the values that a word can have
constexpr int kWordBits = 32;

std::uint32_t low(std::uint64_t x) { return static_cast<std::uint32_t>(x); }
std::uint32_t high(std::uint64_t x) { return static_cast<std::uint32_t>(x >> kWordBits); }

template <class T>
void fill_mask(const cpu::Kernels<T>& kernels, const cpu::DropoutKey& key, at::Tensor& mask,
               std::int64_t first_row) {
  constexpr std::int64_t kStep = 64;  // the kernels' rows are a multiple of it
  const std::int64_t maps = mask.size(0) * mask.size(1), rows = mask.size(2), keys = mask.size(3);
  std::vector<T> row(static_cast<std::size_t>((keys + kStep - 1) / kStep * kStep));
  T* to = mask.mutable_data_ptr<T>();
  for (std::int64_t map = 0; map < maps; ++map) {
    for (std::int64_t r = 0; r < rows; ++r, to += keys) {
      kernels.dropout_row(key, map, first_row + r, static_cast<std::int64_t>(row.size()),
                          row.data());
      std::copy_n(row.data(), keys, to);
    }
  }
}

}  // namespace

cpu::DropoutKey dropout_key(const Dropout& dropout) {
  TORCH_CHECK(dropout.rate >= 0 && dropout.rate < 1, "dropout rate ", dropout.rate,
              " is not in [0, 1)");
  if (dropout.rate == 0) return {};
  check_step(dropout, at::kCPU);
  const std::uint64_t stream =
      dropout.stream +
      (dropout.step.defined()
           ? static_cast<std::uint32_t>(*dropout.step.const_data_ptr<std::int32_t>())
           : 0);
  const philox4x32_ctr_t counter = {{low(stream), high(stream), 0, 0}};
  const philox4x32_key_t seed = {{low(dropout.seed), high(dropout.seed)}};
  const philox4x32_ctr_t key = philox4x32(counter, seed);
  // At least one word in 2^32 is dropped and kept, however small or near to 1 the rate.
  const double threshold = std::clamp(std::round(dropout.rate * kWords), 1.0, kWords - 1);
  return {{key.v[0], key.v[1]}, static_cast<std::uint32_t>(threshold), 1 / (1 - dropout.rate)};
}

void check_step(const Dropout& dropout, at::Device device) {
  const at::Tensor& step = dropout.step;
  if (!step.defined()) return;
  TORCH_CHECK(step.scalar_type() == at::kInt && step.numel() == 1 && step.device() == device,
              "dropout step ", step.toString(), " ", step.sizes(), " on ", step.device(),
              ": must be one Int on ", device);
}

at::Tensor dropped(const at::Tensor& weights, const Dropout& dropout, std::int64_t first_row) {
  if (dropout.rate == 0) return weights;
  const at::IntArrayRef sizes = weights.sizes();
  if (weights.is_cpu()) {
    // In 16 bits the scale would lose digits, so the product is made in float.
    const at::ScalarType type = weights.scalar_type();
    const at::Tensor mask = dropout_mask(dropout, sizes[0], sizes[1], first_row, sizes[2], sizes[3],
                                         type == at::kDouble ? at::kDouble : at::kFloat);
    return (weights * mask).to(type);
  }
  // Two products: the scale would lose digits in a mask of the weights' type.
  return weights *
         cuda::keep_mask(dropout, weights.device(),
                         {sizes[0], sizes[1], first_row, sizes[2], sizes[3]}) *
         cuda::kept_scale(dropout);
}

at::Tensor dropout_mask_at(cpu::SimdLevel level, const Dropout& dropout, std::int64_t batch,
                           std::int64_t heads, std::int64_t first_row, std::int64_t rows,
                           std::int64_t keys, at::ScalarType dtype) {
  TORCH_CHECK(dtype == at::kFloat || dtype == at::kDouble, "dropout_mask: dtype ", dtype,
              " is not float or double");
  at::Tensor mask = at::empty({batch, heads, rows, keys}, at::TensorOptions().dtype(dtype));
  const cpu::DropoutKey key = dropout_key(dropout);
  if (dtype == at::kFloat) {
    fill_mask(cpu::kernels<float>(level), key, mask, first_row);
  } else {
    fill_mask(cpu::kernels<double>(level), key, mask, first_row);
  }
  return mask;
}

at::Tensor dropout_mask(const Dropout& dropout, std::int64_t batch, std::int64_t heads,
                        std::int64_t first_row, std::int64_t rows, std::int64_t keys,
                        at::ScalarType dtype) {
  return dropout_mask_at(cpu::simd_levels().back(), dropout, batch, heads, first_row, rows, keys,
                         dtype);
}

}  // namespace mta::ops
