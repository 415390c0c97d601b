// The kernels of the norm and the gate on attention's output against the formulas in double.
#include "lib/nn/cuda/kernels.h"
#include "tests/kernels/emulator/block.h"

#include <cuda_bf16.h>
#include <gtest/gtest.h>

#include <cmath>
#include <cstring>
#include <limits>
#include <random>
#include <string>
#include <vector>

namespace mta::nn::cuda {
namespace {

using Values = std::vector<double>;

constexpr float kNormScale = 0.75F;

/// Sizes, which stages, and where a row of o lies.
struct Case {
  NormGate sizes;  // no pointers
  bool norm, gate;
  std::int64_t room;  // values of o's memory

  std::int64_t rows() const { return sizes.batch * sizes.tokens * sizes.heads; }
  std::string name() const {
    return "B" + std::to_string(sizes.batch) + " T" + std::to_string(sizes.tokens) + " H" +
           std::to_string(sizes.heads) + " d" + std::to_string(sizes.d) + (norm ? " norm" : "") +
           (gate ? " gate" : "") + (sizes.type == Type::BFloat16 ? " bf16" : " fp32");
  }
  std::int64_t place(std::int64_t row) const {  // rows in the order (sample, token, head)
    const std::int64_t head = row % sizes.heads, token = row / sizes.heads % sizes.tokens;
    return row / sizes.heads / sizes.tokens * sizes.batch_stride + token * sizes.token_stride +
           head * sizes.head_stride;
  }
};

std::int64_t between(std::mt19937_64& generator, std::int64_t low, std::int64_t high) {
  return low + static_cast<std::int64_t>(generator() % static_cast<std::uint64_t>(high - low + 1));
}

Case random_case(std::mt19937_64& generator) {
  NormGate sizes = {.type = between(generator, 0, 1) == 0 ? Type::Float : Type::BFloat16,
                    .batch = between(generator, 1, 3),
                    .tokens = between(generator, 1, 9),
                    .heads = between(generator, 1, 5),
                    .d = kVector * between(generator, 1, kMaxHead / kVector),
                    .eps = 1e-5F};
  const std::int64_t spare = kVector * between(generator, 0, 1);  // behind each head
  const std::int64_t wide = sizes.d + spare;
  if (between(generator, 0, 1) == 0) {  // [B, T, H, wide]
    sizes.head_stride = wide, sizes.token_stride = sizes.heads * wide;
  } else {  // [B, H, T, wide]
    sizes.token_stride = wide, sizes.head_stride = sizes.tokens * wide;
  }
  sizes.batch_stride = sizes.heads * sizes.tokens * wide;
  const std::int64_t stages = between(generator, 0, 2);
  const bool norm = stages != 1, gate = stages != 0;
  if (norm) sizes.norm_scale = kNormScale;
  return {sizes, norm, gate, sizes.batch * sizes.batch_stride};
}

/// Numbers in the memory of a type, 16-byte aligned; NaN at first.
class Memory {
 public:
  Memory(std::int64_t count, Type type)
      : type_(type), words_(static_cast<std::size_t>(count) + 3, Four{}) {
    for (std::int64_t i = 0; i < count; ++i) set(i, std::numeric_limits<double>::quiet_NaN());
  }
  void* data() { return words_.data(); }
  float* floats() { return static_cast<float*>(data()); }

  void set(std::int64_t i, double value) {
    const auto x = static_cast<float>(value);
    if (type_ == Type::Float) {
      std::memcpy(bytes(i), &x, sizeof(x));
    } else {
      const __nv_bfloat16 rounded = __float2bfloat16_rn(x);
      std::memcpy(bytes(i), &rounded, sizeof(rounded));
    }
  }
  double get(std::int64_t i) {
    float x = 0;
    __nv_bfloat16 narrow = {};
    if (type_ == Type::Float) {
      std::memcpy(&x, bytes(i), sizeof(x));
      return x;
    }
    std::memcpy(&narrow, bytes(i), sizeof(narrow));
    return __bfloat162float(narrow);
  }

 private:
  struct alignas(16) Four {
    float x[4];
  };
  char* bytes(std::int64_t i) {
    return static_cast<char*>(data()) + i * (type_ == Type::Float ? 4 : 2);
  }
  Type type_;
  std::vector<Four> words_;
};

/// Everything that a call reads, random, and rounded as it is stored.
struct Inputs {
  Memory o, grad_y, norm, gate, bias;

