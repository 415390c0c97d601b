// Reading, presets, schema and contradictions of the attention part of an experiment.
#include "lib/attention/config.h"

#include "lib/attention/registry.h"
#include "lib/core/document.h"
#include "lib/core/error.h"

#include <gtest/gtest.h>

#include <string>
#include <vector>

namespace mta {
namespace {

/// "pointer: message" of everything that is wrong with an object, in a model of 4 heads, 6 layers.
std::vector<std::string> problems_of(const std::string& json) {
  Document document;
  document.root = parse_json("{\"attention\": " + json + "}", "test");
  Problems problems(document);
  const AttentionConfig config =
      read_attention(document.root.at("attention"), "/attention", problems);
  validate(config, /*heads=*/4, /*layers=*/6, problems);
  try {
    problems.raise();
    return {};
  } catch (const UserError& error) {
    std::vector<std::string> lines;
    for (const Problem& problem : error.problems()) {
      lines.push_back(problem.place + ": " + problem.message);
    }
    return lines;
  }
}

void expect_problem(const std::string& json, const std::string& pointer, const std::string& part) {
  const auto lines = problems_of(json);
  ASSERT_EQ(lines.size(), 1u) << json;
  EXPECT_NE(lines[0].find(pointer + ": "), std::string::npos) << lines[0];
  EXPECT_NE(lines[0].find(part), std::string::npos) << lines[0];
}

TEST(AttentionConfig, EveryPresetIsValidAndSurvivesWriting) {
  for (const std::string& name : variant_names()) {
    EXPECT_TRUE(problems_of("{\"variant\": \"" + name + "\"}").empty()) << name;
    const Json written = to_json(preset(name));
    EXPECT_EQ(written.at("variant"), name);
    Document document;
    Problems problems(document);
    EXPECT_EQ(to_json(read_attention(written, "/attention", problems)), written) << name;
    EXPECT_TRUE(problems.empty());
    EXPECT_FALSE(find_variant(name).summary.empty());
  }
}

TEST(AttentionConfig, KeysOverrideThePresetOneByOne) {
  Document document;
  Problems problems(document);
  const Json json = parse_json(
      R"({"variant": "multi_token", "kq_before": {"key": 5}, "kq_after": null, "path": "composed"})",
      "test");
  const AttentionConfig config = read_attention(json, "/attention", problems);
  ASSERT_TRUE(problems.empty());
  EXPECT_EQ(config.kq_before->query, 6) << "the preset's";
  EXPECT_EQ(config.kq_before->key, 5);
  EXPECT_FALSE(config.kq_after);
  EXPECT_TRUE(config.heads_after && config.gate && config.group_norm);
  EXPECT_EQ(config.path, AttentionPath::Composed);
}

TEST(AttentionConfig, NamesTheNearestVariant) {
  expect_problem(R"({"variant": "multi_tokn"})", "/attention/variant", "multi_token");
}

TEST(AttentionConfig, ReportsEveryProblemAtOnce) {
  EXPECT_EQ(problems_of(R"({"variant": "x", "kq_befor": {}, "path": "fast", "gate": {"kind": 1}})")
                .size(),
            4u);
}

TEST(AttentionConfig, RefusesContradictions) {
  expect_problem(R"({"kq_layers": [1]})", "/attention/kq_layers", "no kq convolution");
  expect_problem(R"({"variant": "key_only", "kq_layers": [6]})", "/attention/kq_layers",
                 "layer 6 does not exist");
  expect_problem(R"({"variant": "key_only", "kq_layers": []})", "/attention/kq_layers",
                 "at least one");
  expect_problem(R"({"variant": "key_only", "kq_layers": [2, 2]})", "/attention/kq_layers",
                 "twice");
  expect_problem(R"({"heads_before": {"group": 3}})", "/attention/heads_before/group",
                 "group 3, maps 4");
  expect_problem(R"({"variant": "differential", "heads_after": {"group": 4}})",
                 "/attention/heads_after/group", "group 4, maps 2");
  expect_problem(R"({"causality": "exact"})", "/attention/causality", "kq_before");
  expect_problem(R"({"init": "zero"})", "/attention/init", "no kq convolution");
  expect_problem(R"({"kq_before": {"query": 0}})", "/attention/kq_before/query", "at least 1");
}

TEST(AttentionConfig, DifferentialNeedsAnEvenNumberOfHeads) {
  Document document;
  Problems problems(document);
  validate(preset("differential"), /*heads=*/3, /*layers=*/1, problems);
  EXPECT_TRUE(problems.concerns("/attention/differential"));
}

TEST(AttentionConfig, SchemaDescribesEveryKey) {
  AttentionConfig config = preset("multi_token");
  const Json schema = describe(config).schema();
  const Json written = to_json(config);
  for (const auto& [key, unused] : written.items()) {
    if (key == "variant") continue;
    ASSERT_TRUE(schema.at("properties").contains(key)) << key;
    EXPECT_FALSE(schema["properties"][key].at("description").get<std::string>().empty()) << key;
  }
}

}  // namespace
}  // namespace mta
