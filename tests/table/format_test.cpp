// The four forms in which a table is written.
#include "lib/table/table.h"
#include "tests/table/support.h"

#include <gtest/gtest.h>

namespace mta {
namespace {

using check::table_run;

Table small_table() {
  return make_table({table_run({.name = "a|b_c", .seed = 1, .err_seq = 0.25}),
                     table_run({.name = "a|b_c", .seed = 2, .err_seq = 0.75}),
                     table_run({.name = "d", .seed = 1, .status = "failed", .err_seq = {}})},
                    {.rows = {"name"}, .columns = {"n", "mean(err_seq)", "steps_to"}});
}

TEST(TableFormat, Markdown) {
  EXPECT_EQ(
      to_text(small_table(), TableFormat::Markdown),
      "| name   |            n | err_seq %, mean ± sd | steps to err_seq < 5 %, median (solved) |\n"
      "|--------|-------------:|---------------------:|----------------------------------------:|\n"
      "| a\\|b_c |            2 |          50.0 ± 35.4 |                            > 1200 (0/2) "
      "|\n"
      "| d      | 0 (1 failed) |                    – |                               > 0 (0/1) |\n"
      "\n"
      "- d-seed1: failed: loss is not finite at step 40\n");
}

TEST(TableFormat, CsvHasAColumnForEachNumber) {
  EXPECT_EQ(to_text(small_table(), TableFormat::Csv),
            "name,n.done,n.failed,n.stopped,n.unfinished,n.missing,mean_err_seq_percent.mean,"
            "mean_err_seq_percent.sd,mean_err_seq_percent.n,steps_to_err_seq_below_0.05.median,"
            "steps_to_err_seq_below_0.05.at_least,steps_to_err_seq_below_0.05.solved,"
            "steps_to_err_seq_below_0.05.runs\n"
            "a|b_c,2,0,0,0,0,50.0,35.35533905932738,2,1200.0,true,0,2\n"
            "d,0,1,0,0,0,,,0,0.0,true,0,1\n");
}

TEST(TableFormat, LatexEscapesItsSpecialCharacters) {
  const std::string text = to_text(small_table(), TableFormat::Latex);
  EXPECT_NE(text.find("name & n & err\\_seq \\%, mean $\\pm$ sd & steps to err\\_seq $<$ 5 \\%"),
            std::string::npos);
  EXPECT_NE(text.find("a|b\\_c & 2 & 50.0 $\\pm$ 35.4 & $>$ 1200 (0/2) \\\\"), std::string::npos);
  EXPECT_NE(text.find("\\begin{tabular}{lrrr}"), std::string::npos);
}

TEST(TableFormat, JsonHasNullForWhatWasNotMeasured) {
  const Json json = Json::parse(to_text(small_table(), TableFormat::JsonObject));
  EXPECT_EQ(json["schema"], "mta.table/1");
  EXPECT_EQ(json["rows"][0]["name"], "a|b_c");
  EXPECT_DOUBLE_EQ(json["rows"][0]["cells"]["mean_err_seq_percent"]["mean"].get<double>(), 50);
  EXPECT_TRUE(json["rows"][1]["cells"]["mean_err_seq_percent"]["mean"].is_null());
  EXPECT_EQ(json["notes"][0], "d-seed1: failed: loss is not finite at step 40");
}

}  // namespace
}  // namespace mta
