// Layers that are computed again in the backward pass: the bits of those that are kept.
#include "lib/attention/registry.h"
#include "lib/model/language_model.h"
#include "lib/nn/cross_entropy.h"
#include "tests/support/random_tensors.h"

#include <ATen/TensorOperators.h>
#include <ATen/core/Tensor.h>
#include <ATen/ops/full.h>
#include <ATen/ops/ones.h>
#include <gtest/gtest.h>

#include <string>
#include <utility>
#include <vector>

namespace mta {
namespace {

constexpr std::uint32_t kVocabulary = 11;
constexpr std::int64_t kLayers = 3;

LanguageModel model_of(const std::string& variant, AttentionPath path, at::ScalarType compute) {
  ModelConfig config;
  config.dim = 16;
  config.layers = kLayers;
  config.heads = 4;
  config.ffn_hidden = 24;
  AttentionConfig attention = preset(variant);
  attention.path = path;
  const at::ScalarType master = compute == at::kDouble ? at::kDouble : at::kFloat;
  LanguageModel model(config, attention, kVocabulary,
                      {.seed = 4, .master = master, .compute = compute});
  check::randomise(model.parameters());
  return model;
}

/// The loss on the last 5 tokens, then the gradients of all parameters.
std::vector<at::Tensor> results(const LanguageModel& model, const at::Tensor& tokens,
                                const ForwardOptions& options) {
  const at::Tensor logits = model.forward(tokens, options);
  const at::Tensor answer = logits.narrow(1, logits.size(1) - 5, 5);
  const at::Tensor loss =
      cross_entropy(answer, tokens.narrow(1, 0, 5), at::ones({tokens.size(0), 5}));
  loss.backward();
  std::vector<at::Tensor> all = {loss.detach()};
  for (const at::Tensor& parameter : model.parameters().tensors()) {
    all.push_back(parameter.grad());
    parameter.mutable_grad() = at::Tensor();
  }
  return all;
}

void expect_same_bits(const LanguageModel& model, const at::Tensor& tokens,
                      ForwardOptions options) {
  const std::vector<at::Tensor> kept = results(model, tokens, options);
  for (const std::int64_t layers : {std::int64_t{1}, kLayers}) {
    options.recompute_layers = layers;
    const std::vector<at::Tensor> again = results(model, tokens, options);
    EXPECT_TRUE(again[0].equal(kept[0])) << "loss";
    for (std::size_t i = 1; i < kept.size(); ++i) {
      EXPECT_TRUE(again[i].equal(kept[i]))
          << model.parameters().named()[i - 1].first << ", " << layers << " layers";
    }
  }
}

/// Three rows of 20 tokens are more than the vocabulary, one of 10 is less: two kinds of first
/// layer.
void expect_same_bits(const std::string& variant, AttentionPath path, at::ScalarType type) {
  const LanguageModel model = model_of(variant, path, type);
  const at::Tensor many = check::random_tokens({3, 20}, kVocabulary, "many");
  const at::Tensor few = check::random_tokens({1, 10}, kVocabulary, "few");
  for (const auto& [tokens, first_row] : {std::pair(many, 0), {many, 15}, {few, 0}}) {
    SCOPED_TRACE(variant + " in " + c10::toString(type) + ", from row " +
                 std::to_string(first_row) + " of " + std::to_string(tokens.size(0)));
    expect_same_bits(model, tokens, {.first_row = first_row, .dropout = 0.3, .seed = 5, .step = 7});
  }
}

TEST(RecomputedLayers, HaveTheBitsOfKeptOnes) {
  for (const std::string& variant : variant_names()) {
    expect_same_bits(variant, AttentionPath::Auto, at::kFloat);
  }
  for (const std::string variant : {"standard", "multi_token"}) {
    for (const AttentionPath path : {AttentionPath::Auto, AttentionPath::Composed}) {
      for (const at::ScalarType type : {at::kBFloat16, at::kDouble}) {
        expect_same_bits(variant, path, type);
      }
    }
  }
}

TEST(RecomputedLayers, DrawTheMaskOfTheDevicesStepAgain) {
  const LanguageModel model = model_of("multi_token", AttentionPath::Auto, at::kFloat);
  const at::Tensor tokens = check::random_tokens({3, 20}, kVocabulary, "many");
  const at::Tensor step = at::full({}, 6, at::kInt);
  const ForwardOptions options{.dropout = 0.3, .seed = 5, .streams_before = step};
  expect_same_bits(model, tokens, options);
  const at::Tensor at_six = model.forward(tokens, options);
  step.fill_(9);
  EXPECT_FALSE(model.forward(tokens, options).equal(at_six)) << "the step is not read";
}

}  // namespace
}  // namespace mta
