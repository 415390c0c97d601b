// Draws attention problems.
#include "tests/kernels/kernel_case.h"

#include <cmath>
#include <sstream>

namespace mta::check {
namespace {

using kernels::Convolution;
using kernels::Mixing;
using kernels::Problem;

template <class Value>
std::vector<Value> normal(Generator& generator, std::size_t count, double sigma) {
  std::normal_distribution<double> draw(0, sigma);
  std::vector<Value> values(count);
  for (Value& value : values) value = static_cast<Value>(draw(generator));
  return values;
}

bool chance(Generator& generator, int percent) { return between(generator, 1, 100) <= percent; }

Convolution random_convolution(Generator& generator) {
  Convolution conv;
  if (chance(generator, 35)) {
    conv.query_span = 0;
    return conv;
  }
  conv.query_span = chance(generator, 60) ? between(generator, 1, 6) : between(generator, 1, 16);
  conv.key_span = chance(generator, 60) ? between(generator, 1, 11) : between(generator, 1, 32);
  const int choice = between(generator, 0, 3);
  conv.pad_left = choice == 0   ? conv.key_span - 1
                  : choice == 1 ? 0
                  : choice == 2 ? between(generator, 0, conv.key_span - 1)
                                : (conv.key_span - 1) / 2;
  return conv;
}

int random_divisor(Generator& generator, int n) {
  int divisor = between(generator, 1, n);
  while (n % divisor != 0) --divisor;
  return divisor;
}

/// Short strips, so that short maps have several.
kernels::LaunchPlan random_launch(Generator& generator) {
  const auto keys = [&] { return kernels::kTileKeys * between(generator, 1, 3); };
  return {.chunk_rows = kernels::kTileRows * between(generator, 0, 2),
          .score_keys = keys(),
          .convolution_keys = keys(),
          .mixing_keys = keys(),
          .mixing_rows = kernels::kMixingWarps * between(generator, 1, 5),
          .fused_heads = between(generator, 1, kernels::kNeverFused),
          .sum_parts = between(generator, 0, 4),
          .sum_ahead = between(generator, 0, kernels::kMaxSumAhead)};
}

void fill_convolution(Convolution& conv, std::vector<float>& kernel, int heads,
                      Generator& generator) {
  if (conv.query_span == 0) {
    conv = {};
    return;
  }
  const int taps = conv.query_span * conv.key_span;
  kernel = normal<float>(generator, static_cast<std::size_t>(heads * taps), 1 / std::sqrt(taps));
  conv.kernel = kernel.data();
}

void fill_mixing(Mixing& mix, std::vector<float>& weight, int heads, Generator& generator) {
  if (mix.group == 0) {
    mix = {};
    return;
  }
  weight = normal<float>(generator, static_cast<std::size_t>(heads * mix.group),
                         1 / std::sqrt(mix.group));
  mix.weight = weight.data();
}

}  // namespace

int between(Generator& generator, int low, int high) {
  return std::uniform_int_distribution<int>(low, high)(generator);
}

void fill(KernelCase& c, Generator& generator) {
  Problem& p = c.problem;
  p.scale = 1 / std::sqrt(static_cast<float>(p.head_dim));
  fill_convolution(p.conv_before, c.conv_before, p.heads, generator);
  fill_convolution(p.conv_after, c.conv_after, p.heads, generator);
  fill_mixing(p.mix_before, c.mix_before, p.heads, generator);
  fill_mixing(p.mix_after, c.mix_after, p.heads, generator);
  const auto count =
      static_cast<std::size_t>(p.batch * p.heads) * static_cast<std::size_t>(p.tokens * p.head_dim);
  // Scores of standard deviation 2: a softmax that is neither flat nor one-hot.
  c.inputs.q = normal<double>(generator, count, std::sqrt(2.0));
  c.inputs.k = normal<double>(generator, count, std::sqrt(2.0));
  c.inputs.v = normal<double>(generator, count, 1);
  c.inputs.d_o = normal<double>(generator, count, 1);
}

KernelCase random_case(Generator& generator, const CaseLimits& limits) {
  KernelCase c;
  Problem& p = c.problem;
  p.batch = between(generator, 1, limits.max_batch);
  p.heads = between(generator, 1, limits.max_heads);
  p.tokens = between(generator, 1, limits.max_tokens);
  const auto dims = static_cast<int>(limits.head_dims.size());
  p.head_dim = limits.head_dims[static_cast<std::size_t>(between(generator, 0, dims - 1))];
  p.causality = chance(generator, 50) ? kernels::Causality::Exact : kernels::Causality::Double;
  p.type = chance(generator, 50) ? kernels::ElementType::Float16 : kernels::ElementType::BFloat16;
  p.conv_before = random_convolution(generator);
  p.conv_after = random_convolution(generator);
  p.mix_before.group = chance(generator, 40) ? 0 : random_divisor(generator, p.heads);
  p.mix_after.group = chance(generator, 40) ? 0 : random_divisor(generator, p.heads);
  if (chance(generator, 30)) {
    p.dropout.rate = 0.01f * static_cast<float>(between(generator, 1, 60));
    p.dropout.seed = generator();
    p.dropout.stream = static_cast<std::uint32_t>(generator());
  }
  if (chance(generator, 50)) p.launch = random_launch(generator);
  fill(c, generator);
  return c;
}

std::string describe(const Problem& p) {
  std::ostringstream text;
  text << "B" << p.batch << " H" << p.heads << " T" << p.tokens << " d" << p.head_dim
       << (p.type == kernels::ElementType::Float16 ? " fp16" : " bf16")
       << (p.causality == kernels::Causality::Exact ? " exact" : " double");
  const auto stages = [&](const char* where, const Convolution& conv, const Mixing& mix) {
    if (conv.kernel != nullptr) {
      text << " " << where << " " << conv.query_span << "x" << conv.key_span << " left "
           << conv.pad_left;
    }
    if (mix.weight != nullptr) text << " " << where << " mix " << mix.group;
  };
  stages("before", p.conv_before, p.mix_before);
  stages("after", p.conv_after, p.mix_after);
  if (p.dropout.rate > 0) text << " dropout " << p.dropout.rate;
  const kernels::LaunchPlan& l = p.launch;
  if (l.score_keys > 0) {
    text << " launch " << l.chunk_rows << " " << l.score_keys << " " << l.convolution_keys << " "
         << l.mixing_keys << " " << l.mixing_rows << " " << l.fused_heads << " " << l.sum_parts
         << " " << l.sum_ahead;
  }
  return text.str();
}

}  // namespace mta::check
