// A folder with experiments and sweeps made up for tests.
#pragma once

#include "lib/core/error.h"
#include "lib/sweep/points.h"
#include "tests/support/scratch_folder.h"

#include <fstream>
#include <functional>
#include <string>
#include <vector>

namespace mta::check {

class SweepFolder {
 public:
  SweepFolder() {
    write("base.json", {{"name", "base"},
                        {"train", {{"steps", 20}, {"lr", 0.1}, {"threads", nullptr}}},
                        {"fake", {{"ms_per_step", 1}}},
                        {"seeds", {{"weights", 1}, {"data", 1}, {"train", 1}}}});
    write("a.json", {{"extends", "base.json"}, {"name", "a"}});
    write("b.json", {{"extends", "base.json"}, {"name", "b"}});
  }

  std::filesystem::path path(const std::string& name) const { return folder_.path() / name; }
  std::filesystem::path write(const std::string& name, const Json& json) const {
    std::ofstream(path(name)) << json;
    return path(name);
  }

  /// Experiments as they stand: resolving fills in nothing, but refuses a learning rate below 0.
  static Json resolve(const Document& document) {
    Problems problems(document);
    const Json::json_pointer lr("/train/lr");
    if (document.root.contains(lr)) {
      problems.require(document.root.at(lr).get<double>() > 0, "/train/lr", "must be above 0");
    }
    problems.raise();
    return document.root;
  }

  std::vector<SweepPoint> points(const Json& sweep) const {
    return sweep_points(read_sweep_file(write("sweep.json", sweep)), resolve);
  }

 private:
  ScratchFolder folder_;
};

/// The text of the UserError that `action` raises.
inline std::string refusal(const std::function<void()>& action) {
  try {
    action();
  } catch (const UserError& error) {
    return error.what();
  }
  return "(accepted)";
}

}  // namespace mta::check
