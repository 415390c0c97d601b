// The whole model: parameter counts, windows, exact savings, dropout, types, decoding.
#include "lib/model/language_model.h"

#include "lib/attention/registry.h"
#include "lib/core/error.h"
#include "lib/model/decode.h"
#include "lib/nn/cross_entropy.h"
#include "lib/nn/rounded_weights.h"
#include "tests/support/random_tensors.h"

#include <ATen/TensorOperators.h>
#include <ATen/core/Tensor.h>
#include <ATen/ops/empty.h>
#include <ATen/ops/ones.h>
#include <ATen/ops/ones_like.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <set>
#include <string>
#include <vector>

namespace mta {
namespace {

constexpr std::uint32_t kVocabulary = 11;

ModelConfig small() {
  ModelConfig config;
  config.dim = 16;
  config.layers = 3;
  config.heads = 4;
  config.ffn_hidden = 24;
  return config;
}

LanguageModel random_model(const AttentionConfig& attention, const ModelConfig& config = small(),
                           at::ScalarType type = at::kDouble) {
  LanguageModel model(config, attention, kVocabulary, {.seed = 4, .master = type, .compute = type});
  check::randomise(model.parameters());
  return model;
}

std::int64_t parameters_of(const ModelConfig& config, const AttentionConfig& attention,
                           std::int64_t vocabulary) {
  return LanguageModel(config, attention, vocabulary, {.device = at::kMeta}).parameters().count();
}

// The numbers of the public reference.
TEST(ParameterCount, OfTheToyModels) {
  EXPECT_EQ(parameters_of(ModelConfig{}, preset("standard"), 32), 3'418'368);
  EXPECT_EQ(parameters_of(ModelConfig{}, preset("kq_before_only"), 32), 3'418'512);
}

TEST(ParameterCount, OfTheLargeModels) {
  ModelConfig config;
  config.dim = 1536;
  config.layers = 24;
  config.heads = 16;
  EXPECT_EQ(config.hidden(), 4096);
  EXPECT_EQ(parameters_of(config, preset("standard"), 128'256), 876'553'728);
  AttentionConfig full = preset("multi_token");
  full.kq_layers = {2, 6, 10, 14, 18, 22};
  EXPECT_EQ(parameters_of(config, full, 128'256), 876'583'320);
}

TEST(ParameterCount, HiddenWidthFollowsTheFormula) {
  EXPECT_EQ(default_ffn_hidden(256), 768);
  EXPECT_EQ(default_ffn_hidden(1024), 2816);
  EXPECT_EQ(default_ffn_hidden(1536), 4096);
}

TEST(Initialisation, SigmasFollowTheWidths) {
  ModelConfig config;
  config.dim = 64;
  config.layers = 1;
  config.ffn_hidden = 400;
  config.tied_embeddings = false;
  const LanguageModel model(config, preset("multi_token"), 500, {.seed = 1});
  const double cut = std::sqrt(0.9733);  // a normal cut at 3 sigma is that much narrower
  for (const auto& [name, width] :
       std::vector<std::pair<std::string, double>>{{"tok_embeddings.weight", 64},
                                                   {"output.weight", 64},
                                                   {"layers.0.attention.wq.weight", 64},
                                                   {"layers.0.attention.wo.weight", 64},
                                                   {"layers.0.feed_forward.w1.weight", 64},
                                                   {"layers.0.feed_forward.w2.weight", 400},
                                                   {"layers.0.feed_forward.w3.weight", 64}}) {
    const at::Tensor values = model.parameters().at(name).detach();
    EXPECT_NEAR(values.std().item<double>() * std::sqrt(width) / cut, 1, 0.04) << name;
    EXPECT_LE(values.abs().max().item<double>() * std::sqrt(width), 3.001) << name;
  }
  EXPECT_TRUE(model.parameters().at("norm.weight").detach().eq(1).all().item<bool>());
  EXPECT_EQ(model.parameters().at("layers.0.attention.gate.bias").item<float>(), 0);
}

TEST(LanguageModel, RowsFromTheFirstScoredOnEqualThoseOfAll) {
  for (const std::string& name : variant_names()) {
    for (const std::int64_t layers : {1, 2}) {
      ModelConfig config = small();
      config.layers = layers;
      const LanguageModel model = random_model(preset(name), config);
      const at::Tensor tokens = check::random_tokens({3, 20}, kVocabulary, "tokens");
      const at::Tensor all = model.forward(tokens);
      for (const std::int64_t first : {1, 12, 19}) {
        const at::Tensor rows = model.forward(tokens, {.first_row = first});
        EXPECT_LE(check::relative_error(rows, all.narrow(1, first, 20 - first)), 1e-13)
            << name << ", " << layers << " layers, from " << first;
      }
    }
  }
}

/// Gradients of all parameters for a loss on the last 5 of the tokens.
std::vector<at::Tensor> gradients(const LanguageModel& model, const at::Tensor& tokens,
                                  std::int64_t first_row) {
  const at::Tensor logits = model.forward(tokens, {.first_row = first_row});
  const at::Tensor answer = logits.narrow(1, logits.size(1) - 5, 5);
  cross_entropy(answer, tokens.narrow(1, 0, 5), at::ones({tokens.size(0), 5})).backward();
  std::vector<at::Tensor> gradients;
  for (const at::Tensor& parameter : model.parameters().tensors()) {
    gradients.push_back(parameter.grad().clone());
    parameter.mutable_grad() = at::Tensor();
  }
  return gradients;
}

TEST(LanguageModel, FewerRowsGiveTheSameGradients) {
  const LanguageModel model = random_model(preset("multi_token"));
  const at::Tensor tokens = check::random_tokens({3, 20}, kVocabulary, "tokens");
  const auto all = gradients(model, tokens, 0), rows = gradients(model, tokens, 15);
  for (std::size_t i = 0; i < all.size(); ++i) {
    EXPECT_LE(check::relative_error(rows[i], all[i]), 1e-12) << model.parameters().named()[i].first;
  }
}

TEST(LanguageModel, LookingUpProjectedEmbeddingsIsExactAndDeterministic) {
  const LanguageModel model = random_model(preset("kq_before_only"));
  // One row is below the vocabulary's 11 tokens and is projected token by token; many are looked
  // up.
  const at::Tensor row = check::random_tokens({1, 10}, kVocabulary, "row");
  const at::Tensor many = row.expand({8, 10}).contiguous();
  const at::Tensor looked_up = model.forward(many);
  EXPECT_LE(check::relative_error(looked_up.narrow(0, 3, 1), model.forward(row)), 1e-13);
  const auto once = gradients(model, row, 0), eight = gradients(model, many, 0);
  const auto again = gradients(model, many, 0);
  for (std::size_t i = 0; i < once.size(); ++i) {
    const std::string& name = model.parameters().named()[i].first;
    EXPECT_LE(check::relative_error(eight[i], once[i]), 1e-12) << name;
    EXPECT_TRUE(again[i].equal(eight[i])) << name << " differs between two equal calls";
  }
}

TEST(LanguageModel, DropoutIsAFunctionOfSeedAndStep) {
  for (const std::string name : {"standard", "multi_token", "differential"}) {
    const LanguageModel model = random_model(preset(name));
    const at::Tensor tokens = check::random_tokens({3, 20}, kVocabulary, "tokens");
    const auto run = [&](double rate, std::uint64_t seed, std::uint64_t step) {
      return model.forward(tokens, {.dropout = rate, .seed = seed, .step = step});
    };
    const at::Tensor dropped = run(0.3, 1, 1);
    EXPECT_TRUE(run(0.3, 1, 1).equal(dropped)) << name;
    EXPECT_FALSE(run(0.3, 1, 2).equal(dropped)) << name;
    EXPECT_FALSE(run(0.3, 2, 1).equal(dropped)) << name;
    EXPECT_FALSE(run(0, 1, 1).equal(dropped)) << name;
    const LanguageModel composed = [&] {
      AttentionConfig config = preset(name);
      config.path = AttentionPath::Composed;
      return random_model(config);
    }();
    const at::Tensor truth =
        composed.forward(tokens, {.first_row = 9, .dropout = 0.3, .seed = 1, .step = 1});
    EXPECT_LE(
        check::relative_error(
            model.forward(tokens, {.first_row = 9, .dropout = 0.3, .seed = 1, .step = 1}), truth),
        1e-13)
        << name << ": the paths drop different weights";
    EXPECT_LE(check::relative_error(truth, dropped.narrow(1, 9, 11)), 1e-13)
        << name << ": what is dropped depends on the rows that are computed";
  }
}

TEST(LanguageModel, ComputesInBfloat16FromFloatMasters) {
  for (const std::string name : {"standard", "multi_token", "differential"}) {
    LanguageModel precise(small(), preset(name), kVocabulary, {.seed = 4});
    LanguageModel narrow(small(), preset(name), kVocabulary, {.seed = 4, .compute = at::kBFloat16});
    const at::Tensor tokens = check::random_tokens({3, 20}, kVocabulary, "tokens");
    const at::Tensor logits = narrow.forward(tokens);
    EXPECT_EQ(logits.scalar_type(), at::kBFloat16);
    EXPECT_LE(check::relative_error(logits, precise.forward(tokens)), 0.05) << name;
    cross_entropy(logits, tokens, at::ones_like(tokens)).backward();
    for (const auto& [parameter, tensor] : narrow.parameters().named()) {
      ASSERT_TRUE(tensor.grad().defined()) << parameter;
      EXPECT_EQ(tensor.grad().scalar_type(), at::kFloat) << parameter;
      EXPECT_TRUE(tensor.grad().isfinite().all().item<bool>()) << parameter;
    }
  }
}

/// Gradients of all parameters, those of `forms` (none: all are parameters') in their place.
std::vector<at::Tensor> gradients_of_loss(const LanguageModel& model, const RoundedForms& forms,
                                          const at::Tensor& tokens) {
  const RoundedWeights given(forms);
  model.forward(tokens).to(at::kFloat).square().sum().backward();
  std::vector<at::Tensor> gradients;
  for (const auto& [name, tensor] : model.parameters().named()) {
    const auto found = std::find_if(
        forms.weights.begin(), forms.weights.end(),
        [&, &weight = tensor](const at::Tensor& other) { return other.is_same(weight); });
    const bool has_form = found != forms.weights.end();
    EXPECT_FALSE(has_form && tensor.grad().defined()) << name;
    gradients.push_back(
        has_form ? forms.rounded[static_cast<std::size_t>(found - forms.weights.begin())].grad()
                 : tensor.grad());
    tensor.mutable_grad() = at::Tensor();
  }
  return gradients;
}

TEST(LanguageModel, LeavesGradientsInTheRoundedWeightsThatItIsGiven) {
  for (const bool tied : {true, false}) {
    for (const std::int64_t length : {4, 9}) {  // fewer tokens than the vocabulary, and more
      ModelConfig config = small();
      config.tied_embeddings = tied;
      LanguageModel model(config, preset("standard"), kVocabulary,
                          {.seed = 4, .compute = at::kBFloat16});
      check::randomise(model.parameters());
      const at::Tensor tokens = check::random_tokens({2, length}, kVocabulary, "tokens");
      const RoundedForms forms = model.rounded_weights();
      for (const at::Tensor& form : forms.rounded) form.requires_grad_(true);
      const std::vector<at::Tensor> found = gradients_of_loss(model, forms, tokens);
      const std::vector<at::Tensor> wanted =
          gradients_of_loss(model, {.type = at::kBFloat16}, tokens);
      for (std::size_t i = 0; i < wanted.size(); ++i) {
        const std::string& name = model.parameters().named()[i].first;
        EXPECT_LE(check::relative_error(found[i], wanted[i]), 5e-3) << name << ", tied " << tied;
      }
    }
  }
}

TEST(LanguageModel, TapSeesTheMapsOfEveryLayer) {
  const LanguageModel model = random_model(preset("multi_token"));
  std::set<std::pair<std::int64_t, std::string>> seen;
  const Tap tap = [&](std::int64_t layer, std::string_view stage, const at::Tensor& map) {
    EXPECT_EQ(map.sizes(), at::IntArrayRef({3, 4, 20, 20}));
    seen.emplace(layer, stage);
  };
  model.forward(check::random_tokens({3, 20}, kVocabulary, "tokens"), {.tap = &tap});
  EXPECT_EQ(seen.size(), 3u * 6u);
}

TEST(LanguageModel, RefusesAFusedPathThatDoesNotCover) {
  AttentionConfig config = preset("differential");
  config.path = AttentionPath::Fused;
  try {
    random_model(config);
    FAIL() << "accepted";
  } catch (const UserError& error) {
    EXPECT_EQ(error.problems().at(0).place, "/attention/path");
    EXPECT_NE(error.problems().at(0).message.find("layer 0"), std::string::npos);
    EXPECT_NE(error.problems().at(0).message.find("differential"), std::string::npos);
  }
}

TEST(Decoding, EqualsRecomputationForEveryVariant) {
  for (const std::string& name : variant_names()) {
    const LanguageModel model = random_model(preset(name));
    const at::Tensor tokens = check::random_tokens({2, 20}, kVocabulary, "tokens");
    const at::Tensor all = model.forward(tokens);
    std::vector<KvCache> caches;
    for (std::int64_t done = 0, count = 7; done < 20; done += count, count = 1) {
      const at::Tensor logits = model.decode(tokens.narrow(1, done, count), caches);
      EXPECT_LE(check::relative_error(logits, all.narrow(1, done, count)), 1e-12)
          << name << ", token " << done;
    }
  }
}

/// Both round the same weights to the same bits; the room for the cache grows on the way.
TEST(Decoding, ADecoderHasTheBitsOfTheModelAndGoesBack) {
  for (const at::ScalarType type : {at::kFloat, at::kBFloat16}) {
    const LanguageModel model(small(), preset("multi_token"), kVocabulary,
                              {.seed = 4, .compute = type});
    check::randomise(model.parameters());
    const at::Tensor tokens = check::random_tokens({2, 50}, kVocabulary, "tokens");
    std::vector<KvCache> caches;
    Decoder decoder(model, 30);
    std::vector<KvCache> place;
    at::Tensor at_place;
    for (std::int64_t done = 0, count = 20; done < 50; done += count, count = 1) {
      if (done == 45) place = decoder.place();
      const at::Tensor logits = model.decode(tokens.narrow(1, done, count), caches);
      const at::Tensor last = decoder.next(tokens.narrow(1, done, count));
      EXPECT_TRUE(last.equal(logits.select(1, count - 1))) << done;
      if (done == 45) at_place = last;
    }
    EXPECT_EQ(decoder.tokens(), 50);
    decoder.return_to(place);
    EXPECT_EQ(decoder.tokens(), 45);
    EXPECT_TRUE(decoder.next(tokens.narrow(1, 45, 1)).equal(at_place));
  }
}

TEST(Decoding, GreedyTakesTheMostLikelyTokenAndStopsAtTheEnd) {
  const LanguageModel model = random_model(preset("multi_token"));
  std::vector<std::int32_t> sequence = {1, 5, 2};
  const auto answer = greedy(model, sequence, {.max_tokens = 9});
  ASSERT_EQ(answer.size(), 9u);
  for (const std::int32_t token : answer) {
    at::Tensor tokens = at::empty({1, static_cast<std::int64_t>(sequence.size())}, at::kLong);
    for (std::size_t i = 0; i < sequence.size(); ++i) {
      tokens[0][static_cast<std::int64_t>(i)] = sequence[i];
    }
    const at::Tensor last = model.forward(tokens).select(1, tokens.size(1) - 1);
    EXPECT_EQ(last.argmax().item<std::int64_t>(), token);
    sequence.push_back(token);
  }
  const std::vector<std::int32_t> prompt = {1, 5, 2};
  const auto stopped = greedy(model, prompt, {.max_tokens = 9, .end_token = answer[0]});
  EXPECT_EQ(stopped, std::vector<std::int32_t>{answer[0]});
}

}  // namespace
}  // namespace mta
