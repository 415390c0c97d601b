// The version says which commit built the program, in a form that git accepts.
#include "lib/core/version.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <cctype>

namespace mta {
namespace {

bool is_hex(std::string_view text) {
  return std::all_of(text.begin(), text.end(),
                     [](unsigned char c) { return std::isxdigit(c) != 0; });
}

TEST(Version, ProgramIsThreeNumbers) {
  const std::string_view program = version().program;
  EXPECT_EQ(std::count(program.begin(), program.end(), '.'), 2) << program;
}

TEST(Version, CommitIsAHashOrUnknown) {
  const std::string_view commit = version().commit;
  EXPECT_TRUE(commit == "unknown" || (commit.size() >= 7 && is_hex(commit))) << commit;
}

TEST(Version, NamesCompilerAndBuildType) {
  EXPECT_NE(version().compiler.find(' '), std::string_view::npos) << version().compiler;
  EXPECT_FALSE(version().build_type.empty());
}

}  // namespace
}  // namespace mta
