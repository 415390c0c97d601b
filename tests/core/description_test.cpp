// Descriptions: one list of keys that reads, refuses, writes and makes a schema.
#include "lib/core/description.h"

#include <gtest/gtest.h>

namespace mta {
namespace {

enum class Fruit { Apple, Pear };

struct Inner {
  std::int64_t size = 3;
};

struct Outer {
  std::int64_t steps = 10;
  double lr = 0.1;
  bool tied = true;
  Fruit fruit = Fruit::Pear;
  std::vector<double> betas = {0.9, 0.98};
  std::optional<std::vector<std::int64_t>> layers;
  std::optional<Inner> inner;
};

Description describe(Inner& c) {
  Description d;
  d.integer("size", c.size, "how large", {.min = 1});
  return d;
}

Description describe(Outer& c) {
  Description d;
  d.integer("steps", c.steps, "how many", {.min = 1});
  d.real("lr", c.lr, "how fast", {.max = 1, .above = 0});
  d.boolean("tied", c.tied, "tied or not");
  d.choice("fruit", c.fruit, {{Fruit::Apple, "apple"}, {Fruit::Pear, "pear"}}, "which");
  d.reals("betas", c.betas, "decay rates", {.min = 0, .below = 1});
  d.optional_integers("layers", c.layers, "which layers", {.min = 0});
  d.optional_object<Inner>("inner", c.inner, describe, "nested");
  return d;
}

/// Messages that reading `text` gives, one a line; "" when it is accepted.
std::string read(Outer& target, const std::string& text) {
  Document document;
  document.root = Json::parse(text);
  document.origins[""] = "e.json";
  Problems problems(document);
  describe(target).read(document.root, "", problems);
  try {
    problems.raise();
  } catch (const UserError& error) {
    return error.what();
  }
  return "";
}

TEST(Description, ReadsEveryKindOfKeyAndKeepsTheRest) {
  Outer outer;
  ASSERT_EQ(
      read(outer,
           R"({"steps": 5, "fruit": "apple", "betas": [0.5], "layers": [1, 3], "inner": {}})"),
      "");
  EXPECT_EQ(outer.steps, 5);
  EXPECT_EQ(outer.fruit, Fruit::Apple);
  EXPECT_EQ(outer.betas, std::vector<double>{0.5});
  EXPECT_EQ(outer.layers, (std::vector<std::int64_t>{1, 3}));
  EXPECT_EQ(outer.inner->size, 3);
  EXPECT_DOUBLE_EQ(outer.lr, 0.1);
  ASSERT_EQ(read(outer, R"({"inner": null, "layers": null})"), "");
  EXPECT_FALSE(outer.inner || outer.layers);
}

TEST(Description, ReportsAllProblemsWithPlaceValueAndWhatIsAllowed) {
  Outer outer;
  EXPECT_EQ(
      read(
          outer,
          R"({"step": 5, "lr": 0, "tied": 1, "fruit": "aple", "betas": [0.5, 1], "inner": {"size": 0.5},
                           "colour": 1})"),
      "e.json: /step: unknown key \"step\"; did you mean \"steps\"?\n"
      "e.json: /lr: must be above 0 and at most 1, but is 0\n"
      "e.json: /tied: must be true or false, but is number 1\n"
      "e.json: /fruit: unknown value \"aple\"; did you mean \"apple\"?\n"
      "e.json: /betas/1: must be at least 0 and below 1, but is 1\n"
      "e.json: /inner/size: must be a whole number, but is number 0.5\n"
      "e.json: /colour: unknown key \"colour\" (known: steps, lr, tied, fruit, betas, layers, "
      "inner)");
  EXPECT_EQ(outer.betas.size(), 2u) << "a list with a wrong element must not be taken in part";
}

TEST(Description, WritesWhatItReads) {
  Outer outer;
  outer.inner = Inner{.size = 9};
  const Json written = describe(outer).write();
  Outer again;
  ASSERT_EQ(read(again, written.dump()), "");
  EXPECT_EQ(describe(again).write(), written);
}

TEST(Description, SchemaCarriesTypeRangeDefaultAndText) {
  Outer outer;
  const Json schema = describe(outer).schema();
  EXPECT_EQ(schema["additionalProperties"], false);
  const Json& lr = schema["properties"]["lr"];
  EXPECT_EQ(lr["type"], "number");
  EXPECT_EQ(lr["exclusiveMinimum"], 0.0);
  EXPECT_EQ(lr["maximum"], 1.0);
  EXPECT_EQ(lr["default"], 0.1);
  EXPECT_EQ(lr["description"], "how fast");
  EXPECT_EQ(schema["properties"]["fruit"]["enum"], Json({"apple", "pear"}));
  EXPECT_EQ(schema["properties"]["inner"]["anyOf"][1]["properties"]["size"]["minimum"], 1.0);
}

TEST(NearestName, FindsSlipsAndLeavesTheRestAlone) {
  EXPECT_EQ(nearest_name("lrr", {"lr", "steps"}), "lr");
  EXPECT_EQ(nearest_name("stpes", {"lr", "steps"}), "steps");
  EXPECT_EQ(nearest_name("colour", {"lr", "steps"}), std::nullopt);
}

}  // namespace
}  // namespace mta
