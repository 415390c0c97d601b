// Scores by slice on the command line: depths, needles, lengths; and what cannot be scored.
#include "lib/core/json.h"
#include "tests/cli/program.h"

#include <gtest/gtest.h>

#include <string>

namespace mta::check {
namespace {

constexpr const char* kNeedles = R"({
  "task": {"kind": "needle", "needles": 3, "asked": 2, "length": 100},
  "model": {"dim": 32, "layers": 1, "heads": 2, "ffn_hidden": 64},
  "train": {"steps": 2, "batch": 4, "threads": 1},
  "evaluate": {"samples": 40, "greedy": true}
})";

constexpr const char* kRecall = R"({
  "task": {"kind": "associative_recall", "pairs": 2, "length": 16, "alphabet": 16},
  "model": {"dim": 32, "layers": 1, "heads": 2, "ffn_hidden": 64},
  "train": {"steps": 2, "batch": 4, "threads": 1},
  "evaluate": {"samples": 40, "task": {"kind": "mixture", "tasks": [
    {"name": "same", "task": {"kind": "associative_recall", "pairs": 2, "length": 16, "alphabet": 16}},
    {"name": "more", "task": {"kind": "associative_recall", "pairs": 4, "length": 32, "alphabet": 16}}
  ]}}
})";

/// Trained for two steps: nothing is learnt, but everything can be scored.
class Slices : public testing::Test {
 protected:
  static void SetUpTestSuite() {
    folder = new WorkFolder;
    folder->write("needles.json", kNeedles);
    folder->write("recall.json", kRecall);
    for (const std::string name : {"needles", "recall"}) {
      ok("mta train " + name + ".json --progress none --out " + name);
    }
  }
  static void TearDownTestSuite() { delete folder; }

  /// What a command that must succeed writes.
  static std::string ok(const std::string& command) {
    const Outcome outcome = shell(command, folder->path());
    EXPECT_EQ(outcome.code, 0) << command << "\n" << outcome.err;
    return outcome.out;
  }
  static void refused(const std::string& command, const std::string& message) {
    const Outcome outcome = shell(command, folder->path());
    EXPECT_EQ(outcome.code, 2) << command;
    EXPECT_EQ(outcome.err.substr(0, outcome.err.find('\n')), "mta: error: " + message);
  }

  static WorkFolder* folder;
};

WorkFolder* Slices::folder = nullptr;

TEST_F(Slices, TablesByDepthAndNeedlesHaveCountsAndIntervals) {
  const std::string table = ok("mta eval needles --by depth,needles,answers,length");
  EXPECT_NE(table.find("\nneedles               samples      exact   95 % interval\n"
                       "3                          40      0.0 %   0.0 to 8.8 %\n"),
            std::string::npos)
      << table;
  EXPECT_NE(table.find("\neach                       80      0.0 %   0.0 to 4.6 %\n"),
            std::string::npos)
      << table;
  const Json slices = Json::parse(ok("mta eval needles --json --by depth"))["slices"]["depth"];
  std::int64_t answers = 0;
  for (const auto& [depth, slice] : slices.items()) {
    EXPECT_LE(std::stod(depth), 1);
    EXPECT_EQ(slice["interval"].size(), 2u);
    answers += slice["count"].get<std::int64_t>();
  }
  EXPECT_EQ(answers, 80) << "each of the two answers of a sample, by its own depth";
  refused("mta eval needles --by dept",
          "--by dept: unknown slice \"dept\"; did you mean \"depth\"?");
}

TEST_F(Slices, TheReportAndTablesHaveThemToo) {
  const Json report = Json::parse(folder->read("needles/report.json"));
  EXPECT_EQ(report["slices"]["needles"]["3"]["count"], 40);
  EXPECT_EQ(report["slices"]["needles"]["3"]["interval"][0], 0);
  EXPECT_EQ(report["final"]["greedy"]["scored"], 40);
  EXPECT_NE(ok("mta table needles --columns 'slice(needles)'").find("0.0 [0.0, 8.8] 40"),
            std::string::npos);
}

TEST_F(Slices, LongerSamplesThanTrainedOn) {
  const std::string table =
      ok("mta eval needles --set length=300 --set needles=5 --by length,needles");
  EXPECT_NE(table.find("\n512                        40 "), std::string::npos) << table;
  EXPECT_NE(table.find("\n5                          40 "), std::string::npos) << table;
  refused("mta eval needles --set length=20",
          "--set length=20: must be at least 85 = 45 (3 x 15 of needles) + 15 (answer) + 11 (one "
          "sentence of haystack) + 14 (question, begin, end), but is 20");
  const Json trained = Json::parse(folder->read("recall/report.json"))["slices"];
  EXPECT_GT(trained["length"]["16"]["count"], 0);
  EXPECT_GT(trained["length"]["32"]["count"], 0) << "twice as long as in training";
  EXPECT_EQ(
      trained["task"]["same"]["count"].get<int>() + trained["task"]["more"]["count"].get<int>(),
      40);
}

TEST_F(Slices, WhatCannotBeWrittenOutIsNotScoredByGeneration) {
  refused(
      "mta eval recall --decode greedy",
      "--decode greedy: cannot be had for this task: its answers are spread over a text that is "
      "given, so there is nothing to write out; teacher-forced scores are exact for it");
  refused(
      "mta train recall.json --set /evaluate/greedy=true --out other",
      "--set /evaluate/greedy=true: cannot be had for this task: its answers are spread over a "
      "text that is given, so there is nothing to write out; teacher-forced scores are exact for "
      "it");
}

TEST_F(Slices, UnknownInputIsNamedWithItsPlace) {
  refused("mta decode needles --prompt 'The grass is gr\xc3\xbcn.'",
          "--prompt: prompt character 16: byte 0xc3 has no token");
  folder->write("bad.jsonl", "{\"src\": \"The grass\", \"tgt\": \"5 %\"}\n");
  refused("mta eval needles --data bad.jsonl", "bad.jsonl:1: tgt character 3: '%' has no token");
}

TEST_F(Slices, BenchesOfTasksAreReports) {
  const Json report =
      Json::parse(ok("mta bench tasks --case needles.json --case recall.json --turns 2 --json"));
  EXPECT_EQ(report["schema"], "mta.bench/1");
  EXPECT_EQ(report["kind"], "tasks");
  ASSERT_EQ(report["cases"].size(), 2u);
  EXPECT_GT(report["cases"][0]["samples_per_s"]["median"], 0);
  EXPECT_EQ(report["cases"][1]["task"]["kind"], "associative_recall");
  EXPECT_EQ(report["provenance"]["threads"], 1);
  refused("mta bench tasks --device cuda",
          "mta bench tasks: samples are made by one thread of the CPU");
  refused("mta bench train",
          "--case: is required: an experiment file, or a built-in case (known: toy_step, "
          "large_model)");
  refused("mta bench tasks --context 8",
          "--context 8: is for mta bench decode, not for mta bench tasks");
  refused("mta bench decode",
          "--case: is required: an experiment file, or a built-in case (known: toy_step, "
          "large_model)");
  refused("mta bench decod", "mta bench decod: unknown kind \"decod\"; did you mean \"decode\"?");
  refused("mta bench train --case large_modle",
          "--case large_modle: unknown case \"large_modle\"; did you mean \"large_model\"?");
}

}  // namespace
}  // namespace mta::check
