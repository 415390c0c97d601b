// Which points a sweep file has, what they are called, and what is refused.
#include "lib/sweep/points.h"

#include "lib/sweep/names.h"
#include "lib/sweep/sweep.h"
#include "tests/sweep/support.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <set>

namespace mta {
namespace {

using check::refusal;

class SweepPoints : public ::testing::Test {
 protected:
  std::vector<std::string> names(const Json& sweep) const {
    std::vector<std::string> list;
    for (const SweepPoint& point : folder_.points(sweep)) list.push_back(point.name);
    return list;
  }
  std::string refused(const Json& sweep) const {
    return refusal([&] { folder_.points(sweep); });
  }
  bool refused_for(const Json& sweep, const std::string& reason) const {
    const std::string text = refused(sweep);
    return text.find(reason) != std::string::npos ? true : (ADD_FAILURE() << text, false);
  }

  check::SweepFolder folder_;
};

TEST_F(SweepPoints, AreTheProductOfAllAxes) {
  const Json sweep = {{"experiments", {"a.json", "b.json"}},
                      {"grid", {{"/train/lr", {0.1, 0.2}}, {"/train/schedule", {"constant"}}}},
                      {"seeds", {1, 2}}};
  EXPECT_EQ(names(sweep),
            (std::vector<std::string>{
                "a-lr0.1-schedule_constant-seed1", "a-lr0.1-schedule_constant-seed2",
                "a-lr0.2-schedule_constant-seed1", "a-lr0.2-schedule_constant-seed2",
                "b-lr0.1-schedule_constant-seed1", "b-lr0.1-schedule_constant-seed2",
                "b-lr0.2-schedule_constant-seed1", "b-lr0.2-schedule_constant-seed2"}));
  const SweepPoint last = folder_.points(sweep).back();
  EXPECT_EQ(last.config["name"], "b");
  EXPECT_EQ(last.config["train"]["lr"], 0.2);
  EXPECT_EQ(last.config["train"]["schedule"], "constant");
  EXPECT_EQ(last.config["seeds"], Json({{"weights", 2}, {"data", 2}, {"train", 2}}));
  EXPECT_EQ(last.experiment, folder_.path("b.json"));
  EXPECT_EQ(names({{"experiments", {"a.json"}}}), std::vector<std::string>{"a"});
}

TEST_F(SweepPoints, ListEntriesAreNamedPointsOfSettingsThatGoTogether) {
  const Json sweep = {
      {"experiments", {"a.json"}},
      {"set", {{"/train/steps", 7}}},
      {"list",
       {{{"/model/dim", 64}, {"/model/heads", 4}}, {{"name", "wide one"}, {"/model/dim", 128}}}}};
  EXPECT_EQ(names(sweep), (std::vector<std::string>{"a-dim64-heads4", "a-wide_one"}));
  EXPECT_EQ(folder_.points(sweep)[0].config["train"]["steps"], 7);
}

TEST_F(SweepPoints, ExclusionsMatchAnyKey) {
  Json sweep = {{"experiments", {"a.json", "b.json"}},
                {"list", {{{"name", "x"}, {"/model/dim", 1}}, {{"name", "y"}, {"/model/dim", 2}}}},
                {"grid", {{"/train/lr", {0.1, -1}}}},
                {"exclude",
                 {{{"/train/lr", -1}},  // not valid, but never resolved
                  {{"experiment", "a"}, {"point", "y"}}}}};
  EXPECT_EQ(names(sweep), (std::vector<std::string>{"a-x-lr0.1", "b-x-lr0.1", "b-y-lr0.1"}));
  sweep["exclude"].push_back({{"/train/lr", 0.3}});
  EXPECT_TRUE(refused_for(sweep, "sweep.json: /exclude/2: matches no point"));
}

TEST_F(SweepPoints, RandomDrawsAreReproducibleAndWithinBounds) {
  Json sweep = {{"experiments", {"a.json"}},
                {"random",
                 {{"count", 5},
                  {"seed", 3},
                  {"keys",
                   {{"/train/lr", {{"min", 1e-4}, {"max", 1e-2}, {"scale", "log"}}},
                    {"/model/layers", {{"min", 1}, {"max", 9}, {"whole", true}}},
                    {"/train/schedule", {{"choose", {"linear", "cosine"}}}}}}}}};
  const auto first = names(sweep);
  EXPECT_EQ(first.size(), 5u);
  EXPECT_EQ(names(sweep), first);
  for (const SweepPoint& point : folder_.points(sweep)) {
    const double lr = point.config["train"]["lr"];
    EXPECT_TRUE(lr >= 1e-4 && lr <= 1e-2) << lr;
    EXPECT_TRUE(point.config["model"]["layers"].is_number_integer());
  }
  // More draws keep the earlier ones.
  sweep["random"]["count"] = 8;
  const auto more = names(sweep);
  EXPECT_TRUE(std::equal(first.begin(), first.end(), more.begin()));
  sweep["random"]["seed"] = 4;
  EXPECT_NE(names(sweep)[0], first[0]);
  sweep["random"]["keys"] = {{"/train/schedule", {{"choose", {"linear", "cosine"}}}}};
  EXPECT_TRUE(refused_for(sweep, "/random/count: must be at most 2"));
}

TEST_F(SweepPoints, NamesAreSafeShortAndDistinct) {
  EXPECT_EQ(short_keys({"/train/lr", "/attention/kq_before/query", "/attention/kq_after/query"}),
            (std::vector<std::string>{"lr", "kq_before.query", "kq_after.query"}));
  EXPECT_EQ(setting_name("kq_before", Json({{"query", 3}, {"key", 5}})), "kq_before_query_3_key_5");
  EXPECT_EQ(setting_name("kq_before", Json()), "kq_before_off");
  EXPECT_EQ(setting_name("lr", Json(1e-5)), "lr1e-05");
  EXPECT_EQ(safe_name("a/b c:d*"), "a_b_c_d");
  EXPECT_EQ(safe_name("../x"), "_.._x");
  EXPECT_LE(setting_name("k", Json(std::string(300, 'x'))).size(), 60u);
  // "a b" and "a/b" look alike once they are safe.
  const auto alike = names({{"experiments", {"a.json"}}, {"grid", {{"/x", {"a b", "a/b"}}}}});
  EXPECT_NE(alike[0], alike[1]);
  EXPECT_TRUE(alike[0].starts_with("a-x_a_b-")) << alike[0];
}

TEST_F(SweepPoints, RefusesWrongFilesAllAtOnce) {
  const std::string text = refused({{"experimants", {"a.json"}},
                                    {"grid", {{"train/lr", {1}}, {"/train/lr", Json::array()}}},
                                    {"seeds", {1, -1}}});
  for (const char* part :
       {"sweep.json: /experimants: unknown key", "did you mean \"experiments\"?",
        "/grid/train~1lr: the key must be a JSON pointer", "/grid/~1train~1lr: must hold at least",
        "/seeds/1: must be at least 0", "/experiments: must name at least one"}) {
    EXPECT_NE(text.find(part), std::string::npos) << part << "\n" << text;
  }
  EXPECT_TRUE(refused_for({{"experiments", {"a.json"}}, {"seeds", {1, 1}}}, "1 stands twice"));
  EXPECT_TRUE(refused_for({{"experiments", {"a.json"}},
                           {"grid", {{"/train/lr", {0.1}}}},
                           {"list", {{{"/train/lr", 0.2}}}}},
                          "/list: \"/train/lr\" is set by another axis already"));
  EXPECT_TRUE(refused_for({{"experiments", {"a.json"}}, {"random", {{"count", 2}}}},
                          "/random: must have both count and keys"));
  EXPECT_TRUE(refused_for(
      {{"experiments", {"a.json"}},
       {"random", {{"count", 2}, {"keys", {{"/x", {{"min", 0}, {"max", 1}, {"scale", "log"}}}}}}}},
      "/min: must be above 0 on a log scale"));
  EXPECT_TRUE(refused_for({{"experiments", {"a.json", "a.json"}}}, "two points are the same"));
  EXPECT_TRUE(refused_for({{"experiments", {"none.json"}}}, "none.json"));
}

TEST_F(SweepPoints, ProblemsOfPointsNameTheSweepAndComeOnce) {
  const std::string text = refused(
      {{"experiments", {"a.json", "b.json"}}, {"grid", {{"/train/lr", {-1}}}}, {"seeds", {1, 2}}});
  EXPECT_EQ(text, folder_.path("sweep.json").string() + ": /train/lr: must be above 0");
}

TEST_F(SweepPoints, ShardsCoverEveryPointOnce) {
  const auto points =
      folder_.points({{"experiments", {"a.json", "b.json"}}, {"seeds", {1, 2, 3, 4, 5}}});
  for (const std::int64_t count : {1, 3, 4, 12}) {
    std::multiset<std::string> covered;
    for (std::int64_t index = 1; index <= count; ++index) {
      const auto shard = shard_of(points, index, count);
      EXPECT_LE(shard.size(), (points.size() + static_cast<std::size_t>(count) - 1) /
                                  static_cast<std::size_t>(count));
      for (const SweepPoint& point : shard) covered.insert(point.name);
    }
    EXPECT_EQ(covered.size(), points.size());
    for (const SweepPoint& point : points) EXPECT_EQ(covered.count(point.name), 1u);
  }
}

TEST(SweepSchema, DescribesEveryKeyOfASweepFile) {
  const Json properties = sweep_schema()["properties"];
  std::vector<std::string> keys;
  for (const auto& [key, schema] : properties.items()) {
    keys.push_back(key);
    EXPECT_FALSE(schema["description"].get<std::string>().empty()) << key;
  }
  EXPECT_EQ(keys, (std::vector<std::string>{"experiments", "set", "list", "grid", "random", "seeds",
                                            "exclude"}));
  EXPECT_EQ(properties["grid"]["default"], Json::object());
}

TEST(SweepSettings, AreWrittenAsSetTakesThem) {
  EXPECT_EQ(setting_text("/train/lr", 0.004), "/train/lr=0.004");
  EXPECT_EQ(setting_text("/train/schedule", "cosine"), "/train/schedule=cosine");
  EXPECT_EQ(setting_text("/name", "12"), "/name=\"12\"");
  EXPECT_EQ(setting_text("/attention/kq_after", Json()), "/attention/kq_after=null");
}

}  // namespace
}  // namespace mta
