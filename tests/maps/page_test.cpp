// The page in a browser: choosers, hover, bars; nothing fetched, no error.
#include "lib/core/document.h"
#include "lib/core/files.h"
#include "lib/maps/maps.h"
#include "lib/plot/tensors.h"
#include "tests/maps/small_runs.h"
#include "tests/support/browser.h"
#include "tests/support/scratch_folder.h"

#include <fmt/core.h>
#include <gtest/gtest.h>

#include <map>

namespace mta::maps {
namespace {

/// Runs before the page's own script: keeps errors.
constexpr const char* kWatch = R"(<script>
const errors = [];
window.addEventListener("error", (event) => errors.push(String(event.message)));
console.error = (...words) => errors.push(words.join(" "));
console.warn = console.error;
</script>
)";

/// Around what a test does on the page: writes down what was seen, as JSON.
constexpr const char* kBegin = R"(<script>
const seen = {};
)";
constexpr const char* kEnd = R"(
seen.fetched = performance.getEntriesByType("resource").map((entry) => entry.name);
seen.errors = errors;
const result = document.createElement("pre");
result.id = "seen";
result.textContent = JSON.stringify(seen);
document.body.append(result);
</script>
)";

/// Uses the page as a person does.
constexpr const char* kUse = R"(const pane = (i) => document.querySelectorAll(".pane")[i];
const choose = (select, value) => {
  select.value = value;
  select.dispatchEvent(new Event("change"));
};
const pointAt = (i, row, column) => {
  const canvas = pane(i).querySelector(".map"), box = canvas.getBoundingClientRect();
  const cell = 20, edge = 55;  // 16 tokens: the largest cells, with labels
  canvas.dispatchEvent(new MouseEvent("mousemove", {bubbles: true,
      clientX: box.left + edge + (column + 0.5) * cell, clientY: box.top + edge + (row + 0.5) * cell}));
  return byId("hover").hidden ? null : byId("hover").textContent;
};
seen.panes = document.querySelectorAll(".pane").length;
choose(byId("sample"), 1);
choose(pane(0).querySelector(".layer"), 1);
choose(pane(0).querySelector(".head"), 2);
choose(pane(0).querySelector(".stage"), "kq_after");
seen.text = byId("text").textContent;
seen.stage = pane(0).querySelector(".stage").value;
seen.hover = pointAt(0, 13, 5);
seen.future = pointAt(0, 5, 13);
seen.outside = pointAt(0, -2, 5);
choose(pane(1).querySelector(".layer"), 1);
choose(pane(1).querySelector(".head"), 2);
choose(pane(1).querySelector(".stage"), "scores");
seen.other = pointAt(1, 13, 5);
choose(byId("row"), 13);
seen.bars = [...pane(0).querySelectorAll(".bars tr")].map((row) => row.cells[1].textContent);
seen.kernel = pane(0).querySelectorAll(".learned td").length;
seen.shares = document.querySelectorAll(".shares tr").length;
const pixel = (row, column) => [...pane(0).querySelector(".map").getContext("2d")
    .getImageData(55 + column * 20 + 10, 55 + row * 20 + 10, 1, 1).data];
seen.futurePixel = pixel(5, 13);
byId("two").checked = false;
byId("two").dispatchEvent(new Event("change"));
seen.single = document.querySelectorAll(".pane").length;
)";

/// Two runs side by side.
constexpr const char* kUseTwo = R"(const panes = () => [...document.querySelectorAll(".pane")];
const label = (select) => select.options[select.selectedIndex].text;
const hovers = () => panes().map((pane) => {
  const canvas = pane.querySelector(".map"), box = canvas.getBoundingClientRect();
  canvas.dispatchEvent(new MouseEvent("mousemove", {bubbles: true,
      clientX: box.left + 55 + 5.5 * 20, clientY: box.top + 55 + 13.5 * 20}));
  return byId("hover").textContent;
});
const choose = (i, key, value) => {
  const select = panes()[i].querySelector("." + key);
  select.value = value;
  select.dispatchEvent(new Event("change"));
};
for (const i of [0, 1]) {
  choose(i, "layer", 0);
  choose(i, "head", 1);
  choose(i, "stage", "softmax");
}
seen.names = panes().map((pane) => label(pane.querySelector(".run")));
seen.stages = panes().map((pane) => pane.querySelector(".stage").options.length);
seen.hovers = hovers();
choose(1, "run", 0);
seen.same = hovers();
choose(0, "stage", "heads_after");
choose(0, "run", 1);
seen.missing = panes()[0].textContent.includes("no such stage");
seen.shares = document.querySelectorAll(".shares").length;
)";

