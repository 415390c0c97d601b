// Scores against a plain recount from the logits, the two modes, slices, and free generation.
#include "lib/train/evaluator.h"

#include "lib/run/model.h"
#include "tests/support/tiny_experiment.h"

#include <ATen/Parallel.h>
#include <ATen/TensorOperators.h>
#include <ATen/core/grad_mode.h>
#include <ATen/ops/log_softmax.h>
#include <ATen/ops/tensor.h>
#include <gtest/gtest.h>

#include <cmath>

namespace mta {
namespace {

struct Fixture {
  explicit Fixture(const std::vector<std::string>& settings, std::int64_t samples = 100)
      : experiment(check::tiny_experiment(settings)),
        model(make_model(experiment, at::kCPU)),
        set(experiment.task, 5, samples),
        evaluator(set, 32, at::kCPU) {
    at::set_num_threads(1);  // tests run side by side
  }

  Experiment experiment;
  std::unique_ptr<LanguageModel> model;
  EvaluationSet set;
  Evaluator evaluator;
};

TEST(Evaluator, AgreesWithARecountSampleBySample) {
  const at::NoGradGuard no_grad;
  Fixture f({"/train/precision=double"});
  std::int64_t wrong_samples = 0, wrong_tokens = 0, tokens = 0;
  double loss = 0;
  for (std::int64_t k = 0; k < 100; ++k) {
    const Batch one = f.set.batch(k, 1);
    std::vector<std::int64_t> inputs(one.inputs.begin(), one.inputs.end());
    const at::Tensor logits = f.model->forward(at::tensor(inputs, at::kLong).unsqueeze(0))[0];
    const at::Tensor log_p = at::log_softmax(logits, -1);
    std::int64_t wrong = 0;
    for (std::size_t t = 0; t < inputs.size(); ++t) {
      if (one.scored[t] == 0) continue;
      ++tokens;
      wrong += logits[static_cast<std::int64_t>(t)].argmax().item<std::int64_t>() != one.targets[t];
      loss -= log_p[static_cast<std::int64_t>(t)][one.targets[t]].item<double>();
    }
    wrong_tokens += wrong;
    wrong_samples += wrong > 0;
  }
  const Scores scores = f.evaluator.teacher_forced(*f.model, {});
  EXPECT_EQ(scores.scored, 100);
  EXPECT_DOUBLE_EQ(*scores.err_seq, static_cast<double>(wrong_samples) / 100);
  EXPECT_DOUBLE_EQ(*scores.err_tok,
                   static_cast<double>(wrong_tokens) / static_cast<double>(tokens));
  EXPECT_EQ(tokens, 300);  // two letters and the end
  EXPECT_NEAR(*scores.loss, loss / static_cast<double>(tokens), 1e-9);
  EXPECT_GT(*scores.err_seq, 0.5);
}

TEST(Evaluator, OnlyFullBatchesWhenAsked) {
  Fixture f({});
  EXPECT_EQ(f.evaluator.teacher_forced(*f.model, {.full_batches_only = true}).scored, 96);
  EXPECT_EQ(f.evaluator.teacher_forced(*f.model, {}).scored, 100);
}

TEST(Evaluator, SlicesAddUpToTheWhole) {
  Fixture f({});
  const Scores scores = f.evaluator.teacher_forced(*f.model, {});
  ASSERT_TRUE(scores.slices.contains("block_position"));
  EXPECT_EQ(scores.slices.at("block_position").size(), 4u);
  std::int64_t correct = 0, count = 0;
  for (const auto& [unused, slice] : scores.slices.at("block_position")) {
    correct += slice.correct;
    count += slice.count;
  }
  EXPECT_EQ(count, 100);
  EXPECT_NEAR(1 - static_cast<double>(correct) / 100, *scores.err_seq, 1e-12);
}

TEST(Evaluator, PartsOfAnAnswerCountByThemselves) {
  const at::NoGradGuard no_grad;
  Fixture f({"/task/queries=2", "/task/length=25"});
  std::int64_t right = 0;
  for (std::int64_t k = 0; k < 100; ++k) {
    const Batch one = f.set.batch(k, 1);
    const std::vector<std::int64_t> inputs(one.inputs.begin(), one.inputs.end());
    const at::Tensor logits = f.model->forward(at::tensor(inputs, at::kLong).unsqueeze(0))[0];
    for (const int part : {2, 3}) {  // as Batch::scored numbers them
      std::int64_t wrong = 0, tokens = 0;
      for (std::size_t t = 0; t < inputs.size(); ++t) {
        if (one.scored[t] != part) continue;
        ++tokens;
        wrong +=
            logits[static_cast<std::int64_t>(t)].argmax().item<std::int64_t>() != one.targets[t];
      }
      EXPECT_EQ(tokens, 2) << "the letters of a block";
      right += wrong == 0;
    }
  }
  const Scores scores = f.evaluator.teacher_forced(*f.model, {});
  EXPECT_EQ(scores.scored, 100);
  const SliceCount& each = scores.slices.at("answers").at("each");
  EXPECT_EQ(each.count, 200);
  EXPECT_EQ(each.correct, right);
  EXPECT_FALSE(scores.slices.at("block_position").empty());
}

TEST(Evaluator, DropoutMattersInStandardAttentionInModeReferenceOnly) {
  const auto losses = [](const std::string& attention) {
    Fixture f({"/model/layers=2", "/attention=" + attention, "/model/attention_dropout=0.5"});
    std::vector<double> all;
    for (const char* mode : {"correct", "reference"}) {
      for (const std::int64_t step : {1, 2}) {
        all.push_back(*score(f.experiment, *f.model, f.evaluator, mode, step).loss);
      }
    }
    return all;
  };
  const std::string kq = R"({"variant": "kq_before_only")";
  const std::vector<double> standard = losses(R"({"variant": "standard"})"), mta = losses(kq + "}"),
                            one_of_two = losses(kq + R"(, "kq_layers": [1]})");
  EXPECT_EQ(standard[0], standard[1]);  // correct: no chance in it
  EXPECT_NE(standard[2], standard[3]);
  EXPECT_EQ(mta[0], mta[1]);
  EXPECT_EQ(mta[2], mta[3]);
  EXPECT_EQ(one_of_two[0], one_of_two[1]);
  EXPECT_NE(one_of_two[2], one_of_two[3]);  // the other layer is standard attention
}

TEST(Evaluator, GreedyCountsWhatTheModelWritesItself) {
  Fixture f({}, 20);
  const Scores teacher = f.evaluator.teacher_forced(*f.model, {});
  const Scores greedy = f.evaluator.greedy(*f.model, *f.experiment.task);
  EXPECT_EQ(greedy.scored, 20);
  EXPECT_FALSE(greedy.loss.has_value());
  // A sample that is right with the right answer as input is right on its own, and the other way
  // round.
  EXPECT_EQ(*greedy.err_seq, *teacher.err_seq);
  EXPECT_EQ(greedy.slices.at("block_position").size(), teacher.slices.at("block_position").size());
}

}  // namespace
}  // namespace mta
