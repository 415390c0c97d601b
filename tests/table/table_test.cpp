// Rows, cells, differences and notes of a table.
#include "lib/table/table.h"

#include "lib/core/error.h"
#include "tests/table/support.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <tuple>

namespace mta {
namespace {

using check::missing_run;
using check::table_run;

std::vector<TableRun> small_study() {
  return {table_run({.name = "standard", .seed = 1, .err_seq = 0.951}),
          table_run({.name = "multi_token", .seed = 1, .err_seq = 0.007, .solved_at = 500}),
          table_run({.name = "standard", .seed = 2, .err_seq = 0.957}),
          table_run({.name = "multi_token", .seed = 2, .err_seq = 0.008, .solved_at = 1000}),
          table_run({.name = "standard", .seed = 3, .err_seq = 0.546}),
          table_run({.name = "multi_token", .seed = 3, .err_seq = 0.013, .solved_at = 400})};
}

std::string cell(const Table& table, std::size_t row, const std::string& id) {
  for (std::size_t c = 0; c < table.columns.size(); ++c) {
    if (table.columns[c].id == id) return table.rows.at(row).cells.at(c).text;
  }
  return "no column " + id;
}

Json values(const Table& table, std::size_t row, const std::string& id) {
  for (std::size_t c = 0; c < table.columns.size(); ++c) {
    if (table.columns[c].id == id) return table.rows.at(row).cells.at(c).value;
  }
  return nullptr;
}

bool has_note(const Table& table, const std::string& text) {
  return std::any_of(table.notes.begin(), table.notes.end(),
                     [&](const std::string& note) { return note.find(text) != std::string::npos; });
}

std::string refusal(const std::vector<TableRun>& runs, const TableRequest& request) {
  try {
    make_table(runs, request);
  } catch (const UserError& error) {
    return error.what();
  }
  return "(accepted)";
}

TEST(Table, UsualTableOfTwoVariants) {
  const Table table = make_table(small_study(), {});
  EXPECT_EQ(table.row_keys, std::vector<std::string>{"name"});
  ASSERT_EQ(table.rows.size(), 2u);
  EXPECT_EQ(table.rows[0].labels[0], "standard");
  // Mean (95.1 + 95.7 + 54.6) / 3 = 81.8; deviations 13.3, 13.9, -27.2: sqrt(1109.94 / 2) = 23.56.
  EXPECT_EQ(cell(table, 0, "err_seq_percent"), "81.8 ± 23.6 [54.6, 95.7]");
  EXPECT_NEAR(values(table, 0, "err_seq_percent")["sd"].get<double>(), std::sqrt(1109.94 / 2),
              1e-9);
  EXPECT_EQ(cell(table, 0, "median_err_seq_percent"), "95.1");
  EXPECT_EQ(cell(table, 0, "steps_to_err_seq_below_0.05"), "> 1200 (0/3)");
  EXPECT_EQ(cell(table, 1, "steps_to_err_seq_below_0.05"), "500 (3/3)");
  EXPECT_EQ(cell(table, 1, "n"), "3");
  EXPECT_EQ(cell(table, 1, "wall_s"), "30.2 ± 0.0");
  EXPECT_TRUE(table.notes.empty());
}

TEST(Table, DifferencesArePairedBySeeds) {
  auto runs = small_study();
  runs.push_back(table_run({.name = "multi_token", .seed = 9, .err_seq = 0.9}));  // no partner
  const Table table = make_table(runs, {.baseline = "standard"});
  // Seeds 1 to 3: 0.7 - 95.1, 0.8 - 95.7, 1.3 - 54.6 = -94.4, -94.9, -53.3; mean -80.87.
  EXPECT_EQ(cell(table, 1, "err_seq_percent_minus_baseline"), "-80.9 [-94.9, -53.3] (3 pairs)");
  EXPECT_EQ(values(table, 1, "err_seq_percent_minus_baseline")["pairs"], 3);
  EXPECT_EQ(cell(table, 0, "err_seq_percent_minus_baseline"), "–");
}

TEST(Table, RunsWithoutAResultAreShown) {
  auto runs = small_study();
  runs.push_back(table_run({.name = "multi_token", .seed = 4, .status = "failed", .err_seq = {}}));
  runs.push_back(
      table_run({.name = "multi_token", .seed = 5, .status = "stopped", .ended_at = 100}));
  runs.push_back(missing_run({.name = "key_only", .seed = 1}));
  const Table table = make_table(runs, {});
  ASSERT_EQ(table.rows.size(), 3u);
  EXPECT_EQ(cell(table, 1, "n"), "3 (1 failed, 1 stopped)");
  // Only finished runs make the mean; the others are unsolved where they ended (steps 0 and 100).
  EXPECT_EQ(values(table, 1, "err_seq_percent")["n"], 3);
  EXPECT_EQ(cell(table, 1, "steps_to_err_seq_below_0.05"), "> 400 (3/5)");
  EXPECT_EQ(cell(table, 2, "n"), "0 (1 missing)");
  EXPECT_EQ(cell(table, 2, "err_seq_percent"), "–");
  EXPECT_TRUE(has_note(table, "multi_token-seed4: failed: loss is not finite at step 40"));
  EXPECT_TRUE(has_note(table, "key_only-seed1: missing"));
}

TEST(Table, UnlikeRunsGetRowsOfTheirOwn) {
  const std::vector<TableRun> runs = {
      table_run({.name = "standard", .seed = 1, .lr = 0.001}),
      table_run({.name = "standard", .seed = 1, .lr = 0.002}),
      table_run({.name = "standard", .seed = 2, .lr = 0.001}),
  };
  const Table table = make_table(runs, {});
  EXPECT_EQ(table.row_keys, (std::vector<std::string>{"name", "lr"}));
  ASSERT_EQ(table.rows.size(), 2u);
  EXPECT_EQ(table.rows[0].labels[1], "0.001");
  EXPECT_EQ(cell(table, 0, "n"), "2");
  // Asked to put them into one row, the table says so.
  const Table merged = make_table(runs, {.rows = {"variant"}});
  ASSERT_EQ(merged.rows.size(), 1u);
  EXPECT_TRUE(has_note(merged, "differ in /train/lr"));
}

TEST(Table, ColumnsByAnyKey) {
  const Table table = make_table(
      small_study(),
      {.columns = {"/train/lr", "layers", "parameters", "values(/final/err_seq)", "max(err_seq)",
                   "status", "steps_to(0.5)", "slice(depth)", "interval(wall_s)"}});
  EXPECT_EQ(cell(table, 0, "lr"), "0.004");
  EXPECT_EQ(cell(table, 0, "layers"), "2");
  EXPECT_EQ(cell(table, 0, "parameters"), "84288");
  EXPECT_EQ(cell(table, 0, "values_err_seq_percent"), "0.951, 0.957, 0.546");
  EXPECT_EQ(cell(table, 0, "max_err_seq_percent"), "95.7");
  EXPECT_EQ(cell(table, 0, "status"), "done");
  EXPECT_EQ(cell(table, 0, "steps_to_err_seq_below_0.5"), "> 1200 (0/3)");
  EXPECT_EQ(cell(table, 0, "depth_0.3_correct_percent"), "25.0 ± 0.0 [25.0, 25.0] 144");
  EXPECT_EQ(cell(table, 0, "depth_10_correct_percent"), "100.0 ± 0.0 [100.0, 100.0] 156");
  EXPECT_EQ(cell(table, 0, "interval_wall_s"), "30.2 ± 0.0 [30.2, 30.2]");
}

TEST(Table, SlicesOfOneRunHaveTheIntervalOfItsSamples) {
  const Table table = make_table({table_run({})}, {.columns = {"slice(depth)"}});
  EXPECT_EQ(cell(table, 0, "depth_0.3_correct_percent"), "25.0 [14.9, 38.8] 48");
  EXPECT_EQ(values(table, 0, "depth_0.3_correct_percent")["samples"], 48);
  EXPECT_EQ(table.columns[0].heading, "depth 0.3, correct % [95 %] of");
  const Table none =
      make_table({missing_run({.name = "key_only"}), table_run({})}, {.columns = {"slice(depth)"}});
  EXPECT_EQ(cell(none, 0, "depth_0.3_correct_percent"), "–");
}

TEST(Table, ColumnsByTheValuesOfAKey) {
  std::vector<TableRun> runs;
  for (const int seed : {1, 2}) {
    const double slow = seed == 1 ? 0.5 : 0.3;
    for (const auto& [name, lr, err] :
         {std::tuple("standard", 0.001, 0.6), std::tuple("standard", 0.01, 0.4),
          std::tuple("multi_token", 0.001, slow), std::tuple("multi_token", 0.01, 0.1)}) {
      runs.push_back(table_run({.name = name, .seed = seed, .lr = lr, .err_seq = err}));
    }
  }
  runs.push_back(missing_run({.name = "key_only", .seed = 1, .lr = 0.01}));
  const Table table =
      make_table(runs, {.columns = {"n", "by(lr,err_seq)"}, .baseline = "standard"});
  EXPECT_EQ(table.row_keys, std::vector<std::string>{"name"});
  ASSERT_EQ(table.columns.size(), 5u);
  EXPECT_EQ(table.columns[1].heading, "lr 0.001: err_seq %, mean ± sd [95 %]");
  EXPECT_EQ(table.columns[2].heading, "lr 0.001: err_seq % minus standard, paired [95 %]");
  EXPECT_EQ(cell(table, 1, "n"), "4");
  // Mean of 50 and 30; sd sqrt((10 * 10 + 10 * 10) / 1); differences -10 and -30.
  EXPECT_EQ(cell(table, 1, "lr_0.001_err_seq_percent"), "40.0 ± 14.1 [30.0, 50.0]");
  EXPECT_EQ(cell(table, 1, "lr_0.001_err_seq_percent_minus_baseline"),
            "-20.0 [-30.0, -10.0] (2 pairs)");
  EXPECT_EQ(cell(table, 1, "lr_0.01_err_seq_percent"), "10.0 ± 0.0 [10.0, 10.0]");
  EXPECT_EQ(cell(table, 2, "lr_0.001_err_seq_percent"), "–");
  EXPECT_FALSE(has_note(table, "differ in"));
  // A mean over both is marked as one.
  EXPECT_TRUE(has_note(make_table(runs, {.columns = {"err_seq", "by(lr,err_seq)"}}), "differ in"));
  EXPECT_NE(refusal(runs, {.columns = {"by(lr)"}}).find("by(length,err_seq)"), std::string::npos);
}

TEST(Table, RefusesWhatItDoesNotKnow) {
  const auto runs = small_study();
  EXPECT_EQ(refusal(runs, {.rows = {"/train/lrr"}}),
            "--rows: no report has a key \"/train/lrr\"; did you mean \"/train/lr\"?");
  EXPECT_EQ(refusal(runs, {.columns = {"err_sek"}}),
            "--columns: no report has a key \"err_sek\"; did you mean \"err_seq\"?");
  EXPECT_NE(refusal(runs, {.columns = {"meen(err_seq)"}}).find("did you mean \"mean\""),
            std::string::npos);
  EXPECT_NE(refusal(runs, {.columns = {"mean(variant)"}}).find("is no number"), std::string::npos);
  EXPECT_NE(refusal(runs, {.columns = {"steps_to(0.2)"}}).find("known: 0.05, 0.5"),
            std::string::npos);
  EXPECT_NE(refusal(runs, {.columns = {"slice(needles)"}}).find("no report has slices by"),
            std::string::npos);
  EXPECT_EQ(refusal(runs, {.columns = {"batch"}}),
            "--columns: \"batch\" may mean /evaluate/batch, /train/batch\n"
            "  hint: give one of these pointers");
  EXPECT_NE(refusal(runs, {.baseline = "standart"}).find("did you mean \"standard\""),
            std::string::npos);
}

TEST(Table, ListsKeepBracketsTogether) {
  EXPECT_EQ(split_columns("n,steps_to(0.05),,a(b,c)"),
            (std::vector<std::string>{"n", "steps_to(0.05)", "a(b,c)"}));
}

}  // namespace
}  // namespace mta
