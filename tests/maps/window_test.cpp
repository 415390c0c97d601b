// Windows as users write them.
#include "lib/maps/window.h"

#include "lib/core/error.h"

#include <gtest/gtest.h>

namespace mta::maps {
namespace {

using Ends = std::pair<std::int64_t, std::int64_t>;

Ends range(const std::string& text, std::int64_t size) {
  const IndexRange range = Window::parse(text, "--rows").in(size, "--rows");
  return {range.begin, range.end};
}

TEST(Window, CountsFromEitherEnd) {
  EXPECT_EQ(range(":", 30), Ends(0, 30));
  EXPECT_EQ(range("3:7", 30), Ends(3, 7));
  EXPECT_EQ(range("-5:", 30), Ends(25, 30));
  EXPECT_EQ(range(":-5", 30), Ends(0, 25));
}

TEST(Window, RefusesWhatIsNoWindow) {
  for (const char* text : {"", "5", "a:b", "1:2:3", "7:3", "3:3", "0:31", "-31:"}) {
    EXPECT_THROW(range(text, 30), UserError) << text;
  }
}

}  // namespace
}  // namespace mta::maps
