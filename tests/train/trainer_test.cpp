// The loop: it learns, is a function of its seeds, adds parts up, and ends as its rules say.
#include "lib/train/trainer.h"

#include "lib/core/error.h"
#include "lib/data/training_set.h"
#include "lib/run/model.h"
#include "tests/support/tiny_experiment.h"

#include <ATen/Parallel.h>
#include <ATen/TensorOperators.h>
#include <ATen/core/grad_mode.h>
#include <ATen/ops/equal.h>
#include <gtest/gtest.h>

#include <cmath>
#include <limits>
#include <memory>
#include <thread>

namespace mta {
namespace {

/// What a run of the trainer alone leaves behind.
struct Outcome {
  std::unique_ptr<LanguageModel> model;
  StopReason reason = StopReason::Steps;
  std::vector<StepMetrics> log;
  std::vector<std::int64_t> evaluated, saved;
};

struct Fixture {
  explicit Fixture(Experiment e) : experiment(std::move(e)) {
    hooks.next_batch = [this, k = std::int64_t{0}]() mutable { return set.batch(k++); };
    hooks.log = [this](const StepMetrics& m) { outcome.log.push_back(m); };
    hooks.progress = [](std::int64_t, std::optional<double>) {};
    hooks.evaluate = [this](std::int64_t step) {
      outcome.evaluated.push_back(step);
      return std::optional<double>();
    };
    hooks.save = [this](std::int64_t step, std::optional<StopReason>) {
      outcome.saved.push_back(step);
    };
    hooks.interrupted = [] { return false; };
    at::set_num_threads(1);  // tests run side by side
    outcome.model = make_model(experiment, at::kCPU);
  }

  Outcome run() {
    AdamW optimiser(outcome.model->parameters(), experiment.train);
    Trainer trainer(*outcome.model, optimiser, experiment.train,
                    {.evaluate_every = experiment.evaluate.every,
                     .dropout = experiment.model.attention_dropout,
                     .seed = static_cast<std::uint64_t>(experiment.seeds.train)});
    outcome.reason = trainer.run(0, hooks);
    return std::move(outcome);
  }

