// The kernels against the dense formulas in double, from the same rounded inputs. Needs a GPU,
// neither torch nor Python.
#include "tests/cuda/kernel_trials.h"

namespace mta::check {
namespace {

using kernels::Causality;
using kernels::ElementType;
using kernels::Problem;
using kernels::ReferenceResult;

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
  expect_dense_results(trials);
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
  expect_dense_results(trials);
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
  expect_dense_results(trials);
}

/// Convolutions whose gradients stream through a warp: texts of a few rows, and of more keys than a
/// block has; segments that end anywhere, and chunks that go around their rings.
TEST_F(Kernels, EqualTheDenseFormulasOnStreamedGradients) {
  Generator generator(21);
  std::vector<Trial> trials;
  for (int n = 0; n < case_count(60); ++n) {
    KernelCase c;
    c.problem = {.batch = 1,
                 .heads = between(generator, 1, 2),
                 .tokens = between(generator, n % 4 == 3 ? 257 : 1, n % 4 == 3 ? 400 : 230),
                 .head_dim = 32,
                 .type = n % 2 == 0 ? ElementType::BFloat16 : ElementType::Float16};
    const auto convolution = [&] {
      const int key_span = between(generator, 1, 17);
      return kernels::Convolution{nullptr, nullptr, between(generator, 1, 6), key_span,
                                  between(generator, 0, key_span - 1)};
    };
    c.problem.conv_before = convolution();
    c.problem.conv_after = convolution();
    if (n % 3 > 0) c.problem.conv_before = {nullptr, nullptr, 6, 11, n % 3 == 1 ? 5 : 10};
    c.problem.mix_before.group = c.problem.mix_after.group = 0;
    if (n % 2 == 1) c.problem.launch.chunk_rows = 64 * between(generator, 1, 3);
    fill(c, generator);
    trials.push_back(trial(std::move(c), random_options(generator)));
  }
  expect_dense_results(trials);
}

/// Mixing before and after softmax without convolutions, either or both, also where their groups do
/// not fit into one block, and with heads missing in it.
TEST_F(Kernels, EqualTheDenseFormulasOnHeadMixingAlone) {
  Generator generator(18);
  std::vector<Trial> trials;
  const std::pair<int, int> groups[] = {{16, 16}, {2, 2}, {0, 4}, {2, 0}, {4, 16}, {3, 2}, {16, 0}};
  for (int n = 0; n < case_count(140); ++n) {
    const auto [before, after] = groups[n % 7];
    KernelCase c;
    const int head_dims[] = {32, 64, 96, 128};
    c.problem = {.batch = between(generator, 1, 3),
                 .heads = 16,
                 .tokens = between(generator, 1,
                                   n % 4 == 0             ? 40
                                   : device_is_emulated() ? 140
                                                          : 300),
                 .head_dim = head_dims[n % 4],
                 .type = n % 3 == 0 ? ElementType::Float16 : ElementType::BFloat16};
    if (before == 3) c.problem.heads = 6 * between(generator, 1, 4);
    if (before == 2) c.problem.heads = 2 * between(generator, 1, 13);
    c.problem.conv_before.query_span = c.problem.conv_after.query_span = 0;
    c.problem.mix_before.group = before, c.problem.mix_after.group = after;
    if (n % 2 == 0)
      c.problem.dropout = {.rate = 0.3f, .seed = generator(), .stream = 3, .step = nullptr};
    if (n % 5 < 2) c.problem.launch = {.chunk_rows = 64 * (n % 5), .mixing_keys = 128};
    fill(c, generator);
    trials.push_back(trial(std::move(c), random_options(generator)));
  }
  expect_dense_results(trials);
}

/// A row whose only score is very small: exp(-lse) overflows fp16, also for the heads that a mixing
/// block of 16 has no data for.
TEST_F(Kernels, HeadsThatABlockLacksWeighNothing) {
  Generator generator(19);
  std::vector<Trial> trials;
  for (int n = 0; n < 3; ++n) {
    KernelCase c;
    c.problem = {.batch = 1, .heads = 2, .tokens = 20, .head_dim = 32};
    c.problem.conv_before = {.query_span = n == 1 ? 2 : 0, .key_span = 3, .pad_left = 1};
    c.problem.conv_after = {.query_span = n == 2 ? 2 : 0, .key_span = 3, .pad_left = 1};
    c.problem.mix_before.group = c.problem.mix_after.group = 2;
    fill(c, generator);
    for (float& weight : c.mix_before) weight = 0.5f;
    for (float& weight : c.conv_before) weight = 0.5f;
    const std::size_t map = 20 * 32;
    for (std::size_t e = 0; e < 2 * map; ++e) {
      if (e % map < 32) c.inputs.k[e] = -3 * c.inputs.q[e];
    }
    trials.push_back(trial(std::move(c), {}));
  }
  expect_dense_results(trials);
}

/// Logits that rise by hundreds along a row, and rows of large and of small ones in turn: what a
/// sum of exponentials is taken relative to must follow.
TEST_F(Kernels, StatisticsOfHeadMixingFollowTheLogits) {
  Generator generator(20);
  std::vector<Trial> trials;
  for (const ElementType type : {ElementType::Float16, ElementType::BFloat16}) {
    KernelCase c;
    c.problem = {.batch = 1, .heads = 16, .tokens = 140, .head_dim = 32, .type = type};
    c.problem.conv_before.query_span = c.problem.conv_after.query_span = 0;
    c.problem.mix_before.group = c.problem.mix_after.group = 16;
    fill(c, generator);
    for (std::size_t e = 0; e < c.inputs.q.size(); ++e) {
      const std::size_t token = e / 32 % 140;
      if (token / 4 % 2 == 1) c.inputs.q[e] *= 8;
      if (token >= 64) c.inputs.k[e] *= 8;
    }
    trials.push_back(trial(std::move(c), {}));
  }
  expect_dense_results(trials);
}

/// Sums of a convolution's rows, 64 keys each, that are far above and far below 1: those beyond
/// fp32's middle are made again relative to the row's maximum.
TEST_F(Kernels, StatisticsOfAConvolutionFollowTheLogits) {
  Generator generator(21);
  std::vector<Trial> trials;
  for (const ElementType type : {ElementType::Float16, ElementType::BFloat16}) {
    KernelCase c;
    c.problem = {.batch = 1, .heads = 3, .tokens = 203, .head_dim = 32, .type = type};
    c.problem.conv_before = {.query_span = 6, .key_span = 11, .pad_left = 5};
    c.problem.conv_after = {.query_span = 2, .key_span = 3, .pad_left = 1};
    c.problem.mix_before.group = c.problem.mix_after.group = 0;
    fill(c, generator);
    for (std::size_t e = 0; e < c.inputs.q.size(); ++e) {
      const std::size_t token = e / 32 % 203;
      if (token / 8 % 2 == 1) c.inputs.q[e] *= 8;
      if (token >= 64) c.inputs.k[e] *= 8;
    }
    trials.push_back(trial(std::move(c), {}));
  }
  expect_dense_results(trials);
}

/// Blocks that walk leave sums in slots of their unit's, of which short chunks have few: with more
/// multiprocessors than slots, and shares of a launch's steps that differ by one.
TEST_F(Kernels, UnitsHaveASlotForEachBlockThatWalks) {
  Generator generator(22);
  std::vector<Trial> trials;
  for (const int tokens : {81, 113, 137}) {
    for (int batch = 1; batch <= 3; ++batch) {
      KernelCase c;
      c.problem = {.batch = batch,
                   .heads = 7,
                   .tokens = tokens,
                   .head_dim = 32,
                   .launch = {.mixing_keys = 128, .mixing_rows = 12, .fused_heads = 1}};
      c.problem.conv_before.query_span = 0;
      c.problem.conv_after = {.query_span = 4};
      c.problem.mix_before.group = 0;
      c.problem.mix_after.group = 7;
      fill(c, generator);
      trials.push_back(trial(std::move(c), {.backward_budget = std::size_t{1} << 30}));
    }
  }
  expect_dense_results(trials);
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
  expect_dense_results(trials);
}

/// Every other time with logits in the future that ask for their rows' maxima.
TEST_F(Kernels, FutureTokensDoNotReachThePast) {
  Generator generator(14);
  for (int n = 0; n < case_count(30); ++n) {
    const int largest = n % 2 == 0 ? 4 : 12;
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
            between(generator, -largest, largest);
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
               .tokens = between(generator, 1, n % 4 == 0 ? 40 : 140),
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

/// All bits, but for the order of the sums over a gradient of the mixing after the softmax.
// They add up the same products in another order, so some numbers of a map are rounded the other
// way.
TEST_F(Kernels, FusedStagesAgreeWithSeparateOnes) {
  Generator generator(18);
  for (int n = 0; n < case_count(80); ++n) {
    KernelCase c = fusible_case(generator, n);
    DeviceOptions options = random_options(generator);
    options.forward_budget = n % 2 == 0 ? 0 : std::size_t{1} << 30;
    c.problem.launch.fused_heads = 1;
    const ReferenceResult fused = run_on_device(c, options);
    c.problem.launch.fused_heads = kernels::kNeverFused;
    const ReferenceResult separate = run_on_device(c, options);
    const double rounding = c.problem.type == ElementType::BFloat16 ? 0x1p-8 : 0x1p-11;
    EXPECT_LE(norm(difference(fused.lse, separate.lse)), 0x1p-11 * (1 + norm(separate.lse)))
        << describe(c.problem);
    for (const auto& [name, member, sizes] : kResults) {
      const std::vector<double>&x = fused.*member, &y = separate.*member;
      EXPECT_LE(norm(difference(x, y)), rounding * (1e-3 + norm(y)))
          << describe(c.problem) << " " << name;
    }
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
