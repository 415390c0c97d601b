// Which runs are found in files, run directories and folders of them.
#include "lib/table/runs.h"

#include "lib/core/error.h"
#include "tests/support/scratch_folder.h"
#include "tests/table/support.h"

#include <gtest/gtest.h>

#include <fstream>

namespace mta {
namespace {

namespace fs = std::filesystem;

class TableRuns : public ::testing::Test {
 protected:
  void write(const std::string& name, const Json& json) const {
    fs::create_directories((root_ / name).parent_path());
    std::ofstream(root_ / name) << json;
  }

  std::string found(const std::vector<fs::path>& inputs) const {
    std::string text;
    for (const TableRun& run : find_runs(inputs))
      text += run.name + " " + to_string(run.status) + "\n";
    return text;
  }

  std::string refusal(const fs::path& input) const {
    try {
      find_runs({input});
    } catch (const UserError& error) {
      return error.what();
    }
    return "(accepted)";
  }

  check::ScratchFolder scratch_;
  const fs::path& root_ = scratch_.path();
};

TEST_F(TableRuns, FoldersAreSearchedForRunDirectoriesAndReports) {
  write("b/report.json", check::report_of({}));
  write("b/config.json", check::experiment_of({}));
  write("b/maps/other.json", check::report_of({}));  // inside a run directory: not a run
  write("deep/down/a/report.json", check::report_of({.status = "failed"}));
  write("going/config.json", check::experiment_of({}));
  write("results/one.json", check::report_of({.status = "stopped"}));
  write("results/bench.json", {{"schema", "mta.bench/1"}});
  write("results/list.json", Json::array({1, 2}));
  std::ofstream(root_ / "notes.txt") << "nothing";
  EXPECT_EQ(found({root_}), "b done\na failed\ngoing unfinished\none stopped\n");
  EXPECT_EQ(found({root_ / "b/report.json", root_ / "results/one.json", root_ / "b"}),
            "b done\none stopped\nb done\n");
}

TEST_F(TableRuns, APlanGivesTheOrderAndNamesWhatIsMissing) {
  write("plan.json", {{"schema", "mta.plan/1"},
                      {"runs",
                       {{{"name", "z"}, {"experiment", check::experiment_of({.name = "z"})}},
                        {{"name", "a"}, {"experiment", check::experiment_of({.name = "a"})}}}}});
  write("a/report.json", check::report_of({.name = "a"}));
  write("extra/report.json", check::report_of({.name = "extra"}));
  EXPECT_EQ(found({root_}), "z missing\na done\nextra done\n");
  EXPECT_EQ(find_runs({root_})[0].report["experiment"]["name"], "z");
}

TEST_F(TableRuns, RefusesWhatIsNoRun) {
  EXPECT_NE(refusal(root_ / "nowhere").find("no such file"), std::string::npos);
  EXPECT_NE(refusal(root_).find("holds no run"), std::string::npos);
  write("bench.json", {{"schema", "mta.bench/1"}});
  EXPECT_NE(refusal(root_ / "bench.json").find("/schema: must be \"mta.report/1\""),
            std::string::npos);
  write("x/report.json", {{"schema", "mta.report/1"}, {"status", "fine"}});
  EXPECT_NE(refusal(root_ / "x").find("/status: must be"), std::string::npos);
  std::ofstream(root_ / "x/report.json") << "{\"schema\": ";
  EXPECT_NE(refusal(root_).find("x/report.json"), std::string::npos);
}

}  // namespace
}  // namespace mta