/// What the bars of each pane look like, at once.
constexpr const char* kLookAtBars =
    R"(seen.bars = [...document.querySelector(".pane").querySelectorAll(".bars tr")].map((row) =>
    ({name: row.cells[0].textContent, colour: row.querySelector(".bar").className}));
seen.roles = [...new Set([...byId("text").children].map((span) => span.className))].sort();
)";

/// The same as kUse on a long sample, of which a window of rows is shown.
constexpr const char* kUseLong =
    R"(const canvas = document.querySelector(".map"), box = canvas.getBoundingClientRect();
const point = {bubbles: true, clientX: box.right - 1.5 - 100, clientY: box.bottom - 1.5};
canvas.dispatchEvent(new MouseEvent("mousemove", point));
seen.hover = byId("hover").hidden ? null : byId("hover").textContent;
seen.bars = document.querySelectorAll(".pane")[0].querySelectorAll(".bars tr").length;
)";

/// What the script `use` saw on the page in `folder`.
Json seen_on(const std::filesystem::path& folder, const char* use) {
  std::string page = read_file(folder / "index.html");
  page.insert(page.find("<body>"), kWatch);
  page.insert(page.rfind("</body>"), std::string(kBegin) + use + kEnd);
  const auto file = folder / "used.html";
  write_file_atomically(file, page);
  const std::string dom = check::dom_of(file);
  const std::string mark = "<pre id=\"seen\">";
  const std::size_t begin = dom.find(mark);
  if (begin == std::string::npos) return {{"errors", {"the page's script did not end"}}};
  std::string text =
      dom.substr(begin + mark.size(), dom.find("</pre>", begin) - begin - mark.size());
  for (const auto& [entity, character] :
       {std::pair("&lt;", "<"), std::pair("&gt;", ">"), std::pair("&amp;", "&")}) {
    for (std::size_t at = 0; (at = text.find(entity, at)) != std::string::npos; ++at) {
      text.replace(at, std::string(entity).size(), character);
    }
  }
  return parse_json(text, "seen");
}

class MapsPage : public ::testing::Test {
 protected:
  void SetUp() override {
    request_.run = check::full_run(scratch_.path() / "run");
    request_.out = scratch_.path() / "maps";
    request_.samples = {0, 3};
    runs_ = write_maps(request_).runs;
  }

  /// The value of one cell of the second sample.
  float value(std::int64_t layer, const std::string& stage, std::int64_t head, std::int64_t row,
              std::int64_t column, const std::string& run = "") const {
    const plot::Array array =
        plot::read_npy(request_.out / run / fmt::format("sample_3/layer_{}/{}.npy", layer, stage));
    return array.values[std::size_t((head * array.size(1) + row) * array.size(2) + column)];
  }
  /// "13 \"a\" (query)", as the page names a token.
  std::string token(std::size_t index, const std::string& role) const {
    const auto text = runs_[0].at("samples")[1].at("tokens")[index].at("text").get<std::string>();
    return fmt::format("{} \"{}\" ({})", index, text, role);
  }

  check::ScratchFolder scratch_;
  MapsOptions request_;
  Json runs_;
};

double number_after(const std::string& text, const std::string& word) {
  return std::stod(text.substr(text.find(word) + word.size()));
}

TEST_F(MapsPage, FetchesNothing) {
  const std::string page = read_file(request_.out / "index.html");
  for (const char* link : {"http:", "https:", " src=", " href=", "url(", "import "}) {
    EXPECT_EQ(page.find(link), std::string::npos) << link;
  }
}

TEST_F(MapsPage, WorksInABrowser) {
  if (!check::has_browser()) GTEST_SKIP() << "no chromium in PATH";
  const Json seen = seen_on(request_.out, kUse);
  EXPECT_EQ(seen.at("errors"), Json::array());
  EXPECT_EQ(seen.at("fetched"), Json::array());
  EXPECT_EQ(seen.at("panes"), 2);
  EXPECT_EQ(seen.at("single"), 1);
  EXPECT_EQ(seen.at("stage"), "kq_after");
  EXPECT_NE(seen.at("text").get<std::string>().find(
                runs_[0].at("samples")[1].at("src").get<std::string>()),
            std::string::npos);

  // Row 13 is the query letter; column 5 stands in the second block.
  const auto hover = seen.at("hover").get<std::string>();
  const std::string role = runs_[0].at("samples")[1].at("tokens")[5].at("role");
  EXPECT_NE(hover.find(token(13, "query")), std::string::npos) << hover;
  EXPECT_NE(hover.find(token(5, role)), std::string::npos) << hover;
  const float expected = value(1, "kq_after", 2, 13, 5);
  EXPECT_NEAR(number_after(hover, "value "), expected, 5e-3 * std::abs(expected) + 1e-7) << hover;
  EXPECT_NE(seen.at("future").get<std::string>().find("not visible"), std::string::npos);
  EXPECT_TRUE(seen.at("outside").is_null());
  EXPECT_NE(seen.at("other"), seen.at("hover"));  // another stage of the same cell

  ASSERT_EQ(seen.at("bars").size(), 4u);  // four blocks of two letters and a dot
  float sum = 0;
  for (const std::int64_t column : {4, 5}) sum += value(1, "kq_after", 2, 13, column);
  EXPECT_NEAR(std::stod(seen.at("bars")[1].get<std::string>()), sum, 5e-3 * std::abs(sum) + 1e-7);
  EXPECT_EQ(seen.at("kernel"), 6);  // 2 x 3
  EXPECT_EQ(seen.at("shares"), 1 + 2 * 4);
  EXPECT_EQ(seen.at("futurePixel"), Json({217, 217, 217, 255}));
}

