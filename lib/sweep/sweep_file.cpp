// Reads and checks a sweep file.
#include "lib/sweep/sweep_file.h"

#include "lib/core/error.h"

#include <fmt/format.h>

#include <set>
#include <string_view>

namespace mta {
namespace {

constexpr const char* kPointerHint = "a JSON pointer into an experiment, such as /train/lr";

/// A key that stands inside a JSON pointer: "/train/lr" -> "~1train~1lr".
std::string escaped(const std::string& key) {
  return (Json::json_pointer() / key).to_string().substr(1);
}

bool expect_pointer(const std::string& key, const std::string& at, Problems& problems) {
  try {
    if (key.size() > 1 && key.front() == '/') {
      static_cast<void>(Json::json_pointer(key));
      return true;
    }
  } catch (const Json::parse_error&) {
  }
  problems.add(at, fmt::format("the key must be {}, but is \"{}\"", kPointerHint, key));
  return false;
}

void read_settings(Settings& settings, const Json& json, const std::string& at, Problems& problems,
                   const std::set<std::string>& known_elsewhere = {}) {
  if (!expect_type(json.is_object(), "an object", json, at, problems)) return;
  for (const auto& [key, value] : json.items()) {
    if (known_elsewhere.contains(key)) continue;
    if (expect_pointer(key, at + "/" + escaped(key), problems)) settings.emplace_back(key, value);
  }
}

Json write_settings(const Settings& settings) {
  Json json = Json::object();
  for (const auto& [pointer, value] : settings) json[pointer] = value;
  return json;
}

bool expect_values(const Json& json, const std::string& at, Problems& problems) {
  if (!expect_type(json.is_array(), "a list of values", json, at, problems)) return false;
  problems.require(!json.empty(), at, "must hold at least one value");
  for (std::size_t i = 0; i < json.size(); ++i) {
    for (std::size_t j = 0; j < i; ++j) {
      problems.require(json[i] != json[j], at,
                       fmt::format("the value {} stands twice", shown(json[i])));
    }
  }
  return !json.empty();
}

void read_grid(SweepFile& file, const Json& json, const std::string& at, Problems& problems) {
  if (!expect_type(json.is_object(), "an object", json, at, problems)) return;
  for (const auto& [key, values] : json.items()) {
    const std::string below = at + "/" + escaped(key);
    if (!expect_pointer(key, below, problems) || !expect_values(values, below, problems)) continue;
    file.grid.emplace_back(key, std::vector<Json>(values.begin(), values.end()));
  }
}

void read_list(SweepFile& file, const Json& json, const std::string& at, Problems& problems) {
  if (!expect_type(json.is_array(), "a list of objects", json, at, problems)) return;
  for (std::size_t i = 0; i < json.size(); ++i) {
    const std::string below = fmt::format("{}/{}", at, i);
    NamedSettings& point = file.list.emplace_back();
    read_settings(point.settings, json[i], below, problems, {"name"});
    if (!json[i].is_object() || !json[i].contains("name")) continue;
    const Json& name = json[i]["name"];
    if (expect_type(name.is_string(), "a string", name, below + "/name", problems)) {
      point.name = name.get<std::string>();
    }
  }
}

Json write_list(const std::vector<NamedSettings>& list) {
  Json json = Json::array();
  for (const NamedSettings& point : list) {
    json.push_back(write_settings(point.settings));
    if (!point.name.empty()) json.back()["name"] = point.name;
  }
  return json;
}

void read_random_key(RandomKey& key, const Json& json, const std::string& at, Problems& problems) {
  std::string scale = "linear";
  bool has_choice = false;
  Description d;
  d.real("min", key.min, "smallest value");
  d.real("max", key.max, "largest value");
  d.name("scale", scale, {"linear", "log"}, "evenly in the value or in its logarithm");
  d.boolean("whole", key.whole, "round to whole numbers");
  d.field({.key = "choose",
           .doc = "values to choose from, instead of a range",
           .read =
               [&](const Json& value, const std::string& pointer, Problems& found) {
                 has_choice = true;
                 if (!expect_values(value, pointer, found)) return;
                 key.choose.assign(value.begin(), value.end());
               },
           .write = [] { return Json::array(); },
           .schema = []() -> Json {
             return {{"type", "array"}};
           }});
  d.read(json, at, problems);
  if (problems.concerns(at)) return;
  key.logarithmic = scale == "log";
  const bool has_range = json.contains("min") && json.contains("max");
  problems.require(has_choice != has_range, at, "must have either min and max, or choose");
  problems.require(has_choice || key.min < key.max, at,
                   fmt::format("min must be below max (min {}, max {})", key.min, key.max));
  problems.require(has_choice || !key.logarithmic || key.min > 0, at + "/min",
                   fmt::format("must be above 0 on a log scale, but is {}", key.min));
}

Json write_random_key(const RandomKey& key) {
  if (!key.choose.empty()) return {{"choose", key.choose}};
  return {{"min", key.min},
          {"max", key.max},
          {"scale", key.logarithmic ? "log" : "linear"},
          {"whole", key.whole}};
}

Description describe(RandomAxes& random) {
  Description d;
  constexpr double kMostDraws = 100'000;
  d.integer("count", random.count, "points to draw", {.min = 1, .max = kMostDraws});
  d.integer("seed", random.seed, "seed of the draws; a larger count keeps the earlier ones",
            {.min = 0});
  d.field({.key = "keys",
           .doc = "pointer -> {min, max, scale: linear or log, whole} or {choose: [...]}",
           .read =
               [&random](const Json& json, const std::string& at, Problems& problems) {
                 if (!expect_type(json.is_object(), "an object", json, at, problems)) return;
                 for (const auto& [key, value] : json.items()) {
                   const std::string below = at + "/" + escaped(key);
                   if (!expect_pointer(key, below, problems)) continue;
                   random.keys.push_back({.pointer = key});
                   read_random_key(random.keys.back(), value, below, problems);
                 }
               },
           .write =
               [&random] {
                 Json json = Json::object();
                 for (const RandomKey& key : random.keys) json[key.pointer] = write_random_key(key);
                 return json;
               },
           .schema = []() -> Json {
             return {{"type", "object"}};
           }});
  return d;
}

void read_exclusions(SweepFile& file, const Json& json, const std::string& at, Problems& problems) {
  if (!expect_type(json.is_array(), "a list of objects", json, at, problems)) return;
  for (std::size_t i = 0; i < json.size(); ++i) {
    const std::string below = fmt::format("{}/{}", at, i);
    Settings& exclusion = file.exclude.emplace_back();
    read_settings(exclusion, json[i], below, problems, {"experiment", "point"});
    if (!json[i].is_object()) continue;
    problems.require(!json[i].empty(), below, "excludes every point");
    for (const char* name : {"experiment", "point"}) {
      if (json[i].contains(name)) exclusion.emplace_back(name, json[i][name]);
    }
  }
}

using ReadPart = void (*)(SweepFile&, const Json&, const std::string&, Problems&);
using WritePart = Json (*)(const SweepFile&);

/// A key of the file that is no plain value; `type` is for the schema.
Description::Field field_of(SweepFile& file, const char* key, const char* type, const char* doc,
                            ReadPart read, WritePart write) {
  return {.key = key,
          .doc = doc,
          .read = [&file, read](const Json& json, const std::string& at,
                                Problems& problems) { read(file, json, at, problems); },
          .write = [&file, write] { return write(file); },
          .schema = [type]() -> Json {
            return {{"type", type}};
          }};
}

void read_experiments(SweepFile& file, const Json& json, const std::string& at,
                      Problems& problems) {
  if (!expect_type(json.is_array(), "a list of files", json, at, problems)) return;
  for (std::size_t i = 0; i < json.size(); ++i) {
    const std::string below = fmt::format("{}/{}", at, i);
    if (expect_type(json[i].is_string(), "the path of a file", json[i], below, problems)) {
      file.experiments.push_back(json[i]);
    }
  }
}

void read_set(SweepFile& file, const Json& json, const std::string& at, Problems& problems) {
  read_settings(file.set, json, at, problems);
}

Json write_grid(const SweepFile& file) {
  Json json = Json::object();
  for (const auto& [pointer, values] : file.grid) json[pointer] = values;
  return json;
}

Json write_exclusions(const SweepFile& file) {
  Json json = Json::array();
  for (const Settings& exclusion : file.exclude) json.push_back(write_settings(exclusion));
  return json;
}

/// A key may be set by one axis only.
void check_axes(const SweepFile& file, Problems& problems) {
  std::set<std::string> taken;
  const auto take = [&](const std::string& pointer, const std::string& at) {
    problems.require(taken.insert(pointer).second, at,
                     fmt::format("\"{}\" is set by another axis already", pointer));
  };
  for (const auto& [pointer, unused] : file.grid) take(pointer, "/grid/" + escaped(pointer));
  for (const RandomKey& key : file.random.keys) {
    take(key.pointer, "/random/keys/" + escaped(key.pointer));
  }
  std::set<std::string> listed;
  for (const NamedSettings& point : file.list) {
    for (const auto& [pointer, unused] : point.settings) listed.insert(pointer);
  }
  for (const std::string& pointer : listed) take(pointer, "/list");
  if (file.seeds.empty()) return;
  for (const std::string& pointer : taken) {
    problems.require(!pointer.starts_with("/seeds"), "/seeds",
                     fmt::format("\"{}\" is set by another axis already", pointer));
  }
}

}  // namespace

Description describe(SweepFile& file) {
  Description d;
  d.field(field_of(file, "experiments", "array", "experiment files, relative to this one",
                   read_experiments, [](const SweepFile& f) -> Json { return f.experiments; }));
  d.field(field_of(file, "set", "object", "pointer -> value, laid over every experiment", read_set,
                   [](const SweepFile& f) { return write_settings(f.set); }));
  d.field(
      field_of(file, "list", "array",
               "one axis of settings that go together: [{pointer: value, ..., \"name\": for run "
               "names}]",
               read_list, [](const SweepFile& f) { return write_list(f.list); }));
  d.field(field_of(file, "grid", "object", "an axis for each pointer -> [values]", read_grid,
                   [](const SweepFile& f) { return write_grid(f); }));
  d.object("random", describe(file.random), "one axis of random draws");
  d.integers("seeds", file.seeds,
             "an axis that sets /seeds/weights, /seeds/data and /seeds/train together", {.min = 0});
  d.field(
      field_of(file, "exclude", "array",
               "points to leave out: [{pointer: value, \"experiment\": name, \"point\": name in "
               "list}]",
               read_exclusions, [](const SweepFile& f) { return write_exclusions(f); }));
  return d;
}

Json sweep_schema() {
  SweepFile file;
  Json schema = {{"$schema", "https://json-schema.org/draft/2020-12/schema"},
                 {"title", "mta sweep"}};
  schema.update(describe(file).schema());
  return schema;
}

SweepFile read_sweep_file(const std::filesystem::path& path) {
  const Document document = load_document(path, {});
  Problems problems(document);
  SweepFile file;
  file.path = path;
  describe(file).read(document.root, "", problems);
  problems.require(!file.experiments.empty() || problems.concerns("/experiments"), "/experiments",
                   "must name at least one experiment file");
  problems.require(file.random.keys.empty() == (file.random.count == 0), "/random",
                   "must have both count and keys");
  for (std::size_t i = 0; i < file.seeds.size(); ++i) {
    for (std::size_t j = 0; j < i; ++j) {
      problems.require(file.seeds[i] != file.seeds[j], "/seeds",
                       fmt::format("{} stands twice", file.seeds[i]));
    }
  }
  check_axes(file, problems);
  problems.raise();
  return file;
}

}  // namespace mta