  Experiment experiment;
  TrainingSet set{experiment.task, static_cast<std::uint64_t>(experiment.seeds.data),
                  experiment.train.batch};
  TrainHooks hooks;
  Outcome outcome;
};

Outcome run_of(const std::vector<std::string>& settings) {
  return Fixture(check::tiny_experiment(settings)).run();
}

/// Largest difference of a parameter between two models.
double distance(const Outcome& a, const Outcome& b) {
  double largest = 0;
  for (const auto& [name, tensor] : a.model->parameters().named()) {
    const at::Tensor difference = (tensor - b.model->parameters().at(name)).detach().abs().max();
    largest = std::max(largest, difference.item<double>());
  }
  return largest;
}

TEST(Trainer, OverfitsOneBatch) {
  Fixture fixture(check::tiny_experiment(
      {"/train/steps=100", "/train/batch=4", "/train/log_every=1", "/evaluate/every=null"}));
  const Batch batch = fixture.set.batch(0);
  fixture.hooks.next_batch = [&] { return batch; };
  const Outcome outcome = fixture.run();
  ASSERT_EQ(outcome.log.size(), 100u);
  EXPECT_GT(outcome.log.front().loss, 1.0);
  EXPECT_LT(outcome.log.back().loss, 0.01);
}

TEST(Trainer, SameSeedsSameBits) {
  const std::vector<std::string> settings = {"/train/steps=10", "/model/attention_dropout=0.1"};
  EXPECT_EQ(distance(run_of(settings), run_of(settings)), 0);
}

TEST(Trainer, EachSeedMatters) {
  const std::vector<std::string> base = {"/train/steps=3", "/model/attention_dropout=0.1"};
  const Outcome first = run_of(base);
  for (const char* seed : {"/seeds/weights=2", "/seeds/data=2", "/seeds/train=2"}) {
    std::vector<std::string> settings = base;
    settings.emplace_back(seed);
    EXPECT_GT(distance(first, run_of(settings)), 0) << seed;
  }
}

TEST(Trainer, PartsAddUpToTheWholeBatch) {
  const std::vector<std::string> base = {"/train/steps=4", "/train/precision=double"};
  std::vector<std::string> in_parts = base;
  in_parts.emplace_back("/train/accumulate=4");
  EXPECT_LT(distance(run_of(base), run_of(in_parts)), 1e-12);
}

TEST(Trainer, LogsEvaluatesAndSavesWhenDue) {
  const Outcome outcome = run_of(
      {"/train/steps=12", "/train/log_every=5", "/evaluate/every=4", "/train/checkpoint_every=6"});
  EXPECT_EQ(outcome.reason, StopReason::Steps);
  ASSERT_EQ(outcome.log.size(), 2u);
  EXPECT_EQ(outcome.log[0].step, 5);
  EXPECT_EQ(outcome.log[1].step, 10);
  EXPECT_DOUBLE_EQ(outcome.log[0].lr, 8e-3);
  EXPECT_GT(outcome.log[0].grad_norm, 0);
  EXPECT_GT(outcome.log[0].tokens_per_s, 0);
  EXPECT_EQ(outcome.evaluated, (std::vector<std::int64_t>{4, 8, 12}));
  EXPECT_EQ(outcome.saved, (std::vector<std::int64_t>{6, 12}));
}

TEST(Trainer, ALossThatIsNotFiniteStopsItAndNamesTheStep) {
  Fixture fixture(check::tiny_experiment({"/train/steps=5"}));
  int step = 0;
  fixture.hooks.next_batch = [&] {
    if (++step == 3) {
      const at::NoGradGuard no_grad;
      fixture.outcome.model->parameters()
          .at("norm.weight")
          .fill_(std::numeric_limits<double>::quiet_NaN());
    }
    return fixture.set.batch(step);
  };
  try {
    fixture.run();
    FAIL() << "trained on";
  } catch (const NumericError& error) {
    EXPECT_NE(std::string(error.what()).find("step 3: the loss is nan"), std::string::npos)
        << error.what();
  }
}

TEST(Trainer, StopsBelowAnError) {
  Fixture fixture(
      check::tiny_experiment({"/train/steps=50", "/evaluate/every=10", "/train/stop/err_seq=0.5"}));
  fixture.hooks.evaluate = [](std::int64_t step) {
    return std::optional<double>(step < 20 ? 0.5 : 0.4);
  };
  const Outcome outcome = fixture.run();
  EXPECT_EQ(outcome.reason, StopReason::ErrSeq);
  EXPECT_EQ(outcome.saved, std::vector<std::int64_t>{20});
}

TEST(Trainer, StopsAfterATime) {
  Fixture fixture(check::tiny_experiment({"/train/steps=100000", "/train/stop/seconds=0.05"}));
  const Outcome outcome = fixture.run();
  EXPECT_EQ(outcome.reason, StopReason::Seconds);
  EXPECT_EQ(outcome.saved.size(), 1u);
  EXPECT_EQ(outcome.evaluated.back(), outcome.saved.back());
}

TEST(Trainer, AnInterruptedRunIsSavedButNotEvaluated) {
  Fixture fixture(check::tiny_experiment({"/train/steps=50", "/evaluate/every=null"}));
  int asked = 0;
  fixture.hooks.interrupted = [&] { return ++asked == 7; };
  const Outcome outcome = fixture.run();
  EXPECT_EQ(outcome.reason, StopReason::Signal);
  EXPECT_EQ(outcome.saved, std::vector<std::int64_t>{7});
  EXPECT_TRUE(outcome.evaluated.empty());
}

TEST(Trainer, Bf16LearnsToo) {
  const Outcome outcome =
      run_of({"/train/steps=60", "/train/precision=bf16", "/evaluate/every=null"});
  EXPECT_EQ(outcome.model->parameters().at("norm.weight").scalar_type(), at::kFloat);
  EXPECT_LT(outcome.log.back().loss, 0.8 * outcome.log.front().loss);
}

}  // namespace
}  // namespace mta
