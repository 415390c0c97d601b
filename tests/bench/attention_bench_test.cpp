// Cases as data, and what the benchmark of attention reports.
#include "lib/bench/attention_bench.h"

#include "lib/bench/attention_subject.h"
#include "lib/core/error.h"

#include <gtest/gtest.h>

#include <cstdint>
#include <set>
#include <string>

namespace mta {
namespace {

std::string first_problem(const char* list) {
  try {
    read_attention_cases(Json::parse(list), "cases.json");
  } catch (const UserError& error) {
    return to_string(error.problems().at(0));
  }
  return "none";
}

TEST(AttentionCases, BuiltInOnesHaveNamesOfTheirOwn) {
  std::set<std::string> names;
  for (const AttentionCase& one : usual_attention_cases()) {
    EXPECT_TRUE(names.insert(one.name).second) << one.name;
    const auto again = read_attention_cases(Json::array({to_json(one)}), "again");
    EXPECT_EQ(to_json(again.at(0)), to_json(one)) << one.name;
  }
  EXPECT_GE(names.size(), 10u);
}

/// What is timed is right: the stages of each case on a short text, which ends inside a tile.
TEST(AttentionCases, BuiltInOnesAreComputedAsTheirDefinitionSays) {
  constexpr std::int64_t kTokens = 77;
  constexpr double kRoundings = 8 * 6e-8;  // of float: sums in another order
  std::set<std::string> seen;              // the same stages need no second look
  for (AttentionCase one : usual_attention_cases()) {
    one.batch = 1, one.tokens = kTokens;
    AttentionCase plain = one;
    plain.name.clear(), plain.composed = true, plain.attention.workspace_mib = 1;
    if (!seen.insert(to_json(plain).dump()).second) continue;
    SCOPED_TRACE(one.name);
    const AttentionSubject subject(one, at::kCPU, at::kFloat);
    ASSERT_EQ(subject.unsupported(AttentionRoute::Fused), "");
    const Json fused = subject.errors(AttentionRoute::Fused);
    const Json composed = subject.errors(AttentionRoute::Composed);
    for (const auto& [name, error] : composed.items()) {
      EXPECT_LE(fused[name].get<double>(), 2 * error.get<double>() + kRoundings) << name;
    }
  }
  EXPECT_GE(seen.size(), 8u);
}

/// The bench profiles the way back by itself.
TEST(AttentionSubject, GoesBackAsOftenAsItIsCalled) {
  AttentionCase one = usual_attention_cases().at(1);
  one.batch = 1, one.tokens = 20;
  const AttentionSubject subject(one, at::kCPU, at::kFloat);
  const auto backward = subject.backward(AttentionRoute::Fused);
  EXPECT_NO_THROW(backward());
  EXPECT_NO_THROW(backward());
}

/// Time and memory against T: nothing else may differ.
TEST(AttentionCases, OfScalingDifferInTheirLengthAlone) {
  std::set<std::string> stages;
  std::set<std::int64_t> lengths;
  for (AttentionCase one : usual_attention_cases()) {
    if (!one.name.starts_with("scaling_")) continue;
    EXPECT_EQ(one.name, "scaling_t" + std::to_string(one.tokens));
    lengths.insert(one.tokens);
    one.name.clear(), one.tokens = 1, one.composed = true;
    stages.insert(to_json(one).dump());
  }
  EXPECT_EQ(lengths, (std::set<std::int64_t>{512, 1024, 2048, 4096, 8192, 16384}));
  EXPECT_EQ(stages.size(), 1u);
}

TEST(AttentionCases, SayWhatIsWrongAndWhere) {
  EXPECT_EQ(first_problem(R"([{"name": "x", "token": 5, "attention": {}}])"),
            "cases.json: /0/token: unknown key \"token\"; did you mean \"tokens\"?");
  EXPECT_EQ(first_problem(R"([{"name": "x"}])").rfind("cases.json: /0/attention: is required", 0),
            0u);
  EXPECT_EQ(
      first_problem(R"([{"name": "x", "heads": 4, "attention": {"heads_after": {"group": 3}}}])")
          .rfind("cases.json, case x: /attention/heads_after/group: must divide", 0),
      0u);
  EXPECT_NE(first_problem("{}").find("a list of cases"), std::string::npos);
}

TEST(AttentionBench, TimesThreePathsAndMeasuresTheirErrors) {
  const auto cases = read_attention_cases(Json::parse(R"([
    {"name": "all", "batch": 1, "heads": 2, "tokens": 40, "head_dim": 16,
     "attention": {"kq_before": {"query": 2, "key": 3}, "heads_before": {},
                   "kq_after": {"query": 2, "key": 3}, "heads_after": {}}},
    {"name": "differential", "batch": 1, "heads": 2, "tokens": 20, "head_dim": 16,
     "attention": {"variant": "differential"}}])"),
                                          "cases");
  const Json report =
      bench_attention({.cases = cases, .turns = 2, .device = "cpu", .command_line = {}});
  EXPECT_EQ(report["schema"], "mta.bench/1");
  EXPECT_EQ(report["kind"], "attention");
  EXPECT_GT(report["device_rates"]["copy_bytes_per_s"], 0);
  const Json& paths = report["cases"][0]["paths"];
  ASSERT_EQ(paths.size(), 3u);
  for (const Json& path : paths) {
    SCOPED_TRACE(path.dump());
    EXPECT_GT(path["forward"]["ms"]["median"], 0);
    EXPECT_GT(path["forward_backward"]["ms"]["median"], 0);
    EXPECT_GT(path["forward_backward"]["share_of_matrix_rate"], 0);
    EXPECT_TRUE(path["peak_memory_bytes"].is_null()) << "not measured on a CPU";
    for (const auto& [name, error] : path["error"].items()) {
      EXPECT_LT(error.get<double>(), 1e-5) << name;
      EXPECT_GT(error.get<double>(), 0) << name;
    }
  }
  EXPECT_EQ(paths[0]["path"], "standard");
  EXPECT_TRUE(paths[1]["profile"].is_null()) << "of a GPU's kernels";
  EXPECT_EQ(paths[1]["error"].size(), 8u) << "the output, q, k, v and four parameters";
  EXPECT_EQ(paths[0]["error"].size(), 4u);

  const Json& differential = report["cases"][1]["paths"];
  EXPECT_EQ(differential[1]["reason"], "stage \"differential\" has no fused form");
  EXPECT_TRUE(differential[1]["forward"].is_null());
  EXPECT_GT(differential[2]["forward"]["ms"]["median"], 0);
}

}  // namespace
}  // namespace mta
