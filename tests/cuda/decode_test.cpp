// Decoding against the dense formulas in double, from the same rounded inputs. Needs a GPU or the
// emulator, neither torch nor Python.
#include "lib/kernels/decode.h"

#include "tests/cuda/device_run.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <cstdlib>
#include <random>
#include <string>
#include <vector>

namespace mta::check {
namespace {

using kernels::Causality;
using kernels::DecodeRows;
using kernels::ElementType;
using kernels::Problem;

class Decoding : public ::testing::Test {
 protected:
  void SetUp() override {
    if (const std::string reason = no_device(); !reason.empty()) GTEST_SKIP() << reason;
  }
};

/// MTA_KERNEL_CASES sets the number of cases: compute-sanitizer is slow, and so is the emulator.
int case_count(int usual) {
  const char* text = std::getenv("MTA_KERNEL_CASES");
  if (text != nullptr) return std::atoi(text);
  return device_is_emulated() ? std::max(1, usual / 10) : usual;
}

std::string text(const Problem& p, const DecodeOptions& options) {
  return describe(p) + ", " + std::to_string(options.rows) + " rows, " +
         std::to_string(options.query_rows) + " queries, room for " + std::to_string(options.room);
}

int rows_above(const Problem& p) {
  return (p.conv_before.kernel != nullptr ? p.conv_before.query_span - 1 : 0) +
         (p.conv_after.kernel != nullptr ? p.conv_after.query_span - 1 : 0);
}

/// Some of the last rows, from as many queries as they need or from all.
DecodeOptions random_options(Generator& generator, const Problem& p) {
  DecodeOptions options;
  options.layout =
      between(generator, 0, 1) == 0 ? TokenLayout::HeadsFirst : TokenLayout::TokensFirst;
  options.rows = between(generator, 0, 1) == 0 ? 1 : between(generator, 1, std::min(8, p.tokens));
  const int needed = std::min(p.tokens, options.rows + rows_above(p));
  options.query_rows = between(generator, 0, 1) == 0 ? 0 : between(generator, needed, p.tokens);
  options.room = between(generator, 0, 1) == 0 ? 0 : p.tokens + between(generator, 0, 200);
  return options;
}

/// [B, H, T, d] -> the last rows of each map.
std::vector<double> last_rows(const std::vector<double>& all, const Problem& p, int rows) {
  std::vector<double> last;
  const std::ptrdiff_t map = std::ptrdiff_t{p.tokens} * p.head_dim,
                       kept = std::ptrdiff_t{rows} * p.head_dim;
  for (auto end = all.begin() + map;; end += map) {
    last.insert(last.end(), end - kept, end);
    if (end == all.end()) return last;
  }
}

double norm(const std::vector<double>& x) {
  double sum = 0;
  for (const double value : x) sum += value * value;
  return std::sqrt(sum);
}

/// The norm and the gate of rows [.., d], by their formulas.
void finish_rows(std::vector<double>& rows, const kernels::DecodeOutput& output, int head_dim) {
  const auto d = static_cast<std::size_t>(head_dim);
  for (std::size_t first = 0; first < rows.size(); first += d) {
    double* const row = rows.data() + first;
    if (output.norm_weight != nullptr) {
      double squares = 0;
      for (std::size_t c = 0; c < d; ++c) squares += row[c] * row[c] / head_dim;
      for (std::size_t c = 0; c < d; ++c) {
        row[c] *= output.norm_weight[c] * output.norm_scale / std::sqrt(squares + output.norm_eps);
      }
    }
    if (output.gate_weight == nullptr) continue;
    std::vector<double> gates;
    for (std::size_t g = 0; g < static_cast<std::size_t>(output.gates); ++g) {
      double sum = output.gate_bias[g];
      for (std::size_t c = 0; c < d; ++c) sum += output.gate_weight[g * d + c] * row[c];
      gates.push_back(1 / (1 + std::exp(-sum)));
    }
    for (std::size_t c = 0; c < d; ++c) row[c] *= gates[output.gates == 1 ? 0 : c];
  }
}

/// The maps are fp32: what is off is the rounding of the output.
void expect_close(KernelCase c, const DecodeOptions& options) {
  round_inputs(c);
  const Problem& p = c.problem;
  const std::vector<double> found = decode_on_device(c, options);
  std::vector<double> truth = last_rows(dense_reference(p, c.inputs).o, p, options.rows);
  finish_rows(truth, options.output, p.head_dim);
  ASSERT_EQ(found.size(), truth.size());
  std::vector<double> error(truth.size());
  for (std::size_t n = 0; n < truth.size(); ++n) error[n] = found[n] - truth[n];
  const double rounding = p.type == ElementType::Float16 ? 0x1p-11 : 0x1p-8;
  const double size = norm(truth), terms = std::sqrt(static_cast<double>(truth.size())) / 16;
  EXPECT_LE(norm(error), rounding * size + 3e-4 * std::max(size, terms)) << text(p, options);
  EXPECT_EQ(found, decode_on_device(c, options)) << text(p, options) << ", twice";
}

TEST_F(Decoding, EqualsTheDenseFormulasOnRandomProblems) {
  Generator generator(21);
  for (int n = 0; n < case_count(200); ++n) {
    KernelCase c = random_case(generator, {.max_tokens = n % 4 == 0 ? 20 : 200,
                                           .max_heads = 8,
                                           .max_batch = 3,
                                           .head_dims = {8, 32, 40, 64, 72, 96, 128}});
    c.problem.dropout = {};
    const DecodeOptions options = random_options(generator, c.problem);
    expect_close(std::move(c), options);
  }
}

TEST_F(Decoding, EqualsTheDenseFormulasWithManyHeads) {
  Generator generator(22);
  for (int n = 0; n < case_count(40); ++n) {
    KernelCase c;
    constexpr int kHeads[] = {12, 16, 24, 32};
    const int heads = kHeads[n % 4];
    c.problem = {.batch = 1,
                 .heads = heads,
                 .tokens = between(generator, 1, 120),
                 .head_dim = n % 2 == 0 ? 32 : 64,
                 .type = n % 3 == 0 ? ElementType::Float16 : ElementType::BFloat16};
    c.problem.conv_before = {.query_span = n % 2 == 0 ? 3 : 0, .key_span = 5, .pad_left = 2};
    c.problem.conv_after = {.query_span = n % 3 == 0 ? 2 : 0, .key_span = 9, .pad_left = 4};
    constexpr int kParts[] = {1, 2, 4};
    c.problem.mix_before.group = n % 5 == 4 ? 0 : heads / kParts[n % 3];
    c.problem.mix_after.group = n % 7 == 6 ? 0 : heads / kParts[(n + 1) % 3];
    fill(c, generator);
    const DecodeOptions options = random_options(generator, c.problem);
    expect_close(std::move(c), options);
  }
}

/// The paper's large model, over several ranges of keys, one row and several.
TEST_F(Decoding, EqualsTheDenseFormulasOnFullMta) {
  Generator generator(23);
  for (int n = 0; n < case_count(20); ++n) {
    KernelCase c;
    c.problem = {.batch = 1,
                 .heads = 16,
                 .tokens = between(generator, 90, device_is_emulated() ? 130 : 400),
                 .head_dim = 96,
                 .type = n % 2 == 0 ? ElementType::BFloat16 : ElementType::Float16,
                 .causality = n % 3 == 2 ? Causality::Exact : Causality::Double};
    c.problem.conv_before = c.problem.conv_after = {.query_span = 6, .key_span = 11, .pad_left = 5};
    c.problem.mix_before.group = c.problem.mix_after.group = 16;
    fill(c, generator);
    expect_close(std::move(c), {.rows = n % 4 == 3 ? 3 : 1, .room = n % 2 == 0 ? 450 : 0});
  }
}

/// Everything at its limit that fits the shared memory of compute capability 9.0.
TEST_F(Decoding, EqualsTheDenseFormulasAtTheLongestSpans) {
  Generator generator(24);
  for (int n = 0; n < case_count(10); ++n) {
    KernelCase c;
    c.problem = {.batch = 1, .heads = 4, .tokens = between(generator, 1, 150), .head_dim = 128};
    c.problem.conv_before = {.query_span = 16, .key_span = 32, .pad_left = n % 2 == 0 ? 31 : 0};
    c.problem.conv_after = {.query_span = 16, .key_span = 32, .pad_left = n % 2 == 0 ? 0 : 31};
    c.problem.mix_before.group = c.problem.mix_after.group = 4;
    fill(c, generator);
    const int rows = std::min(c.problem.tokens, 8);
    expect_close(std::move(c), {.rows = rows});
  }
}

/// Norm and gate, either and both, a gate for the row and one for each column.
TEST_F(Decoding, FinishesEachRowByTheFormulas) {
  Generator generator(25);
  for (int n = 0; n < 12; ++n) {
    KernelCase c;
    constexpr int kHeadDims[] = {8, 72, 128};
    const int d = kHeadDims[n % 3];
    c.problem = {.batch = 2,
                 .heads = 3,
                 .tokens = between(generator, 1, 90),
                 .head_dim = d,
                 .type = n % 2 == 0 ? ElementType::Float16 : ElementType::BFloat16};
    c.problem.conv_before.query_span = c.problem.conv_after.query_span = 0;
    c.problem.mix_before.group = 0;
    c.problem.mix_after.group = n % 2 == 0 ? 3 : 0;
    fill(c, generator);
    std::normal_distribution<float> draw(0, 1);
    const auto normal = [&](int count) {
      std::vector<float> values(static_cast<std::size_t>(count));
      for (float& value : values) value = draw(generator);
      return values;
    };
    const std::vector<float> norm = normal(d), gate = normal(d * d), bias = normal(d);
    DecodeOptions options{.rows = std::min(c.problem.tokens, 1 + n % 3)};
    if (n % 4 != 0) {
      options.output.norm_weight = norm.data();
      options.output.norm_eps = 1e-2f;
      options.output.norm_scale = 0.5f;
    }
    if (n % 4 != 1) {
      options.output.gate_weight = gate.data();
      options.output.gate_bias = bias.data();
      options.output.gates = n < 6 ? 1 : d;
    }
    expect_close(std::move(c), options);
  }
}

TEST_F(Decoding, SaysWhatItDoesNotCover) {
  const auto reason = [](const DecodeRows& call) {
    constexpr int kSharedBytes = 99 << 10;
    return kernels::check_decode(call, kSharedBytes) == kernels::Status::Ok
               ? std::string()
               : std::string(kernels::last_error());
  };
  const float weight = 1;
  const DecodeRows call{.batch = 1, .heads = 16, .head_dim = 96, .rows = 1, .keys = 4096};
  EXPECT_EQ(reason(call), "");
  DecodeRows other = call;
  other.rows = 9;
  EXPECT_EQ(reason(other), "decoding: 9 new rows of 4096 (1 to 8)");
  other = call;
  other.head_dim = 100;
  EXPECT_EQ(reason(other), "decoding: head size 100 (multiples of 8, at most 128)");
  other = call;
  other.mix_after = {.weight = &weight, .group = 3};
  EXPECT_EQ(reason(other), "decoding: groups of 3 of 16 heads (must divide them)");
  other = call;
  other.conv_before = {.kernel = &weight, .query_span = 17, .key_span = 3};
  EXPECT_EQ(reason(other),
            "decoding: kernel of 17x3, 0 columns of zeros on the left (up to 16x32, "
            "less than the key span)");
  other.conv_before = other.conv_after = {.kernel = &weight, .query_span = 6, .key_span = 11};
  other.mix_before = other.mix_after = {.weight = &weight, .group = 16};
  EXPECT_EQ(reason(other), "");
  other.conv_before = {.kernel = &weight, .query_span = 16, .key_span = 32};
  EXPECT_NE(reason(other).find("bytes of shared memory, a block has 101376"), std::string::npos)
      << reason(other);
}

}  // namespace
}  // namespace mta::check
