// report.json: its keys, what is derived from evaluations, and the way through JSON and back.
#include "lib/report/report.h"

#include "lib/core/error.h"

#include <gtest/gtest.h>

namespace mta {
namespace {

Evaluation evaluation(std::int64_t step, const std::string& mode, double err_seq) {
  Evaluation e{.step = step, .mode = mode, .scores = {}};
  e.scores = {.err_seq = err_seq,
              .err_tok = err_seq / 4,
              .loss = err_seq * 3,
              .scored = mode == "reference" ? 960 : 1000,
              .slices = {}};
  e.scores.slices["block_position"]["3"] = {.correct = 5, .count = 8};
  return e;
}

RunReport full_report() {
  RunReport report;
  report.name = "demo";
  report.status = RunStatus::Done;
  report.stop_reason = "steps";
  report.experiment = {{"name", "demo"}, {"train", {{"lr", 1e-3}}}};
  report.seeds = {.weights = 1, .data = 2, .train = 3};
  report.parameters = {.total = 30, .by_part = {{"embedding", 10}, {"attention", 20}}};
  report.attention_path = {{"composed", "no kernel"}, {"fused", "faster"}};
  report.steps = 300;
  EvaluateConfig config;
  config.modes = {"correct", "reference"};
  summarise(report,
            {evaluation(100, "correct", 0.4), evaluation(100, "reference", 0.6),
             evaluation(200, "correct", 0.008), evaluation(200, "reference", 0.3),
             evaluation(300, "correct", 0.03), evaluation(300, "reference", 0.2)},
            config);
  report.timing = {.wall_s = 2.5,
                   .train_s = 2,
                   .ms_per_step = 6.5,
                   .tokens_per_s = 1e5,
                   .data_wait_s = 0.25,
                   .peak_memory_bytes = 1 << 20};
  report.provenance = build_provenance();
  report.provenance.threads = 2;
  report.provenance.driver = "580.95.05";
  report.provenance.launch_plans = "NVIDIA H200";
  return report;
}

TEST(Report, SurvivesJson) {
  const Json json = to_json(full_report());
  const Json parsed = Json::parse(json.dump());
  EXPECT_EQ(to_json(report_from_json(parsed, "report.json")).dump(), json.dump());
}

TEST(Report, AReportOfNothingHasEveryKeyAndNoMadeUpNumber) {
  RunReport report;
  report.error = "it failed";
  const Json json = to_json(report);
  for (const char* key :
       {"schema", "name", "status", "error", "experiment", "seeds", "parameters", "attention_path",
        "final", "best", "steps_to", "evaluations", "slices", "timing", "provenance"}) {
    EXPECT_TRUE(json.contains(key)) << key;
  }
  EXPECT_EQ(json.at("schema"), "mta.report/1");
  EXPECT_EQ(json.at("status"), "failed");
  EXPECT_EQ(json.at("final"), nullptr);
  EXPECT_EQ(json.at("best"), nullptr);
  for (const char* key :
       {"wall_s", "train_s", "ms_per_step", "tokens_per_s", "data_wait_s", "peak_memory_bytes"}) {
    EXPECT_EQ(json.at("timing").at(key), nullptr) << key;
  }
  EXPECT_EQ(to_json(report_from_json(json, "report.json")), json);
}

TEST(Report, FinalAndBestHaveABlockForEachMode) {
  const Json json = to_json(full_report());
  EXPECT_EQ(json.at("final").at("step"), 300);
  EXPECT_EQ(json.at("final").at("err_seq"), 0.03);
  EXPECT_EQ(json.at("final").at("scored"), 1000);
  EXPECT_EQ(json.at("final").at("correct").at("err_seq"), 0.03);
  EXPECT_EQ(json.at("final").at("reference").at("err_seq"), 0.2);
  EXPECT_EQ(json.at("final").at("reference").at("scored"), 960);
  EXPECT_EQ(json.at("final").at("greedy"), nullptr);
  EXPECT_EQ(json.at("best").at("step"), 200);
  EXPECT_EQ(json.at("best").at("err_seq"), 0.008);
  EXPECT_EQ(json.at("evaluations").size(), 6u);
  EXPECT_EQ(json.at("slices").at("block_position").at("3").at("accuracy"), 0.625);
}

TEST(Report, StepsToAThreshold) {
  const Json steps_to = to_json(full_report()).at("steps_to");
  EXPECT_EQ(steps_to, Json({{"err_seq<0.5", 100}, {"err_seq<0.05", 200}, {"err_seq<0.01", 200}}));
  RunReport never;
  summarise(never, {evaluation(10, "correct", 1.0)}, {});
  EXPECT_EQ(to_json(never).at("steps_to").at("err_seq<0.05"), nullptr);
}

TEST(Report, RefusesOtherFiles) {
  EXPECT_THROW(report_from_json({{"schema", "mta.report/9"}}, "r.json"), UserError);
  Json broken = to_json(full_report());
  broken.erase("timing");
  try {
    report_from_json(broken, "r.json");
    FAIL() << "accepted";
  } catch (const UserError& error) {
    EXPECT_NE(std::string(error.what()).find("timing"), std::string::npos) << error.what();
  }
}

}  // namespace
}  // namespace mta
