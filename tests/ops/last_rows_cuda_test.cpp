// The kernels of a few last rows against the formulas in double, and against themselves.
#include "lib/ops/last_rows.h"
#include "tests/support/random_tensors.h"

#include <ATen/Context.h>
#include <ATen/TensorOperators.h>
#include <ATen/core/Tensor.h>
#include <ATen/ops/constant_pad_nd.h>
#include <ATen/ops/equal.h>
#include <ATen/ops/matmul.h>
#include <ATen/ops/ones.h>
#include <ATen/ops/softmax.h>
#include <ATen/ops/zeros_like.h>
#include <gtest/gtest.h>

#include <cmath>
#include <limits>
#include <string>
#include <vector>

namespace mta::ops {
namespace {

using check::random_tensor;
using check::relative_error;

struct Case {
  std::int64_t batch, heads, rows, keys, head_dim;
  std::int64_t query = 0, key = 0, pad = 0;  // of the convolution; 0: none
  Causality causality = Causality::Double;
  double dropout = 0;

  std::string text() const {
    return std::to_string(rows) + " of " + std::to_string(keys) + " keys, d " +
           std::to_string(head_dim) + ", kernel " + std::to_string(query) + "x" +
           std::to_string(key) + (causality == Causality::Exact ? " exact" : "") + ", dropout " +
           std::to_string(dropout);
  }
};

class LastRowsCuda : public ::testing::Test {
 protected:
  void SetUp() override {
    if (!at::hasCUDA()) GTEST_SKIP() << "no CUDA device";
  }
};

/// Leaves of a call, on the GPU: q, k and v as parts of wider rows, as out of a joint projection.
struct Leaves {
  Leaves(const Case& c, at::ScalarType type) {
    const auto leaf = [&](std::int64_t length, const char* name) {
      return random_tensor({c.batch, length, 2 * c.heads, c.head_dim}, name)
          .to(at::kCUDA, type)
          .set_requires_grad(true);
    };
    tensors = {leaf(c.rows, "q"), leaf(c.keys, "k"), leaf(c.keys, "v")};
    if (c.query > 0) {
      tensors.push_back(random_tensor({c.heads, c.query, c.key}, "kernel")
                            .to(at::kCUDA, at::kFloat)
                            .set_requires_grad(true));
    }
  }
  at::Tensor part(std::size_t i, std::int64_t heads) const {
    return tensors[i].narrow(2, 1, heads).transpose(1, 2);
  }
  std::vector<at::Tensor> tensors;
};

AttentionCall call_of(const Case& c, const Leaves& leaves) {
  AttentionCall call{.q = leaves.part(0, c.heads),
                     .k = leaves.part(1, c.heads),
                     .v = leaves.part(2, c.heads),
                     .first_row = c.keys - c.rows,
                     .dropout = {.rate = c.dropout, .seed = 5, .stream = 3}};
  if (c.query > 0) {
    call.kq_before =
        KqConvolution{.kernel = leaves.tensors[3], .pad_left = c.pad, .causality = c.causality};
  }
  return call;
}

/// Zero above the diagonal that lies `shift` below the rows' own.
at::Tensor causal(const at::Tensor& map, std::int64_t first_row, std::int64_t shift = 0) {
  return map.tril(first_row - shift);
}

/// The formulas of lib/ops/attention.h; `keep` is dropout's factors.
at::Tensor by_formulas(const AttentionCall& call, const at::Tensor& keep) {
  const double scale = 1 / std::sqrt(static_cast<double>(call.q.size(3)));
  at::Tensor map = at::matmul(call.q, call.k.transpose(2, 3)) * scale;
  const std::int64_t rows = map.size(2), keys = map.size(3);
  if (call.kq_before) {
    const at::Tensor& kernel = call.kq_before->kernel;
    at::Tensor sum = at::zeros_like(map);
    for (std::int64_t a = 0; a < kernel.size(1); ++a) {
      const std::int64_t up = kernel.size(1) - 1 - a;  // row r reads row r - up
      if (up >= rows) continue;
      // From the reading row's view: key j' <= position of the row read, or of the row itself.
      const std::int64_t shift = call.kq_before->causality == Causality::Exact ? 0 : up;
      at::Tensor read = at::constant_pad_nd(map.narrow(2, 0, rows - up), {0, 0, up, 0}, 0);
      read = causal(read, call.first_row, shift);
      for (std::int64_t b = 0; b < kernel.size(2); ++b) {
        const std::int64_t left = call.kq_before->pad_left - b;  // moves to the right by this
        if (std::abs(left) >= keys) continue;
        const at::Tensor moved = at::constant_pad_nd(read, {left, -left}, 0);
        sum = sum + kernel.select(1, a).select(1, b).view({1, -1, 1, 1}) * moved;
      }
    }
    map = sum;
  }
  const at::Tensor future =
      at::ones({rows, keys}, at::kBool).triu(call.first_row + 1).to(map.device());
  map = at::softmax(map.masked_fill(future, -std::numeric_limits<double>::infinity()), -1);
  return at::matmul(map * keep, call.v);
}

/// Output and gradients of f at `leaves`.
template <class F>
std::vector<at::Tensor> with_gradients(const std::vector<at::Tensor>& leaves, const F& f) {
  for (const at::Tensor& leaf : leaves) leaf.mutable_grad() = at::Tensor();
  const at::Tensor out = f();
  const at::Tensor weight = random_tensor(out.sizes(), "out").to(out.options());
  (out * weight).to(at::kDouble).sum().backward();
  std::vector<at::Tensor> results = {out.detach()};
  for (const at::Tensor& leaf : leaves) results.push_back(leaf.grad());
  return results;
}

void expect_close(const Case& c, at::ScalarType type) {
  const Leaves leaves(c, type);
  const std::string unsupported = last_rows_unsupported(call_of(c, leaves));
  ASSERT_EQ(unsupported, "");
  const auto run = [&] {
    return with_gradients(leaves.tensors, [&] { return last_rows_attention(call_of(c, leaves)); });
  };
  const std::vector<at::Tensor> found = run(), again = run();

  Leaves wide(c, type);
  for (at::Tensor& tensor : wide.tensors) {
    tensor = tensor.detach().to(at::kCPU, at::kDouble).set_requires_grad(true);
  }
  const at::Tensor ones = at::ones({c.batch, c.heads, c.rows, c.keys}, at::kFloat).cuda();
  const at::Tensor keep = dropped(ones, call_of(c, leaves).dropout, c.keys - c.rows).cpu();
  const std::vector<at::Tensor> truth = with_gradients(
      wide.tensors, [&] { return by_formulas(call_of(c, wide), keep.to(at::kDouble)); });
  const double tolerance = type == at::kHalf ? 1e-3 : 8e-3;  // one rounding of each result
  for (std::size_t i = 0; i < truth.size(); ++i) {
    EXPECT_LE(relative_error(found[i].cpu(), truth[i]), tolerance) << c.text() << ", result " << i;
    EXPECT_TRUE(at::equal(found[i], again[i])) << c.text() << ", result " << i << " twice";
  }
}

TEST_F(LastRowsCuda, FollowTheFormulas) {
  const Causality exact = Causality::Exact;
  const Case cases[] = {
      {3, 2, 6, 320, 128},
      {3, 2, 7, 320, 128, 2, 9, 4},
      {2, 3, 8, 33, 64, 3, 5, 2, exact},
      {2, 1, 1, 17, 32},
      {1, 2, 5, 5, 20, 4, 6, 5, exact},
      {2, 2, 8, 100, 96, 6, 11, 0},
      {2, 2, 3, 9, 4, 8, 32, 31},
      {3, 2, 7, 320, 128, 2, 9, 4, Causality::Double, 0.1},
      {2, 4, 6, 61, 64, 0, 0, 0, Causality::Double, 0.5},
  };
  for (const at::ScalarType type : {at::kBFloat16, at::kHalf}) {
    for (const Case& c : cases) expect_close(c, type);
  }
}

TEST_F(LastRowsCuda, SayWhatTheyDoNotCover) {
  const auto reason = [](const Case& c, at::ScalarType type) {
    return last_rows_unsupported(call_of(c, Leaves(c, type)));
  };
  EXPECT_EQ(reason({1, 1, 9, 20, 32}, at::kBFloat16), "9 rows are wanted (at most 8)");
  EXPECT_EQ(reason({1, 1, 2, 20, 34}, at::kBFloat16), "head size 34 (multiples of 4, at most 128)");
  EXPECT_EQ(reason({1, 1, 2, 20, 32}, at::kFloat), "q is Float on cuda:0");
  EXPECT_EQ(reason({1, 1, 2, 9000, 32}, at::kHalf), "9000 keys are more than shared memory holds");
}

}  // namespace
}  // namespace mta::ops
