// The built-in case of large models: its sizes, and its steps at a tiny size.
#include "lib/bench/train_cases.h"
#include "lib/bench/train_steps.h"
#include "lib/core/error.h"
#include "lib/run/model.h"

#include <gtest/gtest.h>

#include <cmath>
#include <string>
#include <vector>

namespace mta {
namespace {

const std::vector<std::string> kTiny = {"/task/length=24",      "/task/vocabulary=300",
                                        "/model/dim=32",        "/model/heads=4",
                                        "/model/ffn_hidden=40", "/train/recompute_layers=20"};

TEST(TrainCases, TheLargeModelHasThePapersSizes) {
  const std::vector<Experiment> large = train_case("large_model", {});
  ASSERT_EQ(large.size(), 2U);
  EXPECT_EQ(large[0].attention.variant, "standard");
  EXPECT_EQ(large[1].attention.variant, "multi_token");
  const std::int64_t parameters[] = {876'553'728, 876'583'320};  // of the public reference
  for (std::size_t i = 0; i < large.size(); ++i) {
    EXPECT_EQ(large[i].task->max_tokens(), 2049);
    EXPECT_EQ(large[i].train.batch, 4);
    EXPECT_EQ(make_model(large[i], at::kMeta)->parameters().count(), parameters[i]);
  }
}

TEST(TrainCases, AnUnknownNameAndAWrongSettingAreRefused) {
  for (const auto& [name, setting, message] :
       {std::tuple("large_modl", "/train/batch=2",
                   "--case large_modl: unknown case \"large_modl\"; did you mean \"large_model\"?"),
        {"large_model", "/train/recompute_layers=25",
         "--set /train/recompute_layers=25: must be at most /model/layers"}}) {
    try {
      train_case(name, {setting});
      ADD_FAILURE() << "accepted " << name << " with " << setting;
    } catch (const UserError& error) {
      EXPECT_EQ(std::string(error.what()).rfind(message, 0), 0U) << error.what();
    }
  }
}

TEST(TrainBench, TimesTheLargeModelsStepAtATinySize) {
  const Json report = bench_train_steps({.experiments = train_case("large_model", kTiny),
                                         .timing = {.warm_up = 1, .turns = 3},
                                         .device = "cpu",
                                         .threads = 1,
                                         .command_line = {"mta"}});
  EXPECT_EQ(report["schema"], "mta.bench/1");
  EXPECT_EQ(report["kind"], "train");
  EXPECT_EQ(report["steps_a_turn"], 1);
  ASSERT_EQ(report["cases"].size(), 2U);
  for (const Json& entry : report["cases"]) {
    SCOPED_TRACE(entry.dump());
    EXPECT_EQ(entry["name"], entry["experiment"]["attention"]["variant"]);
    const double ms = entry["ms_per_step"]["median"].get<double>();
    EXPECT_NEAR(entry["tokens_per_s"].get<double>(), 4 * 24 * 1000 / ms, 1e-6 * 96000 / ms);
    EXPECT_GT(entry["peak_memory_bytes"].get<std::int64_t>(), 1 << 20);
    // Nothing is to be learnt: the loss stays near that of guessing, with logits of variance 1.
    EXPECT_NEAR(entry["last_loss"].get<double>(), std::log(300) + 0.5, 0.5);
    EXPECT_TRUE(entry["profile"].is_null());
  }
  EXPECT_EQ(report["cases"][0]["ratio_to_first"]["median"], 1.0);
}

}  // namespace
}  // namespace mta
