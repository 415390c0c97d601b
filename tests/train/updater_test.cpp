// Updates on the CPU: never recorded, refused where a graph is demanded, and what they return.
#include "lib/train/updater.h"

#include "lib/core/error.h"
#include "lib/data/training_set.h"
#include "lib/run/model.h"
#include "lib/train/tensors.h"
#include "tests/support/random_tensors.h"
#include "tests/support/tiny_experiment.h"

#include <ATen/TensorOperators.h>
#include <ATen/core/Tensor.h>
#include <ATen/core/grad_mode.h>
#include <gtest/gtest.h>

#include <memory>
#include <string>
#include <vector>

namespace mta {
namespace {

struct Fixture {
  explicit Fixture(const std::vector<std::string>& settings)
      : experiment(check::tiny_experiment(settings)),
        model(make_model(experiment, at::kCPU)),
        optimiser(model->parameters(), experiment.train),
        updater(*model, optimiser, experiment.train,
                {.dropout = experiment.model.attention_dropout, .seed = 3}) {}

  Experiment experiment;
  std::unique_ptr<LanguageModel> model;
  AdamW optimiser;
  Updater updater;
  TrainingSet set{experiment.task, 1, experiment.train.batch};
};

TEST(Updater, ReturnsTheLossBeforeTheUpdate) {
  Fixture fixture({});
  const Batch batch = fixture.set.batch(0);
  const TensorBatch tensors = to_tensors(batch, at::kCPU);
  double loss = 0;
  {
    const at::NoGradGuard no_grad;
    const at::Tensor logits =
        fixture.model->forward(tensors.inputs, {.first_row = tensors.first_row});
    loss = summed_loss(logits, tensors.targets).item<double>();
  }
  const at::Tensor results = fixture.updater.update(1, batch);
  EXPECT_NEAR(results[0].item<double>(), loss / static_cast<double>(tensors.scored), 1e-6);
  EXPECT_GT(results[1].item<double>(), 0);
}

TEST(Updater, IsPlainOnTheCpuAndSaysWhy) {
  for (const char* graph : {"auto", "off"}) {
    Fixture fixture({std::string("/train/graph=") + graph});
    for (std::int64_t step = 1; step <= 5; ++step) {
      fixture.updater.update(step, fixture.set.batch(step - 1));
    }
    EXPECT_EQ(fixture.updater.use().plain, 5);
    EXPECT_EQ(fixture.updater.use().replayed, 0);
    EXPECT_EQ(fixture.updater.use().reason, "the device is the CPU");
  }
}

TEST(Updater, AGraphThatIsDemandedOfTheCpuIsRefused) {
  try {
    Fixture fixture({"/train/graph=on"});
    FAIL() << "accepted";
  } catch (const UserError& error) {
    EXPECT_EQ(std::string(error.what())
                  .rfind("/train/graph: \"on\" needs a GPU, but the device is the CPU", 0),
              0U)
        << error.what();
  }
}

/// The parameters and the results of 4 updates of a model with two layers and dropout.
std::vector<at::Tensor> after_updates(const std::vector<std::string>& more) {
  std::vector<std::string> settings = {"/model/layers=2", "/model/attention_dropout=0.2",
                                       "/train/batch=8", "/train/accumulate=2"};
  settings.insert(settings.end(), more.begin(), more.end());
  Fixture fixture(settings);
  std::vector<at::Tensor> all;
  for (std::int64_t step = 1; step <= 4; ++step) {
    all.push_back(fixture.updater.update(step, fixture.set.batch(step - 1)));
  }
  for (const at::Tensor& parameter : fixture.model->parameters().tensors()) {
    all.push_back(parameter.detach());
  }
  return all;
}

TEST(Updater, RecomputedLayersGiveTheSameBitsAlsoInParts) {
  for (const char* precision : {"fp32", "bf16", "double"}) {
    const std::string type = std::string("/train/precision=") + precision;
    const std::vector<at::Tensor> kept = after_updates({type});
    const std::vector<at::Tensor> again = after_updates({type, "/train/recompute_layers=2"});
    ASSERT_EQ(again.size(), kept.size());
    for (std::size_t i = 0; i < kept.size(); ++i) {
      EXPECT_TRUE(again[i].equal(kept[i])) << i << " in " << precision;
    }
  }
}

TEST(SummedLoss, OfManyLogitsIsThatOfFewWithinRounding) {
  const std::int64_t half = kManyLogits / 2 / 64;  // logits of one of two samples of 64 positions
  const at::Tensor logits = check::random_tensor({2, 64, half}, "logits").to(at::kBFloat16);
  const at::Tensor targets =
      check::random_tokens({2, 64}, static_cast<std::uint32_t>(half), "targets");
  targets[1][5] = kUnscored;
  double apart = 0;
  for (std::int64_t i = 0; i < 2; ++i) {
    apart += summed_loss(logits.narrow(0, i, 1), targets.narrow(0, i, 1)).item<double>();
  }
  EXPECT_NEAR(summed_loss(logits, targets).item<double>(), apart, 1e-5 * apart);
}

TEST(WriteTokens, MarksWhatIsNotScored) {
  Batch batch;
  batch.size = 2, batch.length = 3, batch.first_scored = 1;
  batch.inputs = {1, 2, 3, 4, 5, 6};
  batch.targets = {2, 3, 7, 5, 6, 8};
  batch.scored = {0, 1, 1, 0, 0, 1};
  std::int64_t inputs[6] = {}, targets[4] = {};
  EXPECT_EQ(write_tokens(batch, {.inputs = inputs, .targets = targets}), 3);
  EXPECT_EQ(std::vector<std::int64_t>(inputs, inputs + 6),
            (std::vector<std::int64_t>{1, 2, 3, 4, 5, 6}));
  EXPECT_EQ(std::vector<std::int64_t>(targets, targets + 4),
            (std::vector<std::int64_t>{3, 7, kUnscored, 8}));
}

}  // namespace
}  // namespace mta
