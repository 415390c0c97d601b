// Makes parameters and draws their initial values.
#include "lib/nn/parameters.h"

#include "lib/core/rng.h"

#include <ATen/Parallel.h>
#include <ATen/core/Tensor.h>
#include <ATen/ops/empty.h>
#include <ATen/ops/full.h>

#include <stdexcept>
#include <utility>

namespace mta {
namespace {

constexpr double kCut = 3;                     // in units of sigma
constexpr std::int64_t kElementsATask = 4096;  // drawing one value costs some 50 ns

double draw(Rng& rng, const InitialValue& initial) {
  switch (initial.kind) {
    case InitialValue::Kind::Normal:
      return initial.sigma * rng.normal();
    case InitialValue::Kind::TruncatedNormal:
      return initial.sigma * rng.truncated_normal(kCut);
    default:
      return initial.low + (initial.high - initial.low) * rng.uniform();
  }
}

/// One value for each element: a pure function of (seed, stream, element).
at::Tensor drawn(std::uint64_t seed, Stream stream, at::IntArrayRef shape,
                 const InitialValue& initial) {
  at::Tensor values = at::empty(shape, at::kDouble);
  double* const data = values.data_ptr<double>();
  at::parallel_for(0, values.numel(), kElementsATask, [&](std::int64_t begin, std::int64_t end) {
    for (std::int64_t i = begin; i < end; ++i) {
      Rng rng(seed, stream, static_cast<std::uint64_t>(i));
      data[i] = draw(rng, initial);
    }
  });
  return values;
}

at::Tensor initial_values(std::uint64_t seed, const std::string& name, at::IntArrayRef shape,
                          const InitialValue& initial) {
  switch (initial.kind) {
    case InitialValue::Kind::Constant:
      return at::full(shape, initial.value, at::kDouble);
    case InitialValue::Kind::Given:
      TORCH_CHECK(initial.given.sizes() == shape, name, ": initial value of shape ",
                  initial.given.sizes(), " for a parameter of shape ", shape);
      return initial.given;
    default:
      return drawn(seed, stream_of("weights:" + name), shape, initial);
  }
}

}  // namespace

InitialValue InitialValue::constant(double value) { return {.value = value}; }

InitialValue InitialValue::normal(double sigma) { return {.kind = Kind::Normal, .sigma = sigma}; }

InitialValue InitialValue::truncated_normal(double sigma) {
  return {.kind = Kind::TruncatedNormal, .sigma = sigma};
}

InitialValue InitialValue::uniform(double low, double high) {
  return {.kind = Kind::Uniform, .low = low, .high = high};
}

InitialValue InitialValue::of(at::Tensor values) {
  return {.kind = Kind::Given, .given = std::move(values)};
}

Parameters::Parameters(std::uint64_t seed, at::TensorOptions options)
    : seed_(seed), options_(options) {}

at::Tensor Parameters::add(const std::string& name, at::IntArrayRef shape,
                           const InitialValue& initial) {
  for (const auto& [known, unused] : named_) {
    TORCH_CHECK(known != name, "parameter ", name, " is made twice");
  }
  at::Tensor parameter = at::empty(shape, options_);
  if (!parameter.is_meta()) parameter.copy_(initial_values(seed_, name, shape, initial));
  parameter.set_requires_grad(true);
  named_.emplace_back(name, parameter);
  return parameter;
}

std::vector<at::Tensor> Parameters::tensors() const {
  std::vector<at::Tensor> tensors;
  for (const auto& [unused, tensor] : named_) tensors.push_back(tensor);
  return tensors;
}

const at::Tensor& Parameters::at(const std::string& name) const {
  for (const auto& [known, tensor] : named_) {
    if (known == name) return tensor;
  }
  throw std::out_of_range("no parameter \"" + name + "\"");
}

std::int64_t Parameters::count() const {
  std::int64_t count = 0;
  for (const auto& [unused, tensor] : named_) count += tensor.numel();
  return count;
}

}  // namespace mta
