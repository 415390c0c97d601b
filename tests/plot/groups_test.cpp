// Which runs count as seeds of one variant, and what the variant is called.
#include "lib/plot/groups.h"

#include "lib/core/error.h"
#include "tests/plot/reports.h"

#include <gtest/gtest.h>

namespace mta::plot {
namespace {

TableRun run_of(Json report) {
  return {.name = "somewhere", .status = RunState::Done, .error = {}, .report = std::move(report)};
}

std::vector<std::string> labels_of(const std::vector<Group>& groups) {
  std::vector<std::string> labels;
  for (const Group& group : groups) labels.push_back(group.label);
  return labels;
}

TEST(Groups, SeedsOfOneConfigurationBelongTogether) {
  const auto groups = group_runs(
      {run_of(check::report_of("standard", 1, {})), run_of(check::report_of("multi_token", 1, {})),
       run_of(check::report_of("standard", 2, {}))},
      {});
  EXPECT_EQ(labels_of(groups), (std::vector<std::string>{"standard", "multi_token"}));
  EXPECT_EQ(groups[0].runs.size(), 2u);
  EXPECT_EQ(groups[1].runs.size(), 1u);
}

TEST(Groups, AreLabelledByWhatDiffersWhenNamesDoNotTell) {
  std::vector<TableRun> runs;
  for (const int length : {29, 319}) {
    for (const char* variant : {"standard", "multi_token"}) {
      for (const int seed : {1, 2}) {
        Json report = check::report_of(variant, seed, {});
        report["experiment"]["task"]["length"] = length;
        report["experiment"]["name"] = "ablation";
        runs.push_back(run_of(report));
      }
    }
  }
  EXPECT_EQ(labels_of(group_runs(runs, {})),
            (std::vector<std::string>{"standard, length 29", "multi_token, length 29",
                                      "standard, length 319", "multi_token, length 319"}));
}

TEST(Groups, ByAKeyMergeWhatDiffersElsewhere) {
  std::vector<TableRun> runs;
  for (const int length : {29, 319, 29}) {
    Json report = check::report_of("standard", 1, {});
    report["experiment"]["task"]["length"] = length;
    report["experiment"]["attention"]["variant"] = runs.empty() ? "talking_heads" : "standard";
    runs.push_back(run_of(report));
  }
  const auto groups = group_runs(runs, {"/task/length"});
  EXPECT_EQ(labels_of(groups), (std::vector<std::string>{"length 29", "length 319"}));
  EXPECT_EQ(groups[0].runs.size(), 2u);
}

TEST(Groups, RefuseAKeyThatNoRunHas) {
  EXPECT_THROW(group_runs({run_of(check::report_of("standard", 1, {}))}, {"/task/lenght"}),
               UserError);
  EXPECT_THROW(group_runs({run_of(check::report_of("standard", 1, {}))}, {"lenght"}), UserError);
}

}  // namespace
}  // namespace mta::plot
