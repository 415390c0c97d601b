// Runs trials, compares and reports.
#include "tests/cuda/kernel_trials.h"

#include <cmath>
#include <cstdio>
#include <cstdlib>
#include <functional>
#include <future>
#include <limits>
#include <map>
#include <thread>

namespace mta::check {

using kernels::ElementType;
using kernels::Problem;
using kernels::ReferenceResult;

double norm(const std::vector<double>& x) {
  double sum = 0;
  for (const double value : x) sum += value * value;
  return std::sqrt(sum);
}

std::vector<double> difference(const std::vector<double>& x, const std::vector<double>& y) {
  std::vector<double> z(x.size());
  for (std::size_t n = 0; n < x.size(); ++n) z[n] = x[n] - y[n];
  return z;
}

double epsilon(ElementType type) { return type == ElementType::Float16 ? 0x1p-11 : 0x1p-8; }

namespace {

/// Worst figures of a test.
struct Summary {
  std::map<std::string, std::pair<double, double>>
      worst;  // relative error, error over (composed path's + floor)
  int cases = 0, failures = 0;

  void print() const {
    for (const auto& [name, figures] : worst) {
      std::printf(
          "  %-20s worst relative error %.2e, worst ratio to (composed path + floor) %.2f\n",
          name.c_str(), figures.first, figures.second);
    }
    std::printf("  %d cases, %d failures\n", cases, failures);
  }
};

struct References {
  ReferenceResult truth, composed;
  TermSizes sizes;
};

References references_of(const KernelCase& c) {
  References references;
  references.truth = dense_reference(c.problem, c.inputs, nullptr, &references.sizes);
  references.composed = dense_reference(c.problem, c.inputs, rounding_of(c.problem.type));
  return references;
}

/// error <= 2 x the error of the composed path in the same type + the rounding of what was summed:
/// of numbers of size 1/16 for maps and outputs, of the terms themselves (each the product of a few
/// rounded maps) for the weights' gradients; and what sums in float of numbers of size 1 leave
/// where all is zero, as of a softmax over one token.
void expect_close(const Problem& p, const ReferenceResult& got, const References& references,
                  Summary& summary) {
  const ReferenceResult &truth = references.truth, &composed = references.composed;
  ++summary.cases;
  for (const auto& [name, member, sizes] : kResults) {
    const std::vector<double>&x = got.*member, &y = truth.*member;
    ASSERT_EQ(x.size(), y.size()) << name;
    if (y.empty()) continue;
    const std::vector<double> error = difference(x, y);
    const double size = norm(y), found = norm(error), rival = norm(difference(composed.*member, y));
    const double terms = sizes == nullptr ? std::sqrt(static_cast<double>(y.size())) / 16
                                          : 2 * norm(references.sizes.*sizes);
    const double floor = epsilon(p.type) * (0.25 * size + terms) +
                         0x1p-20 * std::sqrt(static_cast<double>(y.size()));
    if (size > 1e-3 * std::sqrt(static_cast<double>(y.size()))) {
      auto& worst =
          summary.worst[std::string(p.type == ElementType::Float16 ? "fp16 " : "bf16 ") + name];
      worst.first = std::max(worst.first, found / size);
      worst.second = std::max(worst.second, found / (rival + floor));
    }
    if (found <= 2 * rival + floor) continue;
    std::size_t place = 0;
    for (std::size_t n = 0; n < error.size(); ++n) {
      if (!(std::abs(error[n]) <= std::abs(error[place]))) place = n;
    }
    ++summary.failures;
    ADD_FAILURE() << describe(p) << ": " << name << " off by " << found << " of " << size
                  << " (composed path " << rival << ", floor " << floor << "); worst element "
                  << place << ": " << x[place] << ", expected " << y[place];
  }
  double lse_error = 0, largest = 30;
  for (std::size_t n = 0; n < got.lse.size(); ++n) {
    const double error = std::abs(got.lse[n] - truth.lse[n]);
    largest = std::max(largest, std::abs(truth.lse[n]));
    lse_error = error <= lse_error ? lse_error : error;
    if (std::isnan(error)) lse_error = std::numeric_limits<double>::infinity();
  }
  // Maps are fp16: 2^-11 of scores up to about 30, or what lse shows.
  EXPECT_LE(lse_error, largest / 1000) << describe(p) << ": lse";
}

}  // namespace

Trial trial(KernelCase c, const DeviceOptions& options) {
  round_inputs(c);
  return {std::move(c), options};
}

/// References run on all cores while the device works through the trials.
void expect_dense_results(const std::vector<Trial>& trials) {
  const std::size_t threads = std::max(1u, std::thread::hardware_concurrency());
  std::vector<std::future<References>> references(trials.size());
  const auto start = [&](std::size_t n) {
    if (n >= trials.size()) return;
    references[n] = std::async(std::launch::async, references_of, std::cref(trials[n].kernel_case));
  };
  for (std::size_t n = 0; n < threads; ++n) start(n);
  Summary summary;
  for (std::size_t n = 0; n < trials.size(); ++n) {
    const KernelCase& c = trials[n].kernel_case;
    const ReferenceResult got = run_on_device(c, trials[n].options);
    const References expected = references[n].get();
    start(n + threads);
    expect_close(c.problem, got, expected, summary);
  }
  summary.print();
}

DeviceOptions random_options(Generator& generator) {
  const auto budget = [&] {
    const std::size_t budgets[] = {
        0, static_cast<std::size_t>(between(generator, 100, 20000)) << 10, std::size_t{1} << 30};
    return budgets[between(generator, 0, 2)];
  };
  DeviceOptions options;
  options.layout =
      between(generator, 0, 1) == 0 ? TokenLayout::HeadsFirst : TokenLayout::TokensFirst;
  options.forward_budget = budget();
  options.backward_budget = budget();
  return options;
}

int case_count(int usual) {
  const char* text = std::getenv("MTA_KERNEL_CASES");
  if (text != nullptr) return std::atoi(text);
  return device_is_emulated() ? std::max(1, usual / 20) : usual;
}

}  // namespace mta::check
