// The table of measured launch plans: what it finds, and what it refuses.
#include "lib/ops/launch_plans.h"

#include "lib/core/error.h"

#include <gtest/gtest.h>

#include <string>
#include <vector>

namespace mta::ops {
namespace {

using kernels::Direction;
using kernels::Problem;

constexpr std::size_t kMebibyte = std::size_t{1} << 20;
const float kWeights[1] = {};

Problem convolution_before(int tokens) {
  Problem p = {.batch = 4, .heads = 16, .tokens = tokens, .head_dim = 64, .scale = 0.125f};
  p.conv_before = {.kernel = kWeights, .query_span = 6, .key_span = 11, .pad_left = 5};
  return p;
}

LaunchEntry entry_for(const Problem& p, Direction direction, int rows) {
  return {.card = "Some Card",
          .shape = launch_class(p, direction, rows),
          .launch = {.convolution_keys = 1024},
          .measured = {{"case", "made up"}}};
}

std::vector<std::string> problems_of(const std::string& text) {
  try {
    read_launch_plans(Json::parse(text), "plans.json");
  } catch (const UserError& error) {
    std::vector<std::string> all;
    for (const mta::Problem& problem : error.problems()) all.push_back(to_string(problem));
    return all;
  }
  return {};
}

TEST(LaunchPlans, OfAClassAreFoundForItsCallsOnly) {
  const Problem p = convolution_before(2048);
  constexpr std::size_t kLarge = 2048 * kMebibyte;
  const std::vector<LaunchEntry> table = {entry_for(p, Direction::Forward, 2048)};
  const auto found = [&](const Problem& problem, const char* card, Direction direction,
                         std::size_t budget) {
    return find_launch(table, card, problem, direction, budget) != nullptr;
  };
  EXPECT_TRUE(found(p, "Some Card", Direction::Forward, kLarge));
  EXPECT_TRUE(found(convolution_before(1536), "Some Card", Direction::Forward, kLarge));
  EXPECT_TRUE(found(convolution_before(3071), "Some Card", Direction::Forward, kLarge));
  EXPECT_FALSE(found(convolution_before(1535), "Some Card", Direction::Forward, kLarge));
  EXPECT_FALSE(found(convolution_before(3072), "Some Card", Direction::Forward, kLarge));
  EXPECT_FALSE(found(p, "Another Card", Direction::Forward, kLarge));
  EXPECT_FALSE(found(p, "Some Card", Direction::Backward, kLarge));
  EXPECT_FALSE(found(p, "Some Card", Direction::Forward, 64 * kMebibyte)) << "short chunks";
  Problem mixed = p;
  mixed.mix_after = {.weight = kWeights, .group = 16};
  EXPECT_FALSE(found(mixed, "Some Card", Direction::Forward, kLarge));
  Problem wide = p;
  wide.head_dim = 128;
  EXPECT_FALSE(found(wide, "Some Card", Direction::Forward, kLarge));
}

TEST(LaunchPlans, ClassesOfLengthsFollowEachOther) {
  std::int64_t end = 0;
  for (int tokens = 1; tokens < 5000;) {
    const LaunchClass shape = launch_class(convolution_before(tokens), Direction::Forward, 64);
    EXPECT_EQ(shape.tokens[0], end + 1);
    EXPECT_LE(tokens, shape.tokens[1]);
    end = shape.tokens[1];
    tokens = static_cast<int>(end) + 1;
  }
}

TEST(LaunchPlans, SurviveARoundTripThroughJson) {
  const Problem p = convolution_before(300);
  const std::vector<LaunchEntry> table = {entry_for(p, Direction::Forward, 300),
                                          entry_for(p, Direction::Backward, 64)};
  const Json json = to_json(table);
  const std::vector<LaunchEntry> again = read_launch_plans(json, "again");
  EXPECT_EQ(to_json(again), json);
  EXPECT_EQ(again[1].launch.convolution_keys, 1024);
  EXPECT_TRUE(again[1].shape == table[1].shape);
}

TEST(LaunchPlans, OfTheProgramAreWhole) {
  EXPECT_FALSE(installed_launch_plans().empty());
  EXPECT_EQ(launch_plans_of("NVIDIA H200"), "NVIDIA H200");
  EXPECT_EQ(launch_plans_of("a card that nobody measured"), kDefaultPlan);
}

TEST(LaunchPlans, CorruptAndForeignFilesAreRefusedByPlace) {
  EXPECT_EQ(problems_of("[1]"),
            std::vector<std::string>{"plans.json: /: must be an object, but is array [1]"});
  const auto foreign = problems_of(R"({"schema": "mta.bench/1", "cases": []})");
  ASSERT_EQ(foreign.size(), 1u);
  EXPECT_EQ(foreign[0].rfind(
                "plans.json: /schema: must be \"mta.launch_plans/1\", but is \"mta.bench/1\"", 0),
            0u)
      << foreign[0];

  Json json = to_json({entry_for(convolution_before(300), Direction::Forward, 300)});
  const auto changed = [&](const std::string& pointer, const Json& value) {
    Json copy = json;
    copy[Json::json_pointer(pointer)] = value;
    const auto problems = problems_of(copy.dump());
    return problems.empty() ? "" : problems[0];
  };
  EXPECT_EQ(changed("/plans/0/launch/mixing_keys", 100),
            "plans.json: /plans/0/launch: launch plan: mixing_keys 100 is not a multiple of 64 up "
            "to 4096");
  EXPECT_EQ(changed("/plans/0/launch/mixing_keys", "many")
                .rfind("plans.json: /plans/0/launch/mixing_keys: must be a whole number", 0),
            0u);
  EXPECT_EQ(changed("/plans/0/tokens", {5, 4}),
            "plans.json: /plans/0/tokens: must be the least and the most");
  EXPECT_EQ(changed("/plans/0/card", ""), "plans.json: /plans/0/card: is required");
  EXPECT_EQ(changed("/plans/0/stages", {"kq_befor"})
                .rfind("plans.json: /plans/0/stages/0: unknown value \"kq_befor\"", 0),
            0u);
  EXPECT_EQ(changed("/plans/1", json["plans"][0]),
            "plans.json: /plans/1: has the card and class of /plans/0");
}

}  // namespace
}  // namespace mta::ops
