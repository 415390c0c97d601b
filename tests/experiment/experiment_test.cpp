// Whole experiments: defaults, resolution, schema, checks between parts.
#include "lib/experiment/experiment.h"

#include "lib/attention/registry.h"

#include <gtest/gtest.h>

#include <filesystem>

namespace mta {
namespace {

Document document(const std::string& text) {
  Document document;
  document.root = Json::parse(text);
  document.origins[""] = "e.json";
  return document;
}

std::string refusal(const std::string& text) {
  try {
    read_experiment(document(text));
  } catch (const UserError& error) {
    return error.what();
  }
  return "(accepted)";
}

TEST(Experiment, AnEmptyFileIsACompleteExperiment) {
  const Experiment experiment = read_experiment(document("{}"));
  EXPECT_EQ(experiment.name, "standard");
  ASSERT_NE(experiment.task, nullptr);
  EXPECT_EQ(experiment.task->vocabulary(), 32);
}

TEST(Experiment, EveryFileInTheTreeIsOne) {
  int files = 0;
  for (const auto& entry : std::filesystem::recursive_directory_iterator("experiments")) {
    if (entry.path().extension() != ".json") continue;
    const Document document = load_document(entry.path(), {});
    if (document.root.contains("experiments")) continue;  // a sweep
    EXPECT_NO_THROW(read_experiment(document)) << entry.path();
    ++files;
  }
  EXPECT_GT(files, 10);
}

TEST(Experiment, TheResolvedConfigurationReadsBackToItself) {
  for (const std::string& variant : variant_names()) {
    SCOPED_TRACE(variant);
    const Json resolved = to_json(read_experiment(
        document(R"({"model": {"heads": 4}, "attention": {"variant": ")" + variant + "\"}}")));
    EXPECT_EQ(resolved["attention"]["variant"], variant);
    EXPECT_EQ(to_json(read_experiment(document(resolved.dump()))), resolved);
  }
}

TEST(Experiment, TestSamplesMayHaveOtherKeys) {
  const Experiment experiment = read_experiment(
      document(R"({"task": {"length": 103}, "evaluate": {"task": {"length": 319}}})"));
  EXPECT_EQ(experiment.task->max_tokens(), 105);
  EXPECT_EQ(experiment.test_task->max_tokens(), 321);
  EXPECT_EQ(to_json(read_experiment(document(to_json(experiment).dump()))), to_json(experiment));
  const Experiment plain = read_experiment(document("{}"));
  EXPECT_EQ(plain.test_task, plain.task);
  EXPECT_EQ(refusal(R"({"evaluate": {"task": {"length": 3}}})")
                .find("e.json: /evaluate/task/length: must be at least 13"),
            0u);
  EXPECT_NE(
      refusal(R"({"evaluate": {"task": {"alphabet": 40}}})").find("must have the same tokens"),
      std::string::npos);
}

TEST(Experiment, GreedyScoresNeedAnAnswerToWriteOut) {
  EXPECT_NE(refusal(R"({"task": {"kind": "associative_recall"}, "evaluate": {"greedy": true}})")
                .find("e.json: /evaluate/greedy: cannot be had for this task"),
            std::string::npos);
  EXPECT_EQ(refusal(R"({"task": {"kind": "needle"}, "evaluate": {"greedy": true}})"), "(accepted)");
}

TEST(Experiment, AVariantIsAPresetWhoseFieldsCanBeOverridden) {
  const Experiment experiment = read_experiment(document(
      R"({"attention": {"variant": "multi_token", "kq_after": null, "kq_before": {"query": 3}}})"));
  EXPECT_EQ(experiment.attention.kq_before->query, 3);
  EXPECT_EQ(experiment.attention.kq_before->key, 11);
  EXPECT_FALSE(experiment.attention.kq_after.has_value());
  EXPECT_TRUE(experiment.attention.gate.has_value());
}

TEST(Experiment, ProblemsOfAllPartsAreReportedTogether) {
  const std::string text = refusal(R"({
      "task": {"kind": "block_finding", "block_lenght": 5},
      "model": {"dim": 30, "heads": 4},
      "attention": {"variant": "multi_tokens"},
      "train": {"schedule": "cosin"},
      "evaluate": {"samples": 0},
      "seed": 1})");
  for (const char* part :
       {"/task/block_lenght: unknown key", "/model", "did you mean \"multi_token\"?",
        "did you mean \"cosine\"?", "/evaluate/samples: must be at least 1",
        "/seed: unknown key \"seed\"; did you mean \"seeds\"?"}) {
    EXPECT_NE(text.find(part), std::string::npos) << part << " missing in:\n" << text;
  }
}

TEST(Experiment, PartsAreCheckedAgainstEachOther) {
  EXPECT_NE(refusal(R"({"model": {"heads": 4, "dim": 64},
                        "attention": {"variant": "multi_token", "heads_before": {"group": 3}}})")
                .find("/attention/heads_before/group"),
            std::string::npos);
  EXPECT_NE(
      refusal(
          R"({"model": {"layers": 2}, "attention": {"variant": "multi_token", "kq_layers": [2]}})")
          .find("/attention/kq_layers"),
      std::string::npos);
  EXPECT_NE(refusal(R"({"model": {"layers": 2}, "train": {"recompute_layers": 3}})")
                .find("/train/recompute_layers: must be at most /model/layers (recompute_layers 3, "
                      "layers 2)"),
            std::string::npos);
  EXPECT_NE(refusal(R"({"model": {"vocabulary": 8}})").find("/model/vocabulary"),
            std::string::npos);
}

TEST(Experiment, TheSchemaKnowsEveryKeyOfTheResolvedConfiguration) {
  const Json schema = experiment_schema();
  const Json resolved = to_json(read_experiment(document("{}")));
  EXPECT_TRUE(schema["properties"].contains("extends"));
  for (const auto& [key, value] : resolved.items()) {
    ASSERT_TRUE(schema["properties"].contains(key)) << key;
    EXPECT_TRUE(schema["properties"][key].contains("description")) << key;
    if (!value.is_object() || key == "task") continue;  // a task is one of several alternatives
    for (const auto& [inner, unused] : value.items()) {
      EXPECT_TRUE(schema["properties"][key]["properties"].contains(inner)) << key << "/" << inner;
    }
  }
  EXPECT_EQ(schema["properties"]["attention"]["properties"]["variant"]["enum"].size(),
            variant_names().size());
}

}  // namespace
}  // namespace mta
