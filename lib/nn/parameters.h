// The trainable tensors of a model, by name, in the order in which they were made.
#pragma once

#include <ATen/core/Tensor.h>

#include <cstdint>
#include <functional>
#include <string>
#include <utility>
#include <vector>

namespace mta {

/// How a parameter starts. Values are drawn on the CPU in double from (seed, parameter name,
/// element) and then rounded, so that they do not depend on type, device or the order of
/// construction.
struct InitialValue {
  enum class Kind { Constant, Normal, TruncatedNormal, Uniform, Given };
  Kind kind = Kind::Constant;
  double value = 0;           // Constant
  double sigma = 1;           // Normal; TruncatedNormal: cut at 3 sigma
  double low = -1, high = 1;  // Uniform
  at::Tensor given{};         // Given: double, on the CPU

  static InitialValue constant(double value);
  static InitialValue normal(double sigma);
  static InitialValue truncated_normal(double sigma);
  static InitialValue uniform(double low, double high);
  static InitialValue of(at::Tensor values);
};

/// Owns the parameters of a model. With options.device(at::kMeta) they have names and shapes but no
/// values: models of any size can be counted.
class Parameters {
 public:
  Parameters(std::uint64_t seed, at::TensorOptions options);

  /// Makes a parameter that requires gradients; `name` must be new
  /// ("layers.0.attention.wq.weight").
  at::Tensor add(const std::string& name, at::IntArrayRef shape, const InitialValue& initial);

  const std::vector<std::pair<std::string, at::Tensor>>& named() const { return named_; }
  std::vector<at::Tensor> tensors() const;
  /// Throws std::out_of_range naming the parameter when there is none of that name.
  const at::Tensor& at(const std::string& name) const;
  std::int64_t count() const;  // scalars

 private:
  std::uint64_t seed_;
  at::TensorOptions options_;
  std::vector<std::pair<std::string, at::Tensor>> named_;
};

}  // namespace mta
