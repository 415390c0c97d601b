// The registry: names, reading, writing, schema; for all tasks that are listed.
#include "tasks/registry.h"

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
