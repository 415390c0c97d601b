// Pages: whole, safe against what users write, and drawn by a browser without a network.
#include "lib/plot/plotly.h"

#include "lib/core/error.h"
#include "lib/core/files.h"
#include "lib/plot/plot.h"
#include "tests/plot/reports.h"
#include "tests/support/browser.h"

#include <gtest/gtest.h>

namespace mta::plot {
namespace {

bool was_built_without_plotly() {
  try {
    Figure figure;
    figure.panels.push_back({});
    plotly_page(figure);
    return false;
  } catch (const UserError&) {
    return true;
  }
}

class Page : public ::testing::Test {
 protected:
  void SetUp() override {
    if (was_built_without_plotly()) GTEST_SKIP() << "built without plotly.js";
    check::write_run(scratch_.path() / "a", check::report_of("standard", 1, {0.9, 0.8}));
    check::write_run(scratch_.path() / "b", check::report_of("standard", 2, {0.9, 0.6}));
    options_.kind = "curves";
    options_.inputs = {scratch_.path()};
    options_.out = scratch_.path() / "page.html";
    options_.title = "a </script><b> & c";
    write_plot(make_plot(options_).figure, options_.out);
  }

  check::ScratchFolder scratch_;
  PlotOptions options_;
};

TEST_F(Page, CannotBeBrokenByATitle) {
  const std::string page = read_file(options_.out);
  EXPECT_EQ(page.find("</script><b>"), std::string::npos);
  EXPECT_NE(page.find("<title>a &lt;/script>&lt;b> &amp; c</title>"), std::string::npos);
}

TEST_F(Page, IsDrawnByABrowser) {
  if (!check::has_browser()) GTEST_SKIP() << "no chromium in PATH";
  const std::string dom = check::dom_of(options_.out);
  std::size_t curves = 0;
  for (std::size_t at = 0; (at = dom.find("class=\"trace scatter", at)) != std::string::npos;
       ++at) {
    ++curves;
  }
  EXPECT_EQ(curves, 3u);  // two seeds and their median
  EXPECT_NE(dom.find("standard (n = 2)"), std::string::npos);
  EXPECT_NE(dom.find("samples with an error (%)"), std::string::npos);
}

}  // namespace
}  // namespace mta::plot
