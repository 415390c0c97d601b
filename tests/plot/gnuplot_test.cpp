// gnuplot is run without files of its own, and its absence is said clearly.
#include "lib/plot/gnuplot.h"

#include "lib/core/error.h"

#include <gtest/gtest.h>

#include <cstdlib>

namespace mta::plot {
namespace {

/// Sets PATH for one scope.
class PathOf {
 public:
  explicit PathOf(const char* value) : old_(std::getenv("PATH")) { setenv("PATH", value, 1); }
  ~PathOf() { setenv("PATH", old_.c_str(), 1); }
  PathOf(const PathOf&) = delete;
  PathOf& operator=(const PathOf&) = delete;

 private:
  std::string old_;
};

TEST(Gnuplot, ThatIsMissingIsAUserErrorWithAHint) {
  const PathOf nowhere("/nonexistent");
  try {
    run_gnuplot("");
    FAIL() << "ran";
  } catch (const UserError& error) {
    EXPECT_EQ(error.problems().front().place, "gnuplot");
    EXPECT_NE(error.problems().front().hint.find("gnuplot-nox"), std::string::npos);
  }
}

TEST(Gnuplot, SaysWhatItRejects) {
  try {
    run_gnuplot("set terminal svg\nplot nonsense(x)\n");
    FAIL() << "accepted";
  } catch (const UserError&) {
    GTEST_SKIP() << "no gnuplot in PATH";
  } catch (const std::runtime_error& error) {
    EXPECT_STREQ(error.what(), "gnuplot failed: undefined function: nonsense");
  }
}

TEST(Gnuplot, QuotesWhatUsersWrite) {
  Figure figure;
  figure.title = "it's `date` 100% \"sure\"\nreally";
  figure.panels.push_back({});
  figure.panels[0].series.push_back({});
  figure.panels[0].series[0].x = {0, 1};
  figure.panels[0].series[0].y = {0, 1};
  const std::string script = gnuplot_script(figure, Format::Svg);
  EXPECT_NE(script.find("'it''s `date` 100% \"sure\" really'"), std::string::npos) << script;
}

}  // namespace
}  // namespace mta::plot