  Inputs(const Case& c, std::mt19937_64& generator)
      : o(c.room, c.sizes.type),
        grad_y(c.rows() * c.sizes.d, c.sizes.type),
        norm(c.sizes.d, Type::Float),
        gate(c.sizes.d, Type::Float),
        bias(1, Type::Float) {
    std::normal_distribution<double> normal;
    const std::int64_t d = c.sizes.d;
    for (std::int64_t row = 0; row < c.rows(); ++row) {
      for (std::int64_t i = 0; i < d; ++i) {
        o.set(c.place(row) + i, 2 * normal(generator));
        grad_y.set(row * d + i, normal(generator));
      }
    }
    for (std::int64_t i = 0; i < d; ++i) {
      norm.set(i, 1 + 0.3 * normal(generator));
      gate.set(i, normal(generator) / std::sqrt(static_cast<double>(d)));
    }
    bias.set(0, 0.4);
  }
};

struct Results {
  Values y, grad_o, grad_norm, grad_gate, grad_bias;
};

/// The formulas of one row, adding to the parameters' gradients.
void expect_row(const Case& c, Inputs& in, std::int64_t row, Results& to) {
  const auto d = static_cast<std::size_t>(c.sizes.d);
  Values o(d), n(d), u(d, 1), g(d, 0), grad_y(d), grad_n(d);
  double squares = 0, z = in.bias.get(0);
  for (std::size_t i = 0; i < d; ++i) {
    const auto at = static_cast<std::int64_t>(i);
    o[i] = in.o.get(c.place(row) + at);
    grad_y[i] = in.grad_y.get(row * c.sizes.d + at);
    if (c.norm) u[i] = in.norm.get(at) * kNormScale;
    if (c.gate) g[i] = in.gate.get(at);
    squares += o[i] * o[i];
  }
  const double count = static_cast<double>(d), eps = c.sizes.eps;
  const double root = c.norm ? 1 / std::sqrt(squares / count + eps) : 1;
  for (std::size_t i = 0; i < d; ++i) {
    n[i] = o[i] * root * u[i];
    z += n[i] * g[i];
  }
  const double gate = c.gate ? 1 / (1 + std::exp(-z)) : 1;
  double grad_gate = 0, mean = 0;
  for (std::size_t i = 0; i < d; ++i) grad_gate += grad_y[i] * n[i];
  const double grad_z = c.gate ? grad_gate * gate * (1 - gate) : 0;
  for (std::size_t i = 0; i < d; ++i) {
    grad_n[i] = grad_y[i] * gate + grad_z * g[i];
    mean += grad_n[i] * u[i] * o[i] / count;
    to.grad_norm[i] += grad_n[i] * o[i] * root * kNormScale;
    to.grad_gate[i] += grad_z * n[i];
  }
  to.grad_bias[0] += grad_z;
  for (std::size_t i = 0; i < d; ++i) {
    const double through_root = c.norm ? o[i] * root * root * root * mean : 0;
    to.y.push_back(n[i] * gate);
    to.grad_o.push_back(root * grad_n[i] * u[i] - through_root);
  }
}

Results expected(const Case& c, Inputs& in) {
  const auto d = static_cast<std::size_t>(c.sizes.d);
  Results to = {{}, {}, Values(d), Values(d), Values(1)};
  for (std::int64_t row = 0; row < c.rows(); ++row) expect_row(c, in, row, to);
  if (!c.norm) to.grad_norm.clear();
  if (!c.gate) to.grad_gate.clear(), to.grad_bias.clear();
  return to;
}

Values values_of(Memory& memory, std::int64_t count) {
  Values all;
  for (std::int64_t i = 0; i < count; ++i) all.push_back(memory.get(i));
  return all;
}

Results found(const Case& c, Inputs& in) {
  const std::int64_t d = c.sizes.d, count = c.rows() * d;
  NormGate call = c.sizes;
  Memory y(count, call.type), grad_o(count, call.type);
  Memory parts(norm_gate_parts(call) * (2 * d + 1), Type::Float);
  Memory norm(d, Type::Float), gate(d, Type::Float), bias(1, Type::Float);
  call.o = in.o.data(), call.y = y.data();
  if (c.norm) call.norm_weight = in.norm.floats();
  if (c.gate) call.gate_weight = in.gate.floats(), call.gate_bias = in.bias.floats();
  EXPECT_EQ(norm_gate(call, nullptr), nullptr);
  NormGateBackward backward = {.forward = call,
                               .grad_y = in.grad_y.data(),
                               .grad_o = grad_o.data(),
                               .parts = parts.floats()};
  if (c.norm) backward.grad_norm_weight = norm.floats();
  if (c.gate) backward.grad_gate_weight = gate.floats(), backward.grad_gate_bias = bias.floats();
  EXPECT_EQ(norm_gate_backward(backward, nullptr), nullptr);
  return {values_of(y, count), values_of(grad_o, count), values_of(norm, c.norm ? d : 0),
          values_of(gate, c.gate ? d : 0), values_of(bias, c.gate ? 1 : 0)};
}

double relative_error(const Values& found, const Values& truth) {
  double error = 0, norm = 0;
  for (std::size_t i = 0; i < truth.size(); ++i) {
    error += (found[i] - truth[i]) * (found[i] - truth[i]);
    norm += truth[i] * truth[i];
  }
  return norm == 0 ? error : std::sqrt(error / norm);
}

void expect_near(const Results& found, const Results& truth, double rounding) {
  constexpr double kFloat = 2e-5;  // sums of fp32
  ASSERT_EQ(found.y.size(), truth.y.size());
  ASSERT_EQ(found.grad_norm.size(), truth.grad_norm.size());
  EXPECT_LE(relative_error(found.y, truth.y), rounding + kFloat);
  EXPECT_LE(relative_error(found.grad_o, truth.grad_o), rounding + kFloat);
  EXPECT_LE(relative_error(found.grad_norm, truth.grad_norm), kFloat);
  EXPECT_LE(relative_error(found.grad_gate, truth.grad_gate), kFloat);
  EXPECT_LE(relative_error(found.grad_bias, truth.grad_bias), kFloat);
}

/// One rounding of a value of this type.
double rounding_of(Type type) { return type == Type::BFloat16 ? 0x1p-9 : 0; }

TEST(NormGate, IsTheFormulaOnStridedRowsOfAnySize) {
  std::mt19937_64 generator(1);
  for (int n = 0; n < 60; ++n) {
    const Case c = random_case(generator);
    SCOPED_TRACE(c.name());
    Inputs in(c, generator);
    expect_near(found(c, in), expected(c, in), rounding_of(c.sizes.type));
  }
}

TEST(NormGate, ManyRowsAreSharedOutAmongTheParts) {
  std::mt19937_64 generator(2);
  NormGate sizes = {.type = Type::BFloat16, .batch = 2, .tokens = 1100, .heads = 5, .d = 24};
  sizes.head_stride = 24, sizes.token_stride = 5 * 24, sizes.batch_stride = 1100 * 5 * 24;
  sizes.eps = 1e-5F, sizes.norm_scale = kNormScale;
  const Case c = {sizes, true, true, 2 * 1100 * 5 * 24};
  EXPECT_EQ(norm_gate_parts(sizes), kNormGateParts);
  Inputs in(c, generator);
  expect_near(found(c, in), expected(c, in), rounding_of(sizes.type));
}

TEST(NormGate, GivesTheSameBitsInAnyOrderOfBlocks) {
  std::mt19937_64 generator(3);
  for (int n = 0; n < 10; ++n) {
    const Case c = random_case(generator);
    SCOPED_TRACE(c.name());
    Inputs in(c, generator);
    emulator::set_order(1);
    const Results once = found(c, in);
    emulator::set_order(2);
    const Results again = found(c, in);
    EXPECT_EQ(once.y, again.y);
    EXPECT_EQ(once.grad_o, again.grad_o);
    EXPECT_EQ(once.grad_norm, again.grad_norm);
    EXPECT_EQ(once.grad_gate, again.grad_gate);
    EXPECT_EQ(once.grad_bias, again.grad_bias);
  }
}

}  // namespace
}  // namespace mta::nn::cuda
