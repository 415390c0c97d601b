// Products with weights and rows of tables on a GPU: as exact as separate operations, and the same
// bits every time.
#include "lib/nn/linear.h"
#include "lib/nn/rounded_weights.h"
#include "lib/nn/shared_table.h"
#include "tests/nn/cuda_functions.h"

#include <ATen/TensorOperators.h>
#include <ATen/core/Tensor.h>
#include <ATen/ops/cat.h>
#include <ATen/ops/embedding.h>
#include <ATen/ops/equal.h>
#include <ATen/ops/linear.h>
#include <gtest/gtest.h>

#include <string>

namespace mta {
namespace {

TEST_F(CudaFunctions, WeightsRoundedTogetherAreThoseRoundedAtUse) {
  const Tensors weights = {on_gpu({24, 16}, "a", at::kFloat), on_gpu({8, 16}, "b", at::kFloat),
                           on_gpu({5, 3}, "c", at::kFloat)};
  const at::Tensor x = on_gpu({7, 16}, "x", at::kBFloat16);
  const auto products = [&](const Tensors& t) {
    Tensors out = linear_each(x, {t[0], t[1]});
    out.push_back(mta::linear(x.narrow(1, 0, 3), t[2]));
    return out;
  };
  const Tensors at_use = with_gradients(products, weights);
  const Tensors together = with_gradients(
      [&](const Tensors& t) {
        const RoundedWeights rounded(t, at::kBFloat16);
        return products(t);
      },
      weights);
  for (std::size_t i = 0; i < at_use.size(); ++i) {
    EXPECT_EQ(together[i].scalar_type(), at_use[i].scalar_type());
    EXPECT_LE(relative_error(together[i].cpu(), at_use[i].cpu()), 1e-2) << i;
  }
}

TEST_F(CudaFunctions, ATailHasTheProductsOfItsRowsAndOfAll) {
  const auto separate = [](const Tensors& t) {
    return Tensors{at::linear(t[0].narrow(1, 30, 7), t[1]),
                   at::cat({at::linear(t[0], t[2]), at::linear(t[0], t[3])}, -1)};
  };
  const auto fused = [](const Tensors& t) {
    const auto [last, all] = linear_tail(t[0], 30, t[1], {t[2], t[3]});
    return Tensors{last, all};
  };
  for (const at::ScalarType type : kTypes) {
    expect_as_exact(fused, separate,
                    {on_gpu({3, 37, 40}, "x", type), on_gpu({24, 40}, "last", type),
                     on_gpu({16, 40}, "first", type), on_gpu({8, 40}, "second", type)},
                    "tail", 1e-6);
  }
}

TEST_F(CudaFunctions, LookupsAreThoseOfAnEmbedding) {
  for (const at::ScalarType type : kTypes) {
    for (const std::uint32_t rows : {1U, 32U, 300U}) {  // 300: LibTorch's own
      const at::Tensor index = check::random_tokens({4, 50}, rows, "index").to(at::kCUDA);
      const at::Tensor table = on_gpu({rows, 24}, "table", type);
      EXPECT_TRUE(at::equal(Lookup(index, rows, type).rows_of(table), at::embedding(table, index)));
      if (rows == 300) continue;
      expect_as_exact(
          [&](const Tensors& t) { return Tensors{Lookup(index, rows, type).rows_of(t[0])}; },
          [&](const Tensors& t) { return Tensors{at::embedding(t[0], index.to(t[0].device()))}; },
          {table}, std::to_string(rows) + " rows");
    }
  }
}

TEST_F(CudaFunctions, ASharedTableHasTheGradientsOfBothUses) {
  for (const at::ScalarType type : kTypes) {
    for (const std::uint32_t vocabulary : {1U, 7U, 500U, 5000U}) {
      for (const std::int64_t d : {8, 24, 1536, 2056}) {
        const at::Tensor index = check::random_tokens({3, 67}, vocabulary, "index");
        const at::Tensor x = random_tensor({5, d}, "x").to(type);
        const auto used = [&](bool shared) {
          return [&, shared](const Tensors& t) {
            const at::Tensor tokens = index.to(t[0].device());
            const SharedTable table =
                shared ? share_table(t[0], tokens) : SharedTable{at::embedding(t[0], tokens), t[0]};
            return Tensors{table.rows, at::linear(x.to(t[0].options()), table.whole)};
          };
        };
        expect_as_exact(used(true), used(false), {on_gpu({vocabulary, d}, "table", type)},
                        std::to_string(vocabulary) + " tokens, d " + std::to_string(d));
      }
    }
  }
}

TEST_F(CudaFunctions, ASharedTableMayBeUsedOnce) {
  const at::Tensor index = check::random_tokens({50}, 20, "index");
  for (const bool rows : {true, false}) {
    expect_as_exact(
        [&](const Tensors& t) {
          const SharedTable table = share_table(t[0], index.to(t[0].device()));
          return Tensors{rows ? table.rows : table.whole * 2};
        },
        [&](const Tensors& t) {
          return Tensors{rows ? at::embedding(t[0], index.to(t[0].device())) : t[0] * 2};
        },
        {on_gpu({20, 16}, "table", at::kFloat)}, rows ? "rows alone" : "the whole alone");
  }
}

}  // namespace
}  // namespace mta
