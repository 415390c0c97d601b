// Kernel cases against the dense formulas: what the kernels' tests share.
#pragma once

#include "tests/cuda/device_run.h"

#include <gtest/gtest.h>

#include <string>
#include <utility>
#include <vector>

namespace mta::check {

/// A result, and where a gradient of weights has the sizes of the terms that it sums.
struct Named {
  const char* name;
  const std::vector<double> kernels::ReferenceResult::*values;
  const std::vector<double> TermSizes::*sizes = nullptr;
};
constexpr Named kResults[] = {
    {"o", &kernels::ReferenceResult::o},
    {"d_q", &kernels::ReferenceResult::d_q},
    {"d_k", &kernels::ReferenceResult::d_k},
    {"d_v", &kernels::ReferenceResult::d_v},
    {"d_conv_before", &kernels::ReferenceResult::d_conv_before, &TermSizes::conv_before},
    {"d_conv_after", &kernels::ReferenceResult::d_conv_after, &TermSizes::conv_after},
    {"d_mix_before", &kernels::ReferenceResult::d_mix_before, &TermSizes::mix_before},
    {"d_mix_after", &kernels::ReferenceResult::d_mix_after, &TermSizes::mix_after}};

double norm(const std::vector<double>& x);
std::vector<double> difference(const std::vector<double>& x, const std::vector<double>& y);

/// Half a unit in the last place, relative to 1.
double epsilon(kernels::ElementType type);

class Kernels : public ::testing::Test {
 protected:
  void SetUp() override {
    if (const std::string reason = no_device(); !reason.empty()) GTEST_SKIP() << reason;
  }
};

struct Trial {
  KernelCase kernel_case;
  DeviceOptions options;
};

/// Rounds the case's inputs.
Trial trial(KernelCase c, const DeviceOptions& options);

/// Runs every trial against the dense formulas, fails the test where an error is larger than
/// `expect_close` in the source allows, and prints the worst figures.
void expect_dense_results(const std::vector<Trial>& trials);

/// Any layout, and workspaces from the smallest to one that holds everything.
DeviceOptions random_options(Generator& generator);

/// MTA_KERNEL_CASES sets the number of cases: compute-sanitizer is slow, and so is the emulator.
int case_count(int usual);

}  // namespace mta::check
