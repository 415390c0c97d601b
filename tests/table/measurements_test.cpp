// Reports of benchmarks as tables: what is read, what each figure is, what cannot share a table.
#include "lib/table/measurements.h"

#include "lib/core/error.h"
#include "lib/table/only.h"
#include "lib/table/table.h"
#include "tests/support/bench_reports.h"
#include "tests/support/scratch_folder.h"
#include "tests/table/support.h"

#include <gtest/gtest.h>

#include <fstream>

namespace mta {
namespace {

namespace fs = std::filesystem;

class Measurements : public ::testing::Test {
 protected:
  fs::path write(const std::string& name, const Json& json) const {
    fs::create_directories((root_ / name).parent_path());
    std::ofstream(root_ / name) << json;
    return root_ / name;
  }

  std::string table(const Json& report, const TableRequest& request) const {
    return to_text(make_table(find_measurements({write("one.json", report)}), request),
                   TableFormat::Csv);
  }

  template <class Work>
  static std::string refusal(const Work& work) {
    try {
      work();
    } catch (const UserError& error) {
      return error.what();
    }
    return "(accepted)";
  }

  check::ScratchFolder scratch_;
  const fs::path& root_ = scratch_.path();
};

TEST_F(Measurements, OfAttentionAreARowForEachCaseAndPath) {
  const Table made = make_table(
      find_measurements({write("h200.json", check::attention_report({{"full", 512, true}}))}), {});
  EXPECT_EQ(made.row_keys, (std::vector<std::string>{"case", "path"}));
  // 2^20 bytes are a MiB; 0.4 of the bandwidth is 40 %; composed takes 40 ms, fused 8, standard 2.
  EXPECT_EQ(
      to_text(made, TableFormat::Csv),
      "case,path,shape.values,forward_ms.median,forward_ms.lower,forward_ms.upper,"
      "total_ms.median,total_ms.lower,total_ms.upper,ratio_to_standard.median,"
      "ratio_to_standard.lower,ratio_to_standard.upper,ratio_to_composed.value,"
      "workspace_mib.value,peak_mib.value,bandwidth_percent.value,matrix_rate_percent.value,"
      "error.value,gradient_error.value\n"
      "full,standard,B2 H4 T512 d64,0.5,0.25,0.75,2.0,1.75,2.25,1.0,0.75,1.25,0.05,,1.0,,50.0,"
      "0.002,0.003\n"
      "full,fused,B2 H4 T512 d64,2.0,1.75,2.25,8.0,7.75,8.25,4.0,3.75,4.25,0.2,512.0,4.0,40.0,"
      "12.5,0.004,0.005\n"
      "full,composed,B2 H4 T512 d64,10.0,9.75,10.25,40.0,39.75,40.25,20.0,19.75,20.25,1.0,,"
      "16.0,,2.5,0.006,0.007\n");
  const std::string markdown = to_text(made, TableFormat::Markdown);
  EXPECT_NE(markdown.find(" 8.00 [7.75, 8.25] |"), std::string::npos) << markdown;
  EXPECT_NE(markdown.find("| 4.0e-03 |"), std::string::npos) << markdown;
  EXPECT_NE(to_text(made, TableFormat::Latex).find("full & fused & B2 H4 T512 d64 & 2.00 [1.75"),
            std::string::npos);
  const Json json = Json::parse(to_text(made, TableFormat::JsonObject));
  EXPECT_EQ(json["rows"][1]["cells"]["total_ms"]["median"], 8.0);
}

TEST_F(Measurements, OfAPathThatDidNotRunAreARowWithItsReason) {
  const Json report = check::attention_report({{"long", 4096, false}});
  EXPECT_EQ(table(report, {.columns = {"total_ms", "ratio_to_composed"}}),
            "case,path,total_ms.median,total_ms.lower,total_ms.upper,ratio_to_composed.value\n"
            "long,standard,2.0,1.75,2.25,\n"
            "long,fused,8.0,7.75,8.25,\n"
            "long,composed,,,,\n");
  const Table made = make_table(find_measurements({root_ / "one.json"}), {});
  EXPECT_EQ(made.notes, std::vector<std::string>{"long, composed: left out by the case"});
}

TEST_F(Measurements, CanStandSideBySideAndBeChosen) {
  const Json report = check::attention_report({{"a", 512, true}, {"b", 512, true}});
  EXPECT_EQ(table(report, {.rows = {"case"}, .columns = {"by(path,peak_mib)"}}),
            "case,path_composed_peak_mib.value,path_fused_peak_mib.value,"
            "path_standard_peak_mib.value\na,16.0,4.0,1.0\nb,16.0,4.0,1.0\n");
  const auto all = find_measurements({root_ / "one.json"});
  EXPECT_EQ(to_text(make_table(only(all, {"case=b", "path=fused,composed"}),
                               {.columns = {"/forward/operations"}}),
                    TableFormat::Csv),
            "case,path,operations.value\nb,fused,1000.0\nb,composed,1000.0\n");
  EXPECT_NE(refusal([&] { only(all, {"path=fussed"}); }).find("did you mean \"fused\""),
            std::string::npos);
  EXPECT_NE(refusal([&] { only(all, {"path"}); }).find("must be KEY=VALUE"), std::string::npos);
  EXPECT_EQ(refusal([&] { make_table(all, {.rows = {"case"}}); }),
            "--rows: forward_ms of a, standard and of a, fused would stand in one cell\n"
            "  hint: let rows or by(KEY,COLUMN) tell them apart: report, case, path");
  EXPECT_NE(
      refusal([&] { make_table(all, {.columns = {"totl_ms"}}); }).find("did you mean \"total_ms\""),
      std::string::npos);
  EXPECT_NE(refusal([&] { make_table(all, {.baseline = "a"}); }).find("--baseline"),
            std::string::npos);
}

TEST_F(Measurements, OfTrainingStepsAndTheirProfile) {
  const Json report = check::train_report();
  EXPECT_EQ(table(report, {}),
            "case,ms_per_step.median,ms_per_step.lower,ms_per_step.upper,ratio_to_first.median,"
            "ratio_to_first.lower,ratio_to_first.upper,tokens_per_s.value,peak_mib.value,"
            "gpu_busy_percent.value,attention_path.values\n"
            "plain,2.0,1.75,2.25,1.0,0.75,1.25,1000.0,3.0,90.0,fused\n"
            "conv,4.0,3.75,4.25,2.0,1.75,2.25,500.0,5.0,,\"fused, composed\"\n");
  // Two kernels whose names were cut to one: 0.5 + 0.25 ms.
  EXPECT_EQ(table(report, {.rows = {"kernel"}}),
            "kernel,case_plain_ms.value,case_plain_share_percent.value,case_plain_launches.value\n"
            "gemm,0.75,75.0,3.0\nflash,0.25,25.0,1.0\n");
  EXPECT_EQ(table(report, {.rows = {"case", "part"}}),
            "case,part,ms.value,share_percent.value,launches.value\n"
            "plain,matrix products,0.75,75.0,3.0\nplain,attention,0.25,25.0,1.0\n");
  const auto attention =
      find_measurements({write("a.json", check::attention_report({{"a", 512, true}}))});
  EXPECT_NE(
      refusal([&] { make_table(attention, {.rows = {"part"}}); }).find("no report has a profile"),
      std::string::npos);
}

TEST_F(Measurements, OfStagesOfAttentionStandBesideTheirFloors) {
  Json report = check::attention_report({{"a", 512, true}, {"b", 512, true}});
  check::add_stages(report);
  EXPECT_EQ(table(report, {.rows = {"case", "direction", "part"}}),
            "case,direction,part,ms.value,share_percent.value,floor_ms.value,floor_percent.value,"
            "launches.value\n"
            "a,forward,scores,3.0,37.5,1.5,50.0,1.0\n"
            "a,forward,row statistics,1.0,12.5,,,1.0\n"
            "a,backward,gradient of q,4.0,50.0,,,1.0\n");
  EXPECT_EQ(table(report, {.rows = {"kernel"}, .columns = {"ms"}}),
            "kernel,ms.value\nscores_kernel,3.0\nsum_kernel,4.0\n");
}

TEST_F(Measurements, OfOlderFormsHaveWhatTheyRecorded) {
  EXPECT_EQ(table({{"device", "x"},
                   {"multiprocessors", 132},
                   {"cases",
                    {{{"case", "full"},
                      {"B", 4},
                      {"H", 16},
                      {"T", 2048},
                      {"d", 64},
                      {"forward_workspace", 1 << 20},
                      {"backward_workspace", 3 << 20},
                      {"forward", {{"median_ms", 1.5}, {"quartiles_ms", {1.25, 1.75}}}},
                      {"backward", {{"median_ms", 4.0}, {"quartiles_ms", {3.5, 4.5}}}}}}}},
                  {}),
            "case,path,shape.values,forward_ms.median,forward_ms.lower,forward_ms.upper,"
            "backward_ms.median,backward_ms.lower,backward_ms.upper,workspace_mib.value\n"
            "full,kernels,B4 H16 T2048 d64,1.5,1.25,1.75,4.0,3.5,4.5,3.0\n");
  const Json spread = {{"median", 24.5}, {"quartiles", {24.0, 25.0}}};
  EXPECT_EQ(table({{"torch", "2.11.0"}, {"ms_per_step", {{"every_row", spread}}}}, {}),
            "case,ms_per_step.median,ms_per_step.lower,ms_per_step.upper\n"
            "pytorch_every_row,24.5,24.0,25.0\n");
  // Layers that say why they took their path.
  EXPECT_EQ(table({{"schema", "mta.bench/1"},
                   {"kind", "decode"},
                   {"cases",
                    {{{"name", "x"},
                      {"ms_per_token", spread},
                      {"tokens_per_s", 40.0},
                      {"attention_path", {{{"path", "composed"}, {"reason", "the cache"}}}},
                      {"profile", nullptr}}}}},
                  {}),
            "case,ms_per_token.median,ms_per_token.lower,ms_per_token.upper,tokens_per_s.value,"
            "attention_path.values\nx,24.5,24.0,25.0,40.0,composed\n");
  // A kind that this program does not know: every figure by its name.
  EXPECT_EQ(table({{"schema", "mta.bench/1"},
                   {"kind", "later"},
                   {"cases", {{{"name", "x"}, {"tokens_per_s", 7}, {"wait", spread}}}}},
                  {}),
            "case,tokens_per_s.value,wait.median,wait.lower,wait.upper\nx,7.0,24.5,24.0,25.0\n");
}

TEST_F(Measurements, AndRunsDoNotMix) {
  const fs::path attention = write("bench/a.json", check::attention_report({{"a", 512, true}}));
  write("bench/deeper/b.json", check::attention_report({{"a", 512, true}}));
  const fs::path run = write("runs/x.json", check::report_of({}));
  const fs::path train = write("runs/train.json", check::train_report());
  const auto both = find_runs_or_measurements({root_ / "bench"});
  EXPECT_EQ(both.size(), 6u);
  EXPECT_EQ(make_table(both, {}).row_keys, (std::vector<std::string>{"report", "case", "path"}));
  // A folder of runs stays one, whatever else lies there.
  EXPECT_EQ(find_runs_or_measurements({root_ / "runs"}).at(0).name, "x");
  EXPECT_EQ(find_runs_or_measurements({root_}).size(), 1u);
  EXPECT_NE(refusal([&] {
              find_runs_or_measurements({run, attention});
            }).find("a.json: holds reports of mta bench, which do not go with"),
            std::string::npos);
  EXPECT_NE(refusal([&] { find_measurements({run}); }).find("holds no report of mta bench"),
            std::string::npos);
  EXPECT_NE(refusal([&] { find_runs({attention}); }).find("mta plot times, scaling and profile"),
            std::string::npos);
  const fs::path cut = write("cut.json", {{"schema", "mta.bench/1"}, {"kind", "train"}});
  EXPECT_NE(refusal([&] {
              find_measurements({cut});
            }).find("cut.json: is no whole report of a benchmark"),
            std::string::npos);
}

TEST_F(Measurements, OfACardAreThoseOfAllItsReports) {
  const auto all = find_measurements({write("card.json", check::card_report())});
  const Table made = make_table(all, {});
  EXPECT_EQ(made.row_keys, (std::vector<std::string>{"bench", "case", "path"}));
  EXPECT_EQ(to_text(made, TableFormat::Csv),
            "bench,case,path,shape.values,total_ms.median,total_ms.lower,total_ms.upper,"
            "ratio_to_standard.median,ratio_to_standard.lower,ratio_to_standard.upper,"
            "peak_mib.value,ms_per_step.median,ms_per_step.lower,ms_per_step.upper,"
            "ratio_to_first.median,ratio_to_first.lower,ratio_to_first.upper,tokens_per_s.value\n"
            "attention,full,standard,B2 H4 T512 d64,2.0,1.75,2.25,1.0,0.75,1.25,1.0,,,,,,,\n"
            "attention,full,fused,B2 H4 T512 d64,8.0,7.75,8.25,4.0,3.75,4.25,4.0,,,,,,,\n"
            "attention,full,composed,B2 H4 T512 d64,40.0,39.75,40.25,20.0,19.75,20.25,16.0,,,,,,,\n"
            "toy_step,plain,–,,,,,,,,3.0,2.0,1.75,2.25,1.0,0.75,1.25,1000.0\n"
            "toy_step,conv,–,,,,,,,,5.0,4.0,3.75,4.25,2.0,1.75,2.25,500.0\n"
            "decode,decode,–,,,,,,,,,,,,,,,\n");
  EXPECT_EQ(made.notes, std::vector<std::string>{"decode: does not fit into the device's memory"});
  // A part by itself is as its own report.
  EXPECT_EQ(to_text(make_table(only(all, {"bench=toy_step"}), {}), TableFormat::Csv),
            table(check::train_report(), {}));
  EXPECT_EQ(
      to_text(make_table(only(all, {"bench=toy_step"}), {.rows = {"part"}}), TableFormat::Csv),
      table(check::train_report(), {.rows = {"part"}}));
  EXPECT_NE(refusal([&] { only(all, {"bench=toy_stp"}); }).find("did you mean \"toy_step\""),
            std::string::npos);
}

TEST_F(Measurements, OfSeveralKindsStandInOneTable) {
  const fs::path attention = write("a.json", check::attention_report({{"a", 512, true}}));
  const fs::path train = write("b.json", check::train_report());
  EXPECT_EQ(to_text(make_table(find_measurements({attention, train}),
                               {.rows = {"bench", "case", "path"}, .columns = {"peak_mib"}}),
                    TableFormat::Csv),
            "bench,case,path,peak_mib.value\nattention,a,standard,1.0\nattention,a,fused,4.0\n"
            "attention,a,composed,16.0\ntrain,plain,–,3.0\ntrain,conv,–,5.0\n");
}

TEST_F(Measurements, OfACardThatIsNotWholeAreRefused) {
  Json report = check::card_report();
  report["reports"]["toy_step"] = {{"cases", Json::array()}};
  const fs::path foreign = write("foreign.json", report);
  EXPECT_EQ(refusal([&] { find_measurements({foreign}); }),
            foreign.string() + ": /reports/toy_step: is no report of a benchmark");
  report.erase("reports");
  const fs::path cut = write("cut.json", report);
  EXPECT_NE(refusal([&] {
              find_measurements({cut});
            }).find("cut.json: is no whole report of a benchmark"),
            std::string::npos);
}

}  // namespace
}  // namespace mta
