// What must hold for every variant of attention, with random weights.
#include "lib/attention/layer.h"
#include "lib/attention/registry.h"
#include "tests/support/gradients.h"
#include "tests/support/random_layer.h"

#include <ATen/TensorOperators.h>
#include <ATen/core/Tensor.h>
#include <ATen/ops/cat.h>
#include <ATen/ops/zeros_like.h>
#include <gtest/gtest.h>

#include <map>
#include <string>
#include <vector>

namespace mta {
namespace {

using check::RandomLayer;

constexpr LayerShape kFourHeads{.dim = 16, .heads = 4, .layer = 1};

class EveryVariant : public ::testing::TestWithParam<std::string> {
 protected:
  /// Runs `test` with the variant's configuration, on the composed path and the automatic one.
  template <class Test>
  static void on_both_paths(Test test) {
    for (const AttentionPath path : {AttentionPath::Composed, AttentionPath::Auto}) {
      SCOPED_TRACE(path == AttentionPath::Auto ? "auto" : "composed");
      AttentionConfig config = preset(GetParam());
      config.path = path;
      test(config);
    }
  }
};

INSTANTIATE_TEST_SUITE_P(Attention, EveryVariant, ::testing::ValuesIn(variant_names()),
                         [](const auto& variant) { return variant.param; });

TEST_P(EveryVariant, GradientsMatchCentralDifferences) {
  on_both_paths([](const AttentionConfig& config) {
    const RandomLayer layer(config);
    const at::Tensor x = check::random_tensor({1, 7, 8}, "x").set_requires_grad(true);
    const at::Tensor weights = check::random_tensor({1, 5, 8}, "weights");
    check::NamedTensors leaves = layer.parameters.named();
    leaves.emplace_back("x", x);
    check::expect_gradients([&] { return (layer(x, {.first_row = 2}) * weights).sum(); }, leaves);
  });
}

TEST_P(EveryVariant, ChangingTheFutureLeavesThePastBitIdentical) {
  on_both_paths([](const AttentionConfig& config) {
    const RandomLayer layer(config, kFourHeads);
    const at::Tensor x = check::random_tensor({2, 23, 16}, "x");
    const at::Tensor past = layer(x);
    for (const std::int64_t changed : {22, 21, 12, 1}) {
      at::Tensor other = x.clone();
      other.narrow(1, changed, x.size(1) - changed)
          .copy_(check::random_tensor({2, x.size(1) - changed, 16}, "other"));
      const at::Tensor now = layer(other);
      EXPECT_TRUE(now.narrow(1, 0, changed).equal(past.narrow(1, 0, changed)))
          << "outputs before token " << changed << " depend on it";
      EXPECT_FALSE(now.equal(past)) << "the change had no effect at all";
    }
  });
}

TEST_P(EveryVariant, IdentityStartEqualsStandardAttention) {
  on_both_paths([](AttentionConfig config) {
    if (find_variant(config.variant).start != Start::AsStandard) return;
    config.group_norm.reset();
    config.gate.reset();
    AttentionConfig standard;
    standard.path = AttentionPath::Composed;
    Parameters ours(7, at::kDouble), theirs(7, at::kDouble);
    const AttentionLayer layer(config, kFourHeads, ours, "", at::kDouble);
    const AttentionLayer baseline(standard, kFourHeads, theirs, "", at::kDouble);
    const at::Tensor x = check::random_tensor({2, 23, 16}, "x");
    const RotaryTable table = make_rotary_table(23, kFourHeads.head_dim(), 100, x.options());
    const double error =
        check::relative_error(layer.forward(x, table, {}), baseline.forward(x, table, {}));
    EXPECT_LE(error, 1e-12);
  });
}

TEST_P(EveryVariant, RunsAtAnyLength) {
  on_both_paths([](const AttentionConfig& config) {
    const RandomLayer layer(config, kFourHeads);
    const at::Tensor x = check::random_tensor({2, 113, 16}, "x");
    const at::Tensor longest = layer(x);
    EXPECT_TRUE(longest.isfinite().all().item<bool>());
    for (const std::int64_t length : {1, 2, 5, 11, 112}) {
      const at::Tensor shorter = layer(x.narrow(1, 0, length));
      EXPECT_LE(check::relative_error(shorter, longest.narrow(1, 0, length)), 1e-13) << length;
    }
  });
}

TEST_P(EveryVariant, AWindowOfRowsEqualsTheSameRowsOfAll) {
  on_both_paths([](const AttentionConfig& config) {
    const RandomLayer layer(config, kFourHeads);
    const at::Tensor x = check::random_tensor({2, 40, 16}, "x");
    const at::Tensor all = layer(x);
    for (const std::int64_t first : {1, 7, 30, 39}) {
      const at::Tensor rows = layer(x, {.first_row = first});
      EXPECT_LE(check::relative_error(rows, all.narrow(1, first, 40 - first)), 1e-13) << first;
    }
  });
}

TEST_P(EveryVariant, DecodingWithACacheEqualsRecomputation) {
  on_both_paths([](const AttentionConfig& config) {
    const RandomLayer layer(config, kFourHeads);
    const at::Tensor x = check::random_tensor({2, 30, 16}, "x");
    const at::Tensor all = layer(x);
    const RotaryTable table = layer.table(30);
    KvCache cache;
    std::vector<at::Tensor> pieces;
    std::int64_t done = 0;
    for (const std::int64_t count : {13, 1, 1, 1, 4, 1, 1, 8}) {
      pieces.push_back(layer.layer.decode(x.narrow(1, done, count), table, cache));
      done += count;
    }
    EXPECT_EQ(cache.tokens(), 30);
    EXPECT_LE(check::relative_error(at::cat(pieces, 1), all), 1e-13);
  });
}

TEST_P(EveryVariant, MapsAreCausalAndTheSoftmaxSumsToOne) {
  on_both_paths([](const AttentionConfig& config) {
    const RandomLayer layer(config, kFourHeads);
    std::map<std::string, at::Tensor> maps;
    const Tap tap = [&](std::int64_t index, std::string_view stage, const at::Tensor& map) {
      EXPECT_EQ(index, kFourHeads.layer);
      EXPECT_TRUE(map.triu(1).equal(at::zeros_like(map))) << stage << " shows the future";
      EXPECT_TRUE(maps.emplace(stage, map).second) << stage << " is seen twice";
    };
    const at::Tensor x = check::random_tensor({2, 23, 16}, "x");
    const at::Tensor tapped = layer(x, {.tap = &tap});
    EXPECT_LE(check::relative_error(tapped, layer(x)), 1e-13);
    ASSERT_TRUE(maps.contains("softmax") && maps.contains("scores"));
    const at::Tensor sums = maps.at("softmax").sum(-1);
    EXPECT_LE((sums - 1).abs().max().item<double>(), 1e-14);
    EXPECT_EQ(maps.contains("kq_before"), config.kq_before.has_value());
    EXPECT_EQ(maps.contains("heads_before"), config.heads_before.has_value());
    EXPECT_EQ(maps.contains("kq_after"), config.kq_after.has_value());
    EXPECT_EQ(maps.contains("heads_after"), config.heads_after.has_value());
  });
}

TEST_P(EveryVariant, RunsInEveryType) {
  on_both_paths([](const AttentionConfig& config) {
    const RandomLayer precise(config, kFourHeads);
    const at::Tensor x = check::random_tensor({2, 23, 16}, "x");
    const at::Tensor truth = precise(x);
    for (const auto& [type, tolerance] :
         std::vector<std::pair<at::ScalarType, double>>{{at::kFloat, 1e-5}, {at::kBFloat16, 0.1}}) {
      const RandomLayer layer(config, kFourHeads, type);
      const at::Tensor y = layer(x.to(type));
      EXPECT_EQ(y.scalar_type(), type);
      EXPECT_LE(check::relative_error(y, truth), tolerance) << type;
    }
  });
}

}  // namespace
}  // namespace mta
