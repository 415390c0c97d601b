// Times and command lines in provenance.
#include "lib/report/provenance.h"

#include <gtest/gtest.h>

#include <regex>

namespace mta {
namespace {

TEST(Provenance, KnowsTheBuild) {
  const Provenance p = build_provenance();
  EXPECT_NE(p.commit, "");
  EXPECT_NE(p.compiler, "");
  EXPECT_NE(p.program_version, "");
}

TEST(Provenance, TimesAreUtc) {
  EXPECT_TRUE(std::regex_match(utc_now(), std::regex(R"(\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ)")))
      << utc_now();
}

TEST(Provenance, ShellLineQuotesWhatNeedsIt) {
  EXPECT_EQ(shell_line({"mta", "train", "a.json", "--set", "/train/steps=5", "it's", "a b", ""}),
            R"(mta train a.json --set /train/steps=5 'it'\''s' 'a b' '')");
}

}  // namespace
}  // namespace mta
