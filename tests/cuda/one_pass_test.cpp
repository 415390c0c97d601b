// The backward in one pass against the dense formulas and against the chain.
#include "lib/kernels/shared_memory.h"
#include "lib/kernels/workspace.h"
#include "tests/cuda/kernel_trials.h"

namespace mta::check {
namespace {

using kernels::ElementType;
using kernels::ReferenceResult;

/// A convolution before softmax that the backward takes in one pass.
KernelCase one_pass_case(Generator& generator, int n) {
  KernelCase c;
  const int head_dims[] = {64, 128, 32, 96};
  c.problem = {.batch = between(generator, 1, 2),
               .heads = between(generator, 1, 3),
               .tokens = between(generator, 1, n % 4 == 3 ? 40 : 330),
               .head_dim = head_dims[n % 4],
               .type = n % 8 < 4 ? ElementType::BFloat16 : ElementType::Float16};
  c.problem.conv_after.query_span = 0;
  c.problem.mix_before.group = c.problem.mix_after.group = 0;
  const int left = between(generator, 1, 8), right = between(generator, 1, 8);
  c.problem.conv_before = {.query_span = between(generator, 1, kernels::kMaxBackwardSpan),
                           .key_span = left + 1 + right,
                           .pad_left = left};
  if (n % 3 == 1) c.problem.dropout = {.rate = 0.3f, .seed = 77, .stream = 5};
  fill(c, generator);
  return c;
}

/// Its sums over keys and rows, in one chunk and in several.
TEST_F(Kernels, EqualTheDenseFormulasWithTheBackwardInOnePass) {
  Generator generator(18);
  std::vector<Trial> trials;
  for (int n = 0; n < case_count(160); ++n) {
    trials.push_back(trial(one_pass_case(generator, n), random_options(generator)));
    EXPECT_TRUE(kernels::backward_in_one_pass(trials.back().kernel_case.problem));
  }
  expect_dense_results(trials);
}

/// Without o the backward is the chain: the same numbers but for what its maps round.
TEST_F(Kernels, OnePassAndChainAgree) {
  Generator generator(19);
  for (int n = 0; n < case_count(40); ++n) {
    KernelCase c = one_pass_case(generator, n);
    round_inputs(c);
    DeviceOptions options = random_options(generator);
    const ReferenceResult one_pass = run_on_device(c, options);
    options.gives_output = false;
    const ReferenceResult chain = run_on_device(c, options);
    for (const auto& [name, member, sizes] : kResults) {
      const double size = norm(chain.*member),
                   count = std::sqrt(static_cast<double>((chain.*member).size()));
      EXPECT_LE(norm(difference(one_pass.*member, chain.*member)),
                4 * epsilon(c.problem.type) * (size + count / 16))
          << describe(c.problem) << ": " << name;
    }
  }
}

TEST_F(Kernels, TwoRunsOfTheBackwardInOnePassGiveTheSameBits) {
  Generator generator(20);
  for (int n = 0; n < case_count(20); ++n) {
    KernelCase c = one_pass_case(generator, n);
    round_inputs(c);
    const DeviceOptions options = random_options(generator);
    const ReferenceResult first = run_on_device(c, options), second = run_on_device(c, options);
    for (const auto& [name, member, sizes] : kResults)
      EXPECT_EQ(first.*member, second.*member) << describe(c.problem) << name;
  }
}

}  // namespace
}  // namespace mta::check
