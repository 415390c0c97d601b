// AdamW's kernels on a GPU against LibTorch's operator on the CPU.
#include "lib/train/optimiser.h"
#include "tests/support/random_tensors.h"

#include <ATen/Context.h>
#include <ATen/TensorOperators.h>
#include <ATen/core/Tensor.h>
#include <ATen/core/grad_mode.h>
#include <ATen/ops/equal.h>
#include <ATen/ops/scalar_tensor.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <limits>
#include <string>

namespace mta {
namespace {

class CudaAdamW : public ::testing::Test {
 protected:
  void SetUp() override {
    if (!at::hasCUDA()) GTEST_SKIP() << "no CUDA device";
  }
};

/// More tensors than one launch takes, of sizes around a block's share and not in fours; one of
/// them of more shares than the last block adds up in one round.
Parameters make_parameters(at::Device device) {
  Parameters parameters(1, at::TensorOptions(device).dtype(at::kFloat));
  const std::int64_t sizes[] = {1, 3, 4, 1023, 4096, 4097, 20000};
  constexpr int kLargest = 70;
  for (int i = 0; i < 140; ++i) {
    parameters.add("p" + std::to_string(i), {i == kLargest ? 2100 * 4096 + 1 : sizes[i % 7]},
                   i == kLargest ? InitialValue::constant(0.5) : InitialValue::normal(1));
  }
  return parameters;
}

void set_gradients(const Parameters& parameters, int step) {
  for (const auto& [name, tensor] : parameters.named()) {
    tensor.mutable_grad() =
        check::random_tensor(tensor.sizes(), name + std::to_string(step)).to(tensor.options());
  }
}

/// Of all gradients, added up in double: the CPU's own adds millions of squares in float.
double gradient_norm(const Parameters& parameters) {
  double squares = 0;
  for (const auto& [name, tensor] : parameters.named()) {
    squares += tensor.grad().to(at::kDouble).square().sum().item<double>();
  }
  return std::sqrt(squares);
}

TrainConfig config_of(std::optional<double> clip) {
  TrainConfig config;
  config.weight_decay = 0.1;
  config.clip = clip;
  return config;
}

TEST_F(CudaAdamW, UpdatesAsTheCpuDoes) {
  for (const std::optional<double> clip : {std::optional<double>(), std::optional(0.5)}) {
    Parameters cpu = make_parameters(at::kCPU), gpu = make_parameters(at::kCUDA);
    AdamW first(cpu, config_of(clip)), second(gpu, config_of(clip));
    double cpu_error = 0;  // of the norm: gradients are clipped by it, moments hold their squares
    for (int step = 1; step <= 4; ++step) {
      set_gradients(cpu, step);
      set_gradients(gpu, step);
      const double norm = gradient_norm(cpu);
      const double cpu_norm = first.step(0.01 * step).item<double>();
      cpu_error = std::max(cpu_error, std::abs(cpu_norm / norm - 1));
      const at::Tensor rate = at::scalar_tensor(0.01 * step, at::kFloat).to(at::kCUDA);
      EXPECT_NEAR(second.step(rate).item<double>(), norm, 1e-5 * norm);
    }
    for (const auto& [name, tensor] : cpu.named()) {
      EXPECT_LE(check::relative_error(gpu.at(name).cpu(), tensor), 1e-6) << name;
      for (const char* moment : {"exp_avg.", "exp_avg_sq."}) {
        EXPECT_LE(check::relative_error(second.state().at(moment + name).cpu(),
                                        first.state().at(moment + name)),
                  1e-4 + 3 * cpu_error)  // one value may be a small difference of large ones
            << moment << name;
      }
    }
  }
}

TEST_F(CudaAdamW, KeepsRoundedFormsAsTheCpuDoes) {
  Parameters cpu = make_parameters(at::kCPU), gpu = make_parameters(at::kCUDA);
  AdamW first(cpu, config_of(0.5)), second(gpu, config_of(0.5));
  for (AdamW* optimiser : {&first, &second}) {
    const Parameters& parameters = optimiser == &first ? cpu : gpu;
    RoundedForms forms{.type = at::kBFloat16};
    for (std::size_t i = 0; i < parameters.named().size(); i += 2) {  // every other one
      forms.weights.push_back(parameters.named()[i].second);
      forms.rounded.push_back(forms.weights.back().detach().to(at::kBFloat16));
    }
    optimiser->keep_rounded(forms);
  }
  for (int step = 1; step <= 3; ++step) {
    for (AdamW* optimiser : {&first, &second}) {
      set_gradients(optimiser == &first ? cpu : gpu, step);
      const RoundedForms& forms = optimiser->rounded();
      for (std::size_t k = 0; k < forms.weights.size(); ++k) {
        forms.rounded[k].mutable_grad() = forms.weights[k].grad().to(at::kBFloat16);
        forms.weights[k].mutable_grad() = at::Tensor();
      }
    }
    const double norm = first.step(0.01).item<double>();
    const at::Tensor rate = at::scalar_tensor(0.01, at::kFloat).to(at::kCUDA);
    EXPECT_NEAR(second.step(rate).item<double>(), norm, 1e-3 * norm);  // the CPU's, see above
  }
  for (const auto& [name, tensor] : cpu.named()) {
    EXPECT_LE(check::relative_error(gpu.at(name).cpu(), tensor), 1e-6) << name;
  }
  for (std::size_t k = 0; k < second.rounded().weights.size(); ++k) {
    EXPECT_TRUE(at::equal(second.rounded().rounded[k].detach(),
                          second.rounded().weights[k].detach().to(at::kBFloat16)))
        << k;
  }
}

TEST_F(CudaAdamW, AGradientThatIsNotFiniteChangesNothing) {
  Parameters parameters = make_parameters(at::kCUDA);
  AdamW optimiser(parameters, config_of(1));
  set_gradients(parameters, 1);
  parameters.at("p139").mutable_grad().fill_(std::numeric_limits<float>::infinity());
  const at::Tensor before = parameters.at("p6").detach().clone();
  const at::Tensor rate = at::scalar_tensor(0.1, at::kFloat).to(at::kCUDA);
  EXPECT_FALSE(std::isfinite(optimiser.step(rate).item<double>()));
  EXPECT_TRUE(at::equal(parameters.at("p6").detach(), before));
}

}  // namespace
}  // namespace mta
