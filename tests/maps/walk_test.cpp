// Maps computed some rows at a time against those of one whole forward pass, for every variant.
#include "lib/maps/walk.h"

#include "lib/attention/registry.h"
#include "tests/support/random_tensors.h"

#include <ATen/core/Tensor.h>
#include <ATen/ops/zeros.h>
#include <gtest/gtest.h>

#include <map>

namespace mta::maps {
namespace {

constexpr std::int64_t kTokens = 23, kVocabulary = 11;

using Maps = std::map<std::pair<std::int64_t, std::string>, at::Tensor>;  // [H, T, T]

struct RandomModel {
  explicit RandomModel(const std::string& variant)
      : config{.dim = 32, .layers = 2, .heads = 4, .ffn_hidden = 48, .vocabulary = {}},
        model(config, attention_of(variant), kVocabulary,
              {.master = at::kDouble, .compute = at::kDouble}) {
    check::randomise(model.parameters());
  }

  static AttentionConfig attention_of(const std::string& variant) {
    AttentionConfig attention = preset(variant);
    attention.kq_layers.reset();  // in both layers, wherever the preset has them
    return attention;
  }

  ModelConfig config;
  LanguageModel model;
  at::Tensor tokens = check::random_tokens({1, kTokens}, kVocabulary, "walk");

  std::vector<std::int32_t> token_list() const {
    std::vector<std::int32_t> list;
    for (std::int64_t t = 0; t < kTokens; ++t) {
      list.push_back(static_cast<std::int32_t>(tokens[0][t].item<std::int64_t>()));
    }
    return list;
  }

  Maps whole() const {
    Maps maps;
    const Tap tap = [&maps](std::int64_t layer, std::string_view stage, const at::Tensor& map) {
      maps[{layer, std::string(stage)}] = map[0].detach().to(at::kFloat);
    };
    model.forward(tokens, {.tap = &tap});
    return maps;
  }

  Maps walked(const IndexRange& rows, std::int64_t chunk) const {
    Maps maps;
    const WalkRequest request{
        .tokens = token_list(), .layers = {0, 1}, .rows = rows, .chunk = chunk};
    walk_maps(model, config, at::kDouble, request, [&](const MapRows& part) {
      EXPECT_LE(part.map.size(1), chunk);
      EXPECT_EQ(part.map.size(2), part.first_row + part.map.size(1));  // no later column
      at::Tensor& map = maps[{part.layer, std::string(part.stage)}];
      if (!map.defined()) map = at::zeros({part.map.size(0), kTokens, kTokens}, at::kFloat);
      map.narrow(1, part.first_row, part.map.size(1))
          .narrow(2, 0, part.map.size(2))
          .copy_(part.map);
    });
    return maps;
  }
};

void expect_same_rows(const Maps& found, const Maps& truth, const IndexRange& rows) {
  ASSERT_EQ(found.size(), truth.size());
  for (const auto& [key, map] : truth) {
    SCOPED_TRACE(key.second + " of layer " + std::to_string(key.first));
    const at::Tensor expected = map.narrow(1, rows.begin, rows.size());
    const at::Tensor walked = found.at(key).narrow(1, rows.begin, rows.size());
    EXPECT_LE((walked - expected).abs().max().item<float>(), 1e-5F);
    // Rows outside of the window were not shown.
    EXPECT_EQ(found.at(key).narrow(1, 0, rows.begin).abs().sum().item<float>(), 0);
  }
}

TEST(Walk, ShowsTheMapsOfTheWholePassInEveryVariant) {
  for (const std::string& variant : variant_names()) {
    SCOPED_TRACE(variant);
    const RandomModel random(variant);
    const Maps truth = random.whole();
    expect_same_rows(random.walked({0, kTokens}, 5), truth, {0, kTokens});
    expect_same_rows(random.walked({7, 16}, 4), truth, {7, 16});
    expect_same_rows(random.walked({7, 16}, 100), truth, {7, 16});
  }
}

TEST(Walk, SaysWhichStagesAreWeightsAndTheirRowsSumToOne) {
  const RandomModel random("multi_token");
  int sums = 0;
  const WalkRequest request{.tokens = random.token_list(), .layers = {1}, .rows = {3, 9}};
  walk_maps(random.model, random.config, at::kDouble, request, [&](const MapRows& part) {
    EXPECT_EQ(part.layer, 1);
    const bool before =
        part.stage == "scores" || part.stage == "kq_before" || part.stage == "heads_before";
    EXPECT_EQ(part.after_softmax, !before) << part.stage;
    if (part.stage != "softmax") return;
    ++sums;
    EXPECT_LE((part.map.sum(-1) - 1).abs().max().item<float>(), 1e-5F);
  });
  EXPECT_EQ(sums, 1);
}

}  // namespace
}  // namespace mta::maps
