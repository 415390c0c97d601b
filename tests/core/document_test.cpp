// JSON documents: inheritance, settings, and messages that name the place.
#include "lib/core/document.h"

#include "tests/support/scratch_folder.h"

#include <gtest/gtest.h>

#include <fstream>

namespace mta {
namespace {

class DocumentTest : public ::testing::Test {
 protected:
  std::filesystem::path write(const std::string& name, const std::string& text) const {
    std::ofstream(folder_ / name) << text;
    return folder_ / name;
  }

  /// The text of the UserError that loading raises.
  std::string refusal(const std::filesystem::path& path,
                      const std::vector<std::string>& settings = {}) const {
    try {
      load_document(path, settings);
    } catch (const UserError& error) {
      return error.what();
    }
    return "(accepted)";
  }

  check::ScratchFolder scratch_;
  const std::filesystem::path& folder_ = scratch_.path();
};

TEST_F(DocumentTest, ExtendsMergesObjectsAndReplacesTheRest) {
  write("base.json", R"({"a": {"x": 1, "y": [1, 2]}, "b": 2})");
  const auto path = write("child.json", R"({"extends": "base.json", "a": {"y": [3]}, "c": null})");
  const Document document = load_document(path, {});
  EXPECT_EQ(document.root, Json::parse(R"({"a": {"x": 1, "y": [3]}, "b": 2, "c": null})"));
  EXPECT_EQ(document.place("/a/x"), (folder_ / "base.json").string() + ": /a/x");
  EXPECT_EQ(document.place("/a/y/0"), path.string() + ": /a/y/0");
}

TEST_F(DocumentTest, SettingsWinAndAreNamedAsThePlace) {
  const auto path = write("e.json", R"({"train": {"steps": 5}, "kq": null})");
  const Document document = load_document(
      path, {"/train/steps=7", "/train/schedule=cosine", "/kq/query=3", "/list=[1,2]"});
  EXPECT_EQ(document.root["train"]["steps"], 7);
  EXPECT_EQ(document.root["train"]["schedule"], "cosine");
  EXPECT_EQ(document.root["kq"]["query"], 3);
  EXPECT_EQ(document.root["list"][1], 2);
  EXPECT_EQ(document.place("/train/steps"), "--set /train/steps=7");
  EXPECT_EQ(document.place("/train/lr"), path.string() + ": /train/lr");
}

TEST_F(DocumentTest, ASettingMayDoWithoutTheLeadingSlash) {
  EXPECT_EQ(document_of({"block_length=5"}).root, Json::parse(R"({"block_length": 5})"));
}

TEST_F(DocumentTest, RefusesWhatIsNotStrictJson) {
  EXPECT_NE(refusal(write("cut.json", "{\"a\": 1,\n \"b\" 2}")).find("line 2, column 6"),
            std::string::npos);
  EXPECT_NE(refusal(write("twice.json", R"({"a": 1, "a": 2})")).find("\"a\" stands twice"),
            std::string::npos);
  EXPECT_NE(refusal(write("list.json", "[1]")).find("must hold a JSON object"), std::string::npos);
  EXPECT_NE(refusal(folder_ / "missing.json").find("No such file"), std::string::npos);
  EXPECT_NE(refusal(folder_).find("folder"), std::string::npos);
}

TEST_F(DocumentTest, RefusesACircleOfExtends) {
  write("a.json", R"({"extends": "b.json"})");
  write("b.json", R"({"extends": "a.json"})");
  EXPECT_NE(refusal(folder_ / "a.json").find("returns to this file"), std::string::npos);
}

TEST_F(DocumentTest, RefusesMalformedSettings) {
  const auto path = write("e.json", R"({"train": {"steps": 5}})");
  EXPECT_NE(refusal(path, {"steps"}).find("--set steps: must have the form"), std::string::npos);
  EXPECT_NE(refusal(path, {"/train/steps/x=1"}).find("single value"), std::string::npos);
}

TEST_F(DocumentTest, ProblemsAreReportedTogether) {
  const Document document = load_document(write("e.json", R"({"a": 1, "b": 2})"), {});
  Problems problems(document);
  problems.add("/a", "first");
  problems.require(false, "/b", "second", "do this");
  problems.require(true, "/c", "never");
  EXPECT_TRUE(problems.concerns("/a"));
  EXPECT_FALSE(problems.concerns("/c"));
  try {
    problems.raise();
    FAIL() << "problems were not raised";
  } catch (const UserError& error) {
    ASSERT_EQ(error.problems().size(), 2u);
    EXPECT_EQ(to_string(error.problems()[1]),
              (folder_ / "e.json").string() + ": /b: second\n  hint: do this");
  }
}

}  // namespace
}  // namespace mta
