// Whole layers against plain loops, in every option that golden vectors do not cover, and those
// they do.
#include "tests/support/slow_attention.h"

#include "lib/attention/registry.h"
#include "tests/support/random_layer.h"

#include <ATen/core/Tensor.h>
#include <gtest/gtest.h>

#include <functional>
#include <string>
#include <vector>

namespace mta {
namespace {

constexpr LayerShape kShape{.dim = 16, .heads = 4, .layer = 2};

/// Both paths in double against the loops, at lengths below and above every span.
void expect_as_loops(AttentionConfig config, const std::string& what) {
  SCOPED_TRACE(what);
  for (const AttentionPath path : {AttentionPath::Composed, AttentionPath::Auto}) {
    config.path = path;
    const check::RandomLayer layer(config, kShape);
    check::SlowAttention slow(config, layer);
    for (const std::int64_t length : {1, 4, 17}) {
      const at::Tensor x = check::random_tensor({length, kShape.dim}, "x");
      EXPECT_LE(check::relative_error(layer(x.unsqueeze(0)).squeeze(0), slow(x)), 1e-13)
          << "length " << length << (path == AttentionPath::Auto ? ", auto" : ", composed");
    }
  }
}

TEST(AgainstLoops, EveryVariant) {
  for (const std::string& name : variant_names()) {
    if (find_variant(name).add_stages == nullptr) expect_as_loops(preset(name), name);
  }
}

TEST(AgainstLoops, EveryPaddingAndSpan) {
  for (const KeyPad pad : {KeyPad::Both, KeyPad::Left, KeyPad::Right}) {
    for (const std::int64_t query : {1, 2, 5}) {
      for (const std::int64_t key : {1, 2, 4, 7}) {
        for (const Causality causality : {Causality::Double, Causality::Exact}) {
          AttentionConfig config;
          config.kq_before = {.query = query, .key = key, .pad = pad};
          config.causality = causality;
          expect_as_loops(config, "before, " + std::to_string(query) + " x " + std::to_string(key) +
                                      (causality == Causality::Exact ? ", exact" : ", double") +
                                      ", pad " + std::to_string(static_cast<int>(pad)));
        }
        AttentionConfig config;
        config.kq_after = {.query = query, .key = key, .pad = pad};
        expect_as_loops(config, "after, " + std::to_string(query) + " x " + std::to_string(key));
      }
    }
  }
}

TEST(AgainstLoops, HeadMixingInGroups) {
  for (const std::int64_t group : {1, 2, 4}) {
    AttentionConfig config;
    config.heads_before = {.group = group};
    expect_as_loops(config, "before, groups of " + std::to_string(group));
    config.heads_after = {.group = 4 / group};
    expect_as_loops(config, "both, groups of " + std::to_string(group));
  }
}

TEST(AgainstLoops, DepthScalesAndGates) {
  for (const DepthScale scale :
       {DepthScale::None, DepthScale::Exponential, DepthScale::InverseSqrt}) {
    for (const GateKind kind : {GateKind::Scalar, GateKind::Vector}) {
      AttentionConfig config;
      config.group_norm = {.depth_scale = scale, .eps = 1e-3};
      config.gate = {.kind = kind};
      expect_as_loops(config, "norm and gate");
    }
  }
}

TEST(AgainstLoops, DifferentialWithEverythingElse) {
  AttentionConfig config = preset("multi_token");
  config.differential = true;
  config.causality = Causality::Exact;
  config.kq_before = {.query = 3, .key = 4, .pad = KeyPad::Left};
  config.kq_after = {.query = 2, .key = 6};
  config.heads_before = {.group = 2};
  config.gate = {.kind = GateKind::Vector};
  expect_as_loops(config, "differential, exact, even spans, groups");
}

TEST(AgainstLoops, ExactAndDoubleDifferNearTheDiagonal) {
  AttentionConfig config;
  config.path = AttentionPath::Composed;
  config.kq_before = {.query = 3, .key = 5};
  const check::RandomLayer twice(config, kShape);
  config.causality = Causality::Exact;
  const check::RandomLayer exact(config, kShape);
  const at::Tensor x = check::random_tensor({1, 17, kShape.dim}, "x");
  EXPECT_GT(check::relative_error(twice(x), exact(x)), 1e-3);
}

TEST(AgainstLoops, KqLayersTurnTheConvolutionsOffElsewhere) {
  AttentionConfig config = preset("multi_token");
  config.kq_layers = {1};
  const check::RandomLayer without(config, kShape);
  for (const auto& [name, unused] : without.parameters.named()) {
    EXPECT_FALSE(name.starts_with("kq_")) << name;
  }
  EXPECT_NO_THROW(without.parameters.at("heads_before.weight"));
  const check::RandomLayer with(config, {.dim = 16, .heads = 4, .layer = 1});
  EXPECT_NO_THROW(with.parameters.at("kq_after.kernel"));
}

}  // namespace
}  // namespace mta
