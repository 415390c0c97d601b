// What the overview of a sweep looks like.
#include "lib/sweep/overview.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <sstream>

namespace mta {
namespace {

RunLine half_way() {
  return {.name = "a-seed1",
          .progress = {.step = 600, .loss = 0.5, .err_seq = 0.123},
          .steps = 1200,
          .seconds_left = 12};
}

TEST(Overview, SaysHowFarARunIs) {
  EXPECT_EQ(run_text(half_way(), 9, OverviewKind::Plain),
            "a-seed1    600/1200  loss 0.5000  err_seq 12.3 %  12 s left");
  EXPECT_EQ(run_text({.name = "b", .steps = 10}, 1, OverviewKind::Bars),
            "b  [....................] 0/10");
  EXPECT_NE(run_text(half_way(), 9, OverviewKind::Bars).find("[##########..........] 600/1200"),
            std::string::npos);
}

TEST(Overview, CountsEveryPoint) {
  EXPECT_EQ(
      totals_text({.points = 15,
                   .done = 3,
                   .failed = 1,
                   .running = 2,
                   .elsewhere = 1,
                   .seconds_left = 125}),
      "3 of 15 done, 1 failed, 2 running, 1 run by another sweep, 8 waiting  2 min 05 s left");
  EXPECT_EQ(totals_text({.points = 2, .done = 2}), "2 of 2 done");
}

TEST(Overview, BarsAreDrawnOverThemselvesAndLinesStayAboveThem) {
  std::ostringstream out;
  {
    Overview overview(out, OverviewKind::Bars);
    overview.show({half_way()}, {.points = 2, .running = 1});
    overview.say("done b");
  }
  const std::string text = out.str();
  EXPECT_NE(text.find("\n0 of 2 done, 1 running, 1 waiting\n\033[2A\r\033[Jdone b\n"),
            std::string::npos)
      << text;
}

TEST(Overview, NeverIsHigherThanTheTerminal) {
  std::ostringstream out;
  Overview overview(out, OverviewKind::Bars);
  overview.show(std::vector<RunLine>(500, half_way()), {.points = 500, .running = 500});
  const std::string text = out.str();
  const auto lines = std::count(text.begin(), text.end(), '\n');
  EXPECT_LT(lines, 400);
  EXPECT_NE(text.find("... and " + std::to_string(500 - (lines - 2)) + " more\n0 of 500 done"),
            std::string::npos)
      << text.substr(text.size() - 100);
}

TEST(Overview, WithoutATerminalThereAreNoControlCharacters) {
  std::ostringstream plain, silent;
  Overview lines(plain, OverviewKind::Plain), nothing(silent, OverviewKind::None);
  for (Overview* overview : {&lines, &nothing}) {
    overview->show({half_way()}, {.points = 2, .running = 1});
    overview->note("started a");
    overview->say("failed a");
  }
  EXPECT_EQ(plain.str(), "started a\nfailed a\n");  // ten seconds have not passed
  EXPECT_EQ(silent.str(), "failed a\n");
}

}  // namespace
}  // namespace mta