TEST_F(MapsPage, ComparesTwoRuns) {
  if (!check::has_browser()) GTEST_SKIP() << "no chromium in PATH";
  request_.samples = {3};
  request_.compare = check::small_run(scratch_.path() / "other", {"/name=multi_token"});
  write_maps(request_);
  const Json seen = seen_on(request_.out, kUseTwo);
  EXPECT_EQ(seen.at("errors"), Json::array());
  EXPECT_EQ(seen.at("fetched"), Json::array());
  EXPECT_EQ(seen.at("names"), Json({"run", "other"}));  // both experiments have the same name
  EXPECT_EQ(seen.at("stages"), Json({6, 3}));
  const auto first = seen.at("hovers")[0].get<std::string>();
  const auto second = seen.at("hovers")[1].get<std::string>();
  const float expected = value(0, "softmax", 1, 13, 5);
  const float other = value(0, "softmax", 1, 13, 5, "compare");
  EXPECT_NEAR(number_after(first, "value "), expected, 5e-3 * expected) << first;
  EXPECT_NEAR(number_after(second, "value "), other, 5e-3 * other) << second;
  EXPECT_EQ(seen.at("same")[0], seen.at("same")[1]);
  EXPECT_TRUE(seen.at("missing").get<bool>());
  EXPECT_EQ(seen.at("shares"), 2);
}

TEST_F(MapsPage, ShowsWhatEachNeedleGets) {
  if (!check::has_browser()) GTEST_SKIP() << "no chromium in PATH";
  request_.run = check::full_run(scratch_.path() / "needles",
                                 {R"(/task={"kind": "needle", "needles": 3, "length": 200})",
                                  "/train/steps=1", "/train/batch=1", "/evaluate/samples=1"});
  request_.samples = {0};
  write_maps(request_);
  const Json seen = seen_on(request_.out, kLookAtBars);
  EXPECT_EQ(seen.at("errors"), Json::array());
  EXPECT_EQ(seen.at("fetched"), Json::array());
  ASSERT_EQ(seen.at("bars").size(), 3u);
  std::map<std::string, int> colours;
  for (const Json& bar : seen.at("bars")) {
    EXPECT_TRUE(bar.at("name").get<std::string>().starts_with("needle "));
    ++colours[bar.at("colour")];
  }
  EXPECT_EQ(colours, (std::map<std::string, int>{{"bar role-target", 1}, {"bar role-needle", 2}}));
  EXPECT_EQ(seen.at("roles"), Json({"role-answer", "role-context", "role-needle", "role-query",
                                    "role-special", "role-target"}));
}

TEST_F(MapsPage, WorksOnALongContextByWindow) {
  if (!check::has_browser()) GTEST_SKIP() << "no chromium in PATH";
  request_.run = check::full_run(
      scratch_.path() / "long",
      {R"(/task={"kind": "block_finding", "block_length": 5, "query_length": 2, "alphabet": 26,
                 "length": 2047})",
       "/train/steps=1", "/train/batch=1", "/evaluate/samples=1", "/evaluate/batch=1"});
  request_.samples = {0};
  request_.rows = Window::parse("-12:", "--rows");
  runs_ = write_maps(request_).runs;
  const Json seen = seen_on(request_.out, kUseLong);
  EXPECT_EQ(seen.at("errors"), Json::array());
  EXPECT_EQ(seen.at("fetched"), Json::array());
  // The last row, 100 columns of one pixel before the last.
  const std::size_t T = runs_[0].at("samples")[0].at("tokens").size();
  const auto hover = seen.at("hover").get<std::string>();
  EXPECT_NE(hover.find(fmt::format("query {} ", T - 1)), std::string::npos) << hover;
  EXPECT_NE(hover.find(fmt::format("key   {} ", T - 101)), std::string::npos) << hover;
  EXPECT_EQ(seen.at("bars"), runs_[0].at("samples")[0].at("spans").size());
}

}  // namespace
}  // namespace mta::maps
