// The examples in tasks/README.md are what the tasks make, and every task has one.
// To write them anew: MTA_UPDATE_EXAMPLES=1 build/tests/tasks/tasks_test --gtest_filter='Readme.*'
#include "lib/core/files.h"
#include "tests/support/task_of.h"

#include <fmt/core.h>
#include <gtest/gtest.h>

#include <cstdlib>
#include <set>
#include <sstream>

namespace mta {
namespace {

constexpr const char* kReadme = "tasks/README.md";
constexpr std::size_t kColumns = 96;

/// Rows of equally many cells, set in columns and broken where the page ends.
std::string aligned(const std::vector<std::vector<std::string>>& rows) {
  std::string text;
  const std::size_t cells = rows.front().size();
  for (std::size_t from = 1, to; from < cells; from = to) {
    std::vector<std::string> lines;
    for (const auto& row : rows) lines.push_back(fmt::format("{:<8}", row[0]));
    for (to = from; to < cells; ++to) {
      std::size_t width = 0;
      for (const auto& row : rows) width = std::max(width, row[to].size() + 1);
      if (to > from && lines[0].size() + width > kColumns) break;
      for (std::size_t r = 0; r < rows.size(); ++r) {
        lines[r] += fmt::format("{:>{}}", rows[r][to], width);
      }
    }
    text += '\n';
    for (const std::string& line : lines) text += line + '\n';
  }
  return text;
}

std::string token_text(const Task& task, std::int32_t token) {
  std::string text;
  for (const char c : task.decode(std::vector<std::int32_t>{token})) {
    if (c == ' ') {
      text += "_";
    } else if (c == '\n') {
      text += "\\n";
    } else {
      text += c;
    }
  }
  return text;
}

/// Sample 0 of the training split, seed 1: text, facts, and tokens with targets below them.
std::string example(const Task& task) {
  const Sample sample = task.sample(1, Split::Train, 0);
  const Encoded encoded = task.encode(sample);
  const std::vector<std::int32_t>& shown = encoded.shown.empty() ? encoded.tokens : encoded.shown;
  std::vector<std::vector<std::string>> rows = {{"reads"}, {"input"}, {"target"}, {"scored"}};
  for (std::size_t t = 0; t + 1 < encoded.tokens.size(); ++t) {
    rows[0].push_back(token_text(task, shown[t]));
    rows[1].push_back(std::to_string(shown[t]));
    rows[2].push_back(std::to_string(encoded.tokens[t + 1]));
    rows[3].push_back(encoded.scored[t + 1] != 0 ? "^" : ".");
  }
  return fmt::format("```\nsrc    {}\ntgt    {}\nfacts  {}\n{}```\n", sample.src, sample.tgt,
                     sample.facts.dump(), aligned(rows));
}

/// The README with every example made anew, and the tasks that have one.
std::string renewed(const std::string& readme, std::set<std::string>& tasks) {
  std::istringstream stream(readme);
  std::string text;
  bool inside = false;
  for (std::string line; std::getline(stream, line);) {
    if (line == "<!-- end of example -->") inside = false;
    if (!inside) text += line + '\n';
    std::string word, kind;
    std::istringstream words(line);
    if (!(words >> word >> word) || word != "example:" || !(words >> kind)) continue;
    std::vector<std::string> settings;
    while (words >> word && word != "-->") settings.push_back(word);
    text += example(*check::task_of(kind, settings));
    tasks.insert(kind);
    inside = true;
  }
  return text;
}

TEST(Readme, ExamplesAreWhatTheTasksMake) {
  const std::string readme = read_file(kReadme);
  std::set<std::string> tasks;
  const std::string renewed_readme = renewed(readme, tasks);
  if (std::getenv("MTA_UPDATE_EXAMPLES") != nullptr) {
    write_file_atomically(kReadme, renewed_readme);
    GTEST_SKIP() << "wrote " << kReadme;
  }
  EXPECT_EQ(readme, renewed_readme);
  const std::vector<std::string> names = task_names();
  EXPECT_EQ(tasks, std::set<std::string>(names.begin(), names.end()));
}

}  // namespace
}  // namespace mta
