// The report of decoding, at a tiny size.
#include "lib/bench/decode_bench.h"

#include "lib/bench/train_cases.h"

#include <gtest/gtest.h>

namespace mta {
namespace {

TEST(DecodeBench, ReportsTimesATokenAndRatiosToTheFirst) {
  const std::vector<std::string> tiny = {"/task/vocabulary=300", "/model/dim=32", "/model/heads=4",
                                         "/model/ffn_hidden=40"};
  const Json report = bench_decode({.experiments = train_case("large_model", tiny),
                                    .context = 40,
                                    .batch = 2,
                                    .tokens = 3,
                                    .timing = {.warm_up = 1, .turns = 3},
                                    .device = "cpu",
                                    .threads = 1,
                                    .command_line = {"mta"}});
  EXPECT_EQ(report["schema"], "mta.bench/1");
  EXPECT_EQ(report["kind"], "decode");
  EXPECT_EQ(report["context"], 40);
  EXPECT_EQ(report["batch"], 2);
  EXPECT_EQ(report["tokens_a_turn"], 3);
  EXPECT_EQ(report["provenance"]["threads"], 1);
  ASSERT_EQ(report["cases"].size(), 2U);
  for (const Json& entry : report["cases"]) {
    SCOPED_TRACE(entry.dump());
    const double ms = entry["ms_per_token"]["median"].get<double>();
    EXPECT_GT(ms, 0);
    EXPECT_NEAR(entry["tokens_per_s"].get<double>() * ms, 2000, 1e-6);
    EXPECT_EQ(entry["attention_path"].size(), 24U);
    EXPECT_TRUE(entry["profile"].is_null());
    EXPECT_EQ(entry["use"]["replayed"], 0);
    EXPECT_GT(entry["use"]["plain"].get<int>(), 9);
    EXPECT_EQ(entry["use"]["reason"], "recording is not wanted");
  }
  EXPECT_EQ(report["cases"][0]["ratio_to_first"]["median"], 1.0);
}

}  // namespace
}  // namespace mta
