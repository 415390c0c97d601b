// The kernels against the dense formulas in double, from the same rounded inputs. Needs a GPU,
// neither torch nor Python.
#include "lib/kernels/support.h"
#include "tests/cuda/device_run.h"

#include <gtest/gtest.h>

#include <cmath>
#include <cstdio>
#include <cstdlib>
#include <future>
#include <limits>
#include <map>
#include <thread>

namespace mta::check {
namespace {

using kernels::Causality;
using kernels::ElementType;
using kernels::Problem;
using kernels::ReferenceResult;

struct Named {
  const char* name;
  const std::vector<double> ReferenceResult::*values;
  const std::vector<double> TermSizes::*sizes = nullptr;
};
constexpr Named kResults[] = {
    {"o", &ReferenceResult::o},
    {"d_q", &ReferenceResult::d_q},
    {"d_k", &ReferenceResult::d_k},
    {"d_v", &ReferenceResult::d_v},
    {"d_conv_before", &ReferenceResult::d_conv_before, &TermSizes::conv_before},
    {"d_conv_after", &ReferenceResult::d_conv_after, &TermSizes::conv_after},
    {"d_mix_before", &ReferenceResult::d_mix_before, &TermSizes::mix_before},
    {"d_mix_after", &ReferenceResult::d_mix_after, &TermSizes::mix_after}};

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

/// Half a unit in the last place, relative to 1.
double epsilon(ElementType type) { return type == ElementType::Float16 ? 0x1p-11 : 0x1p-8; }

/// Worst figures of a test, printed at its end.
struct Summary {
  std::map<std::string, std::pair<double, double>>
      worst;  // relative error, error over (composed path's + floor)
  int cases = 0, failures = 0;
  ~Summary() {
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

/// error <= 2 x the error of the composed path in the same type + the rounding of what was summed:
/// of numbers of size 1/16 for maps and outputs, of the terms themselves (each the product of a few
/// rounded maps) for the weights' gradients.
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
    const double floor = epsilon(p.type) * (0.25 * size + terms);
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
  double lse_error = 0;
  for (std::size_t n = 0; n < got.lse.size(); ++n) {
    const double error = std::abs(got.lse[n] - truth.lse[n]);
    lse_error = error <= lse_error ? lse_error : error;
    if (std::isnan(error)) lse_error = std::numeric_limits<double>::infinity();
  }
  EXPECT_LE(lse_error, 0.03) << describe(p)
                             << ": lse";  // maps are fp16: 2^-11 of scores up to about 30
}

class Kernels : public ::testing::Test {
 protected:
  void SetUp() override {
    if (const std::string reason = no_device(); !reason.empty()) GTEST_SKIP() << reason;
  }
};

struct Trial {
  KernelCase kernel_case;
  DeviceOptions options;
  std::future<References> references;
};

Trial trial(KernelCase c, const DeviceOptions& options) {
  round_inputs(c);
  return {std::move(c), options, {}};
}

/// References run on all cores while the device works through the trials.
void compare_all(std::vector<Trial>& trials, Summary& summary) {
  const std::size_t threads = std::max(1u, std::thread::hardware_concurrency());
  const auto start = [&](std::size_t n) {
    if (n >= trials.size()) return;
    const KernelCase* c = &trials[n].kernel_case;
    trials[n].references = std::async(std::launch::async, [c] {
      References references;
      references.truth = dense_reference(c->problem, c->inputs, nullptr, &references.sizes);
      references.composed = dense_reference(c->problem, c->inputs, rounding_of(c->problem.type));
      return references;
    });
  };
  for (std::size_t n = 0; n < threads; ++n) start(n);
  for (std::size_t n = 0; n < trials.size(); ++n) {
    const KernelCase& c = trials[n].kernel_case;
    const ReferenceResult got = run_on_device(c, trials[n].options);
    const References references = trials[n].references.get();
    start(n + threads);
    expect_close(c.problem, got, references, summary);
  }
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

/// MTA_KERNEL_CASES sets the number of cases: compute-sanitizer is slow, and so is the emulator.
int case_count(int usual) {
  const char* text = std::getenv("MTA_KERNEL_CASES");
  if (text != nullptr) return std::atoi(text);
  return device_is_emulated() ? std::max(1, usual / 20) : usual;
}

TEST_F(Kernels, EqualTheDenseFormulasOnRandomProblems) {
  Generator generator(11);
  std::vector<Trial> trials;
  for (int n = 0; n < case_count(240); ++n) {
    trials.push_back(trial(random_case(generator, {.max_tokens = n % 4 == 0 ? 20 : 200,
                                                   .max_heads = 8,
                                                   .max_batch = 3,
                                                   .head_dims = {32, 64, 96, 128}}),
                           random_options(generator)));
  }
  Summary summary;
  compare_all(trials, summary);
}

TEST_F(Kernels, EqualTheDenseFormulasWithManyHeads) {
  Generator generator(12);
  std::vector<Trial> trials;
  for (int n = 0; n < case_count(30); ++n) {
    KernelCase c;
    const int heads[] = {16, 17, 24, 32, 48, 64};
    c.problem = {.batch = between(generator, 1, 2),
                 .heads = heads[n % 6],
                 .tokens = between(generator, 1, 140),
                 .head_dim = n % 2 == 0 ? 32 : 64,
                 .type = n % 3 == 0 ? ElementType::Float16 : ElementType::BFloat16};
    if (n % 2 == 0) c.problem.conv_before = {.query_span = 3, .key_span = 5, .pad_left = 2};
    if (n % 3 == 0) c.problem.conv_after = {.query_span = 2, .key_span = 9, .pad_left = 4};
    const int divisors[] = {1, 2, 4};
    c.problem.mix_before.group =
        n % 5 == 4 ? 0 : heads[n % 6] / (heads[n % 6] == 17 ? 1 : divisors[n % 3]);
    c.problem.mix_after.group =
        n % 7 == 6 ? 0 : heads[n % 6] / (heads[n % 6] == 17 ? 1 : divisors[(n + 1) % 3]);
    if (c.problem.conv_before.query_span == 1) c.problem.conv_before.query_span = 0;
    if (c.problem.conv_after.query_span == 1) c.problem.conv_after.query_span = 0;
    fill(c, generator);
    trials.push_back(trial(std::move(c), random_options(generator)));
  }
  Summary summary;
  compare_all(trials, summary);
}

/// Any convolution before softmax alone: the forward in one kernel where the window is narrow.
TEST_F(Kernels, EqualTheDenseFormulasOnAConvolutionAlone) {
  Generator generator(17);
  std::vector<Trial> trials;
  for (int n = 0; n < case_count(120); ++n) {
    KernelCase c;
    const int head_dims[] = {32, 64, 96, 128};
    c.problem = {.batch = between(generator, 1, 2),
                 .heads = between(generator, 1, 3),
                 .tokens = between(generator, 1, n % 4 == 0 ? 40 : 330),
                 .head_dim = head_dims[n % 4],
                 .type = n % 8 < 4 ? ElementType::Float16 : ElementType::BFloat16,
                 .causality = n % 3 == 0 ? Causality::Exact : Causality::Double};
    c.problem.conv_after.query_span = 0;
    c.problem.mix_before.group = c.problem.mix_after.group = 0;
    const int key_span = between(generator, 1, n % 5 == 0 ? 32 : 17);
    c.problem.conv_before = {.query_span = between(generator, 1, 16),
                             .key_span = key_span,
                             .pad_left = between(generator, 0, key_span - 1)};
    fill(c, generator);
    trials.push_back(trial(std::move(c), random_options(generator)));
  }
  Summary summary;
  compare_all(trials, summary);
}

/// The paper's configuration over many chunks, and with every row in one.
TEST_F(Kernels, EqualTheDenseFormulasOnFullMta) {
  Generator generator(13);
  std::vector<Trial> trials;
  for (int n = 0; n < case_count(4); ++n) {
    KernelCase c;
    c.problem = {.batch = 1,
                 .heads = 16,
                 .tokens = device_is_emulated() ? 133 : 517,
                 .head_dim = 64,
                 .type = n % 2 == 0 ? ElementType::Float16 : ElementType::BFloat16};
    c.problem.conv_before = c.problem.conv_after = {.query_span = 6, .key_span = 11, .pad_left = 5};
    c.problem.mix_before.group = c.problem.mix_after.group = 16;
    fill(c, generator);
    trials.push_back(trial(std::move(c), {.forward_budget = n < 2 ? 0 : std::size_t{1} << 30,
                                          .backward_budget = n < 2 ? 0 : std::size_t{1} << 30}));
  }
  Summary summary;
  compare_all(trials, summary);
}

TEST_F(Kernels, FutureTokensDoNotReachThePast) {
  Generator generator(14);
  for (int n = 0; n < case_count(30); ++n) {
    KernelCase c = random_case(generator, {.max_tokens = 170, .max_heads = 5});
    const Problem& p = c.problem;
    if (p.tokens < 2) continue;
    round_inputs(c);
    const DeviceOptions options = random_options(generator);
    const std::vector<double> before = run_on_device(c, options).o;
    const int first = between(generator, 1, p.tokens - 1);
    const auto map = static_cast<std::size_t>(p.tokens * p.head_dim),
               kept = static_cast<std::size_t>(first * p.head_dim);
    for (std::size_t m = 0; m < before.size() / map; ++m) {
      for (std::size_t e = kept; e < map; ++e) {
        c.inputs.q[m * map + e] = c.inputs.k[m * map + e] = c.inputs.v[m * map + e] =
            between(generator, -4, 4);
      }
    }
    const std::vector<double> after = run_on_device(c, options).o;
    for (std::size_t m = 0; m < before.size() / map; ++m) {
      for (std::size_t e = 0; e < kept; ++e)
        ASSERT_EQ(before[m * map + e], after[m * map + e]) << describe(p) << " from " << first;
    }
  }
}

TEST_F(Kernels, TwoRunsGiveTheSameBits) {
  Generator generator(15);
  for (int n = 0; n < case_count(20); ++n) {
    KernelCase c = random_case(
        generator, {.max_tokens = 300, .max_heads = 16, .head_dims = {32, 64, 96, 128}});
    round_inputs(c);
    const DeviceOptions options = random_options(generator);
    const ReferenceResult first = run_on_device(c, options), second = run_on_device(c, options);
    EXPECT_EQ(first.lse, second.lse) << describe(c.problem);
    for (const auto& [name, member, sizes] : kResults)
      EXPECT_EQ(first.*member, second.*member) << describe(c.problem) << name;
  }
}

/// Convolutions and the mixings after them that one kernel can make, every third of the paper's.
KernelCase fusible_case(Generator& generator, int n) {
  KernelCase c;
  const bool paper = n % 3 == 0;
  const int groups[] = {1, 2, 4, 8, 16, 3, 11};
  const int before = paper ? 16 : groups[between(generator, 0, 6)];
  const int heads = paper ? 16 : before * between(generator, 1, 20 / before);
  c.problem = {.batch = between(generator, 1, 2),
               .heads = heads,
               .tokens = between(generator, 1, n % 4 == 0 ? 40 : 170),
               .head_dim = 32,
               .type = n % 2 == 0 ? ElementType::BFloat16 : ElementType::Float16,
               .causality = n % 4 < 2 ? Causality::Double : Causality::Exact};
  const auto convolution = [&] {
    const int key_span = paper ? 11 : between(generator, 1, 17);
    return kernels::Convolution{nullptr, nullptr, paper ? 6 : between(generator, 1, 9), key_span,
                                paper ? 5 : between(generator, 0, key_span - 1)};
  };
  c.problem.conv_before = convolution();
  c.problem.conv_after = convolution();
  c.problem.mix_before.group = before;
  c.problem.mix_after.group = heads > 16 ? before : heads;
  if (n % 5 == 4) c.problem.conv_before.query_span = 0;
  if (n % 5 == 3) c.problem.mix_after.group = 0;
  if (n % 2 == 1) c.problem.dropout = {.rate = 0.2f, .seed = 5, .stream = 7};
  fill(c, generator);
  round_inputs(c);
  return c;
}

TEST_F(Kernels, FusedStagesGiveTheBitsOfSeparateOnes) {
  Generator generator(18);
  for (int n = 0; n < case_count(120); ++n) {
    KernelCase c = fusible_case(generator, n);
    DeviceOptions options = random_options(generator);
    options.forward_budget = n % 2 == 0 ? 0 : std::size_t{1} << 30;
    c.problem.launch.fused_heads = 1;
    const ReferenceResult fused = run_on_device(c, options);
    c.problem.launch.fused_heads = kernels::kNeverFused;
    const ReferenceResult separate = run_on_device(c, options);
    EXPECT_EQ(fused.lse, separate.lse) << describe(c.problem);
    for (const auto& [name, member, sizes] : kResults)
      EXPECT_EQ(fused.*member, separate.*member) << describe(c.problem) << " " << name;
  }
}

TEST_F(Kernels, TheDropoutStepOnTheDeviceMovesTheStream) {
  Generator generator(16);
  KernelCase c;
  c.problem = {.batch = 2, .heads = 2, .tokens = 70, .head_dim = 32};
  c.problem.conv_before.query_span = c.problem.conv_after.query_span = 0;
  c.problem.mix_before.group = c.problem.mix_after.group = 0;
  c.problem.dropout = {.rate = 0.25f, .seed = 5, .stream = 7};
  fill(c, generator);
  round_inputs(c);
  const std::uint32_t step = 3;
  const std::vector<double> with_step = run_on_device(c, {.dropout_step = &step}).o;
  EXPECT_NE(with_step, run_on_device(c, {}).o);
  c.problem.dropout.stream = 10;
  EXPECT_EQ(with_step, run_on_device(c, {}).o);
}

}  // namespace
}  // namespace mta::check
