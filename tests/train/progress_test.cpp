// What a person sees of a run, on a terminal and elsewhere.
#include "lib/train/progress.h"

#include <gtest/gtest.h>

#include <limits>
#include <sstream>

namespace mta {
namespace {

Evaluation evaluation(std::int64_t step, double err_seq) {
  Evaluation e{.step = step, .mode = "correct", .scores = {}};
  e.scores.err_seq = err_seq;
  return e;
}

TEST(Progress, PlainLinesAtEvaluations) {
  std::ostringstream out;
  Progress progress(out, ProgressKind::Plain, "demo", 0, 200);
  for (std::int64_t step = 1; step <= 100; ++step) progress.step(step, 1.25);
  progress.evaluated(evaluation(100, 0.5));
  const std::string text = out.str();
  EXPECT_EQ(text.rfind("demo: 100/200  ", 0), 0u) << text;
  EXPECT_NE(text.find("loss 1.2500  err_seq 50.0 %"), std::string::npos) << text;
  EXPECT_NE(text.find(" left\n"), std::string::npos) << text;
  EXPECT_EQ(text.find('\r'), std::string::npos) << text;
}

TEST(Progress, BarStaysOnOneLineUntilTheEnd) {
  std::ostringstream out;
  Progress progress(out, ProgressKind::Bar, "demo", 0, 200);
  progress.step(100, 1.25);
  progress.evaluated(evaluation(100, 0.5));
  EXPECT_NE(out.str().find("\rdemo [############............] 100/200"), std::string::npos)
      << out.str();
  EXPECT_EQ(out.str().find('\n'), std::string::npos) << out.str();
  progress.evaluated(evaluation(200, 0.1));
  EXPECT_EQ(out.str().back(), '\n');
  EXPECT_NE(out.str().find("[########################] 200/200"), std::string::npos) << out.str();
}

TEST(Progress, MessagesGetLinesOfTheirOwn) {
  std::ostringstream out;
  Progress progress(out, ProgressKind::Bar, "demo", 0, 200);
  progress.evaluated(evaluation(100, 0.5));
  progress.say("stopped");
  EXPECT_NE(out.str().find("\ndemo: stopped\n"), std::string::npos) << out.str();
}

TEST(Progress, NoneIsSilent) {
  std::ostringstream out;
  Progress progress(out, ProgressKind::None, "demo", 0, 200);
  progress.step(1, 1.0);
  progress.evaluated(evaluation(200, 0.5));
  progress.say("stopped");
  EXPECT_EQ(out.str(), "");
}

TEST(Progress, WhatIsNoNumberHasNoSign) {
  std::ostringstream out;
  Progress progress(out, ProgressKind::Bar, "demo", 0, 200);
  progress.step(100, -std::numeric_limits<double>::quiet_NaN());
  progress.evaluated(evaluation(100, 1));
  EXPECT_NE(out.str().find("  loss nan"), std::string::npos) << out.str();
  EXPECT_EQ(without_nan_sign(-1.5), -1.5);
}

TEST(Progress, DurationsInWords) {
  EXPECT_EQ(duration_text(0.4), "0 s");
  EXPECT_EQ(duration_text(59.6), "1 min 00 s");
  EXPECT_EQ(duration_text(725), "12 min 05 s");
  EXPECT_EQ(duration_text(12000), "3 h 20 min");
}

}  // namespace
}  // namespace mta
