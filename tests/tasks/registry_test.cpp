// The registry: names, reading, writing, schema; for all tasks that are listed.
#include "tasks/registry.h"

#include "lib/core/vocabulary.h"
#include "tests/support/task_of.h"

#include <gtest/gtest.h>

namespace mta {
namespace {

using check::refusal;
using check::task_of;

TEST(Registry, EveryTaskIsMadeByItsName) {
  ASSERT_FALSE(task_names().empty());
  for (const TaskEntry& entry : task_entries()) {
    EXPECT_EQ(make_task(entry.name)->common.kind, entry.name);
    EXPECT_FALSE(entry.summary.empty());
  }
}

TEST(Registry, UnknownNamesGetTheNearest) {
  EXPECT_EQ(refusal("blok_finding", {}),
            "--set /task/kind=blok_finding: unknown task \"blok_finding\"; did you mean "
            "\"block_finding\"?");
  try {
    make_task("block_findin");
    FAIL() << "accepted";
  } catch (const UserError& error) {
    EXPECT_STREQ(error.what(), "unknown task \"block_findin\"; did you mean \"block_finding\"?");
  }
}

TEST(Registry, AllProblemsAreReportedAtOnce) {
  const std::string text =
      refusal("block_finding", {"alphabet=many", "lenght=3", "samples=0", "target=middle"});
  EXPECT_NE(text.find("--set /task/alphabet=many: must be a whole number"), std::string::npos);
  EXPECT_NE(text.find("unknown key \"lenght\"; did you mean \"length\"?"), std::string::npos);
  EXPECT_NE(text.find("/task/samples=0: must be \"fresh\" or a whole number above 0"),
            std::string::npos);
  EXPECT_NE(text.find("unknown value \"middle\""), std::string::npos) << text;
}

TEST(Registry, AConfigurationSurvivesWritingAndReading) {
  const auto task = task_of("block_finding", {"block_length=3", "samples=100", "target=last"});
  EXPECT_EQ(*task->common.samples, 100);
  const Json json = to_json(*task);
  EXPECT_EQ(json.begin().key(), "kind");
  EXPECT_EQ(json["samples"], 100);
  EXPECT_EQ(json["target"], "last");
  const Document document;
  Problems problems(document);
  const auto again = read_task(json, "/task", problems);
  problems.raise();
  EXPECT_EQ(to_json(*again), json);
  EXPECT_EQ(to_json(*task_of("block_finding", {}))["samples"], "fresh");
}

/// What `keys` make of `task`, or the refusal.
std::string changed(const Task& task, const Json& keys) {
  const Document document;
  Problems problems(document);
  const auto made = changed_task(task, keys, "/evaluate/task", problems);
  try {
    problems.raise();
    return to_json(*made).dump();
  } catch (const UserError& error) {
    return error.what();
  }
}

TEST(Registry, ATaskWithOtherValuesKeepsTheRestAndItsTokens) {
  const auto task = task_of("block_finding", {"block_length=3", "length=100"});
  Json expected = to_json(*task);
  expected["length"] = 400;
  EXPECT_EQ(changed(*task, {{"length", 400}}), expected.dump());
  EXPECT_EQ(changed(*task, {{"lenght", 400}}),
            "/evaluate/task/lenght: unknown key \"lenght\"; did you mean \"length\"?");
  EXPECT_EQ(changed(*task, {{"alphabet", 40}}),
            "/evaluate/task: must have the same tokens as the task trained on, but token 26 is "
            "\".\" in training and \"A\" here");
  const Json mixture = {{"kind", "mixture"}, {"tasks", {{{"task", {{"length", 50}}}}}}};
  EXPECT_EQ(Json::parse(changed(*task, mixture))["tasks"][0]["task"]["block_length"], 5)
      << "a kind stands for a whole task, with its own defaults";
  const auto nested = task_of("curriculum", {R"(task={"length":100})"});
  EXPECT_EQ(Json::parse(changed(*nested, {{"task", {{"length", 211}}}}))["task"]["block_length"],
            5);
}

TEST(Registry, EveryTokenHasItsText) {
  const std::vector<std::string> letters = token_texts(*task_of("block_finding", {}));
  ASSERT_EQ(letters.size(), 32u);
  EXPECT_EQ(letters[2], "c");
  EXPECT_EQ(letters[30], "<eos>");
  const std::vector<std::string> bytes = token_texts(*task_of("needle", {"tokenizer=bytes"}));
  EXPECT_EQ(bytes[65], "A");
  EXPECT_EQ(bytes[195], "<0xc3>") << "a file of tokens is UTF-8";
  EXPECT_EQ(difference_of(letters, letters, "here", "there"), "");
  EXPECT_EQ(difference_of(letters, {"a", "b"}, "here", "there"),
            "there are 32 tokens here and 2 there");
}

TEST(Registry, TheSchemaHasEveryKindAndKey) {
  const Json schema = task_schema();
  ASSERT_EQ(schema["oneOf"].size(), task_names().size());
  for (std::size_t i = 0; i < task_names().size(); ++i) {
    const Json& alternative = schema["oneOf"][i];
    EXPECT_EQ(alternative["properties"]["kind"]["const"], task_names()[i]);
    EXPECT_TRUE(alternative["properties"].contains("samples"));
    EXPECT_EQ(alternative.contains("required"), i > 0) << "without a kind, only the first matches";
  }
}

}  // namespace
}  // namespace mta
