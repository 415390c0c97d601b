// Scoring a run that was trained before.
#include "lib/run/trained.h"

#include "lib/core/error.h"
#include "lib/core/files.h"
#include "lib/core/vocabulary.h"
#include "lib/data/evaluation_set.h"
#include "lib/data/jsonl.h"
#include "lib/run/train.h"
#include "lib/train/checkpoint.h"
#include "tests/support/scratch_folder.h"
#include "tests/support/tiny_experiment.h"

#include <gtest/gtest.h>

#include <fstream>

namespace mta {
namespace {

class Trained : public ::testing::Test {
 protected:
  static void SetUpTestSuite() {
    scratch = std::make_unique<check::ScratchFolder>();
    const Experiment experiment =
        check::tiny_experiment({"/train/steps=60", R"(/evaluate/modes=["correct","reference"])",
                                "/evaluate/greedy=true", "/evaluate/samples=200"});
    report =
        run_training(experiment, {.directory = scratch->path() / "run", .device = "cpu"}).report;
  }
  static void TearDownTestSuite() { scratch.reset(); }

  static std::filesystem::path run() { return scratch->path() / "run"; }

  static std::unique_ptr<check::ScratchFolder> scratch;
  static RunReport report;
};

std::unique_ptr<check::ScratchFolder> Trained::scratch;
RunReport Trained::report;

TEST_F(Trained, TheSameSamplesGiveTheFiguresOfTheReport) {
  const TrainedModel trained = load_trained(run(), "cpu");
  EXPECT_EQ(trained.step, 60);
  ASSERT_EQ(report.final_scores->evaluations.size(), 3u);
  for (const Evaluation& expected : report.final_scores->evaluations) {
    const Evaluation found = evaluate_trained(trained, {.mode = expected.mode});
    EXPECT_EQ(to_json(found), to_json(expected));
  }
}

TEST_F(Trained, OtherSamplesOnRequest) {
  const TrainedModel trained = load_trained(run(), "cpu");
  const Evaluation e = evaluate_trained(trained, {.samples = 77, .seed = 9});
  EXPECT_EQ(e.scores.scored, 77);
  EXPECT_NE(e.scores.loss, report.final_scores->evaluations[0].scores.loss);
}

TEST_F(Trained, SamplesOfAFile) {
  const TrainedModel trained = load_trained(run(), "cpu");
  const EvaluationSet set(trained.experiment.task, 0, 200);
  const auto file = scratch->path() / "samples.jsonl";
  std::ofstream out(file);
  for (const Sample& sample : set.samples()) out << to_jsonl(sample);
  out.close();
  const Evaluation e = evaluate_trained(trained, {.data = file});
  EXPECT_EQ(e.split, file.string());
  EXPECT_EQ(e.scores.err_seq, report.final_scores->evaluations[0].scores.err_seq);
}

TEST_F(Trained, LongerSamplesThanTrainedOn) {
  const TrainedModel trained = load_trained(run(), "cpu");
  const Evaluation e = evaluate_trained(trained, {.settings = {"length=23"}, .samples = 50});
  EXPECT_EQ(e.scores.scored, 50);
  EXPECT_GT(e.scores.slices.at("block_position").size(), 4u) << "more blocks than in training";
  EXPECT_THROW(evaluate_trained(trained, {.settings = {"alphabet=40"}}), UserError);
}

TEST_F(Trained, AVocabularyThatWasNotLearntIsNamed) {
  const auto copy = scratch->path() / "copy";
  std::filesystem::copy(run(), copy, std::filesystem::copy_options::recursive);
  const auto file = copy / "checkpoint" / kVocabularyFile;
  Json vocabulary = Json::parse(read_file(file));
  EXPECT_EQ(vocabulary["tokens"], Json(token_texts(*load_trained(copy, "cpu").experiment.task)));
  vocabulary["tokens"][3] = "q";
  write_file_atomically(file, vocabulary.dump());
  try {
    load_trained(copy, "cpu");
    FAIL() << "accepted";
  } catch (const UserError& error) {
    EXPECT_EQ(error.problems().front().message,
              "is not the task's vocabulary: token 3 is \"q\" to the trained model and \"d\" to "
              "this program");
  }
  std::filesystem::remove(copy / "report.json");  // as if it were cut off before the end
  EXPECT_THROW(run_training(load_trained(run(), "cpu").experiment,
                            {.directory = copy, .resume = true, .device = "cpu"}),
               UserError)
      << "nor does such a run go on";
}

TEST_F(Trained, RefusesWhatItCannotScore) {
  const TrainedModel trained = load_trained(run(), "cpu");
  EXPECT_THROW(evaluate_trained(trained, {.mode = "reference", .samples = 10}), UserError);
  EXPECT_THROW(load_trained(scratch->path() / "nothing", "cpu"), UserError);
}

}  // namespace
}  // namespace mta
