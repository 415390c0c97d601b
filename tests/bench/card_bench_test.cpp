// The report of a card: its parts, and what becomes of one that does not fit.
#include "lib/bench/card_bench.h"

#include "lib/bench/attention_bench.h"
#include "lib/bench/train_cases.h"
#include "lib/bench/train_steps.h"
#include "lib/core/document.h"

#include <c10/util/Exception.h>
#include <gtest/gtest.h>

#include <stdexcept>
#include <string>
#include <vector>

namespace mta {
namespace {

Json tiny_attention() {
  AttentionCase one{
      .name = "tiny", .batch = 1, .heads = 2, .tokens = 24, .head_dim = 16, .attention = {}};
  one.attention.kq_before = KqConvolutionConfig{.query = 2, .key = 3};
  return bench_attention(
      {.cases = {one}, .turns = 2, .device = "cpu", .threads = 1, .command_line = {"mta"}});
}

Json tiny_steps() {
  return bench_train_steps(
      {.experiments = train_case("toy_step", {"/model/dim=16", "/train/batch=2", "/model/layers=1",
                                              "/train/precision=fp32"}),
       .timing = {.warm_up = 1, .turns = 2},
       .device = "cpu",
       .threads = 1,
       .command_line = {"mta"}});
}

const CardSettings kSettings = {
    .turns = 2, .device = "cpu", .threads = 1, .command_line = {"mta", "bench", "card"}};

TEST(CardBench, HoldsTheReportsOfItsPartsInTheirOrder) {
  const Json report = bench_card({{"steps", tiny_steps}, {"attention", tiny_attention}}, kSettings);
  EXPECT_EQ(report["schema"], "mta.bench/1");
  EXPECT_EQ(report["kind"], "card");
  EXPECT_EQ(report["turns"], 2);
  EXPECT_EQ(report["provenance"]["command_line"], "mta bench card");
  EXPECT_EQ(report["provenance"]["threads"], 1);
  EXPECT_FALSE(report["provenance"]["ended"].get<std::string>().empty());
  const Json& reports = report["reports"];
  EXPECT_EQ(reports.begin().key(), "steps");
  EXPECT_EQ(reports["steps"]["kind"], "train");
  EXPECT_EQ(reports["steps"]["cases"].size(), 2U);
  EXPECT_EQ(reports["attention"]["kind"], "attention");
  EXPECT_EQ(reports["attention"]["cases"][0]["case"]["name"], "tiny");
}

TEST(CardBench, SaysOfAPartThatDoesNotFitThatItDoesNot) {
  const auto too_large = []() -> Json {
    TORCH_CHECK_WITH(OutOfMemoryError, false, "tried to allocate 52 GiB");
    return {};
  };
  const auto small = [] { return Json({{"kind", "train"}}); };
  const Json report = bench_card({{"large", too_large}, {"small", small}}, kSettings);
  EXPECT_EQ(report["reports"]["large"],
            Json({{"reason", "does not fit into the device's memory"}}));
  EXPECT_EQ(report["reports"]["small"]["kind"], "train");
}

TEST(CardBench, OtherErrorsAreNotSwallowed) {
  const auto broken = []() -> Json { throw std::runtime_error("broken"); };
  EXPECT_THROW(bench_card({{"a", broken}}, kSettings), std::runtime_error);
}

TEST(CardBench, MeasuresAttentionTrainingAndDecoding) {
  std::vector<std::string> names;
  for (const CardPart& part : usual_card_parts(kSettings)) names.push_back(part.name);
  EXPECT_EQ(names, (std::vector<std::string>{"toy_step", "attention", "large_model", "decode"}));
}

TEST(TrainCases, TheToyStepIsThatOfTheReferencesExperiment) {
  const std::vector<Experiment> built_in = train_case("toy_step", {});
  ASSERT_EQ(built_in.size(), 2U);
  for (const Experiment& one : built_in) {
    const Experiment file = read_experiment(
        load_document("experiments/block_finding/reference_" + one.name + ".json", {}));
    EXPECT_EQ(to_json(one), to_json(file));
  }
}

}  // namespace
}  // namespace mta
