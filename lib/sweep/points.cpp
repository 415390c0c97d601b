// Multiplies axes, draws random ones, leaves out what is excluded, and names what remains.
#include "lib/sweep/points.h"

#include "lib/core/error.h"
#include "lib/core/rng.h"
#include "lib/sweep/names.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <map>
#include <set>

namespace mta {
namespace {

/// One place on an axis: what it sets, and how it is called in run names.
struct Place {
  Settings settings;
  std::string name;
  std::string point;  // its name in "list"
};
using Axis = std::vector<Place>;

/// Run names of all keys that any axis sets.
std::map<std::string, std::string> key_names(const SweepFile& file) {
  std::vector<std::string> pointers;
  for (const NamedSettings& point : file.list) {
    for (const auto& [pointer, unused] : point.settings) pointers.push_back(pointer);
  }
  for (const auto& [pointer, unused] : file.grid) pointers.push_back(pointer);
  for (const RandomKey& key : file.random.keys) pointers.push_back(key.pointer);
  const std::vector<std::string> keys = short_keys(pointers);
  std::map<std::string, std::string> names;
  for (std::size_t i = 0; i < pointers.size(); ++i) names[pointers[i]] = keys[i];
  return names;
}

std::string name_of(const Settings& settings, const std::map<std::string, std::string>& keys) {
  std::string name;
  for (const auto& [pointer, value] : settings) {
    if (!name.empty()) name += '-';
    name += setting_name(keys.at(pointer), value);
  }
  return name;
}

/// Three digits that matter: a rate of 0.00123 can be read, typed and found again.
double rounded(double value) {
  constexpr int kDigits = 3;
  if (value == 0) return 0;
  return std::stod(fmt::format("{:.{}g}", value, kDigits));
}

Json draw(const RandomKey& key, std::int64_t seed, std::uint64_t index) {
  // Each key has numbers of its own, so that adding a key changes no other.
  Rng rng(static_cast<std::uint64_t>(seed), stream_of("sweep:" + key.pointer), index);
  if (!key.choose.empty())
    return key.choose[rng.below(static_cast<std::uint32_t>(key.choose.size()))];
  const double share = rng.uniform();
  const double value = key.logarithmic
                           ? std::exp(std::lerp(std::log(key.min), std::log(key.max), share))
                           : std::lerp(key.min, key.max, share);
  if (key.whole) return static_cast<std::int64_t>(std::llround(value));
  return std::clamp(rounded(value), key.min, key.max);
}

/// `count` different draws.
Axis random_axis(const SweepFile& file, const std::map<std::string, std::string>& keys) {
  constexpr std::uint64_t kTriesForEach = 1000;
  const RandomAxes& random = file.random;
  const auto count = static_cast<std::uint64_t>(random.count);
  Axis axis;
  std::set<std::string> names;
  for (std::uint64_t index = 0; axis.size() < count; ++index) {
    if (index == count * kTriesForEach) {
      throw UserError(
          file.path.string() + ": /random/count",
          fmt::format("must be at most {}: there are no more different draws", axis.size()));
    }
    Place place;
    for (const RandomKey& key : random.keys) {
      place.settings.emplace_back(key.pointer, draw(key, random.seed, index));
    }
    place.name = name_of(place.settings, keys);
    if (names.insert(place.name).second) axis.push_back(std::move(place));
  }
  return axis;
}

std::vector<Axis> axes_of(const SweepFile& file) {
  const auto keys = key_names(file);
  std::vector<Axis> axes;
  if (!file.list.empty()) {
    Axis& axis = axes.emplace_back();
    for (const NamedSettings& point : file.list) {
      const std::string name =
          point.name.empty() ? name_of(point.settings, keys) : safe_name(point.name);
      axis.push_back({.settings = point.settings, .name = name, .point = point.name});
    }
  }
  for (const auto& [pointer, values] : file.grid) {
    Axis& axis = axes.emplace_back();
    for (const Json& value : values) {
      axis.push_back({.settings = {{pointer, value}},
                      .name = setting_name(keys.at(pointer), value),
                      .point = {}});
    }
  }
  if (file.random.count > 0) axes.push_back(random_axis(file, keys));
  if (!file.seeds.empty()) {
    Axis& axis = axes.emplace_back();
    for (const std::int64_t seed : file.seeds) {
      axis.push_back(
          {.settings = {{"/seeds/weights", seed}, {"/seeds/data", seed}, {"/seeds/train", seed}},
           .name = fmt::format("seed{}", seed),
           .point = {}});
    }
  }
  return axes;
}

/// Every choice of one place on each axis; the last axis runs fastest.
std::vector<Place> product(const std::vector<Axis>& axes) {
  std::vector<Place> places(1);
  for (const Axis& axis : axes) {
    std::vector<Place> longer;
    for (const Place& place : places) {
      for (const Place& next : axis) {
        Place both = place;
        both.settings.insert(both.settings.end(), next.settings.begin(), next.settings.end());
        both.name += "-" + next.name;
        if (!next.point.empty()) both.point = next.point;
        longer.push_back(std::move(both));
      }
    }
    places = std::move(longer);
  }
  return places;
}

Document document_of_point(const SweepFile& file, const SweepPoint& point) {
  std::vector<std::string> settings;
  for (const auto& [pointer, value] : point.settings)
    settings.push_back(setting_text(pointer, value));
  Document document = load_document(point.experiment, settings);
  // A message about a setting should name this file, not a flag that nobody typed.
  for (const auto& [pointer, unused] : point.settings)
    document.origins[pointer] = file.path.string();
  return document;
}

std::string experiment_name(const Document& document, const std::filesystem::path& path) {
  const Json name = document.root.value("name", Json());
  return name.is_string() ? name.get<std::string>() : path.stem().string();
}

/// Whether all that `exclusion` names is so in a point.
bool matches(const Settings& exclusion, const Json& root, const std::string& experiment,
             const std::string& point) {
  return std::all_of(exclusion.begin(), exclusion.end(), [&](const auto& condition) {
    const auto& [key, value] = condition;
    if (key == "experiment") return value == experiment;
    if (key == "point") return value == point;
    const Json::json_pointer pointer(key);
    return root.contains(pointer) && root.at(pointer) == value;
  });
}

/// Collects the problems of all points, each one once.
class AllProblems {
 public:
  void add(const UserError& error) {
    for (const Problem& problem : error.problems()) {
      if (seen_.insert(to_string(problem)).second) problems_.push_back(problem);
    }
  }
  void add(const std::string& place, const std::string& message) { add(UserError(place, message)); }
  void raise() const {
    if (!problems_.empty()) throw UserError(problems_);
  }

 private:
  std::set<std::string> seen_;
  std::vector<Problem> problems_;
};

std::string settings_text(const SweepPoint& point) {
  std::string text = point.experiment.string();
  for (const auto& [pointer, value] : point.settings)
    text += fmt::format(" {}", setting_text(pointer, value));
  return text;
}

/// Two points with one name get the hash of what they set; two points with one configuration are a
/// mistake.
void tell_apart(std::vector<SweepPoint>& points, const SweepFile& file, AllProblems& problems) {
  std::map<std::string, int> uses;
  std::map<std::string, const SweepPoint*> configs;
  for (const SweepPoint& point : points) {
    ++uses[point.name];
    const auto [same, is_new] = configs.try_emplace(point.config.dump(), &point);
    if (!is_new) {
      problems.add(file.path.string(),
                   fmt::format("two points are the same experiment: {} and {}",
                               settings_text(*same->second), settings_text(point)));
    }
  }
  for (SweepPoint& point : points) {
    if (uses[point.name] > 1) point.name += fmt::format("-{}", short_hash(settings_text(point)));
  }
}

/// Makes points one by one and keeps what is wrong with them until the end.
class PointMaker {
 public:
  PointMaker(const SweepFile& file, const ResolveExperiment& resolve)
      : file_(file), resolve_(resolve), used_(file.exclude.size(), false) {}

  void add(const std::string& experiment, const Place& place) {
    SweepPoint point;
    point.experiment = (file_.path.parent_path() / experiment).lexically_normal();
    point.settings = file_.set;
    point.settings.insert(point.settings.end(), place.settings.begin(), place.settings.end());
    try {
      const Document document = document_of_point(file_, point);
      const std::string name = experiment_name(document, point.experiment);
      if (is_excluded(document.root, name, place.point)) return;
      point.name = safe_name(name) + place.name;
      if (point.name.size() > kLongestName) {
        point.name = fmt::format("{}-{}", point.name.substr(0, kLongestName),
                                 short_hash(settings_text(point)));
      }
      point.config = resolve_(document);
      point.given = document.root;
      points_.push_back(std::move(point));
    } catch (const UserError& error) {
      problems_.add(error);
    }
  }

  std::vector<SweepPoint> take() {
    problems_.raise();
    const std::string path = file_.path.string();
    for (std::size_t i = 0; i < used_.size(); ++i) {
      if (!used_[i]) problems_.add(fmt::format("{}: /exclude/{}", path, i), "matches no point");
    }
    if (points_.empty()) problems_.add(path, "has no points: all are excluded");
    tell_apart(points_, file_, problems_);
    problems_.raise();
    return std::move(points_);
  }

 private:
  static constexpr std::size_t kLongestName = 200;  // file systems allow 255 bytes

  bool is_excluded(const Json& root, const std::string& experiment, const std::string& point) {
    bool excluded = false;
    for (std::size_t i = 0; i < used_.size(); ++i) {
      if (matches(file_.exclude[i], root, experiment, point)) excluded = used_[i] = true;
    }
    return excluded;
  }

  const SweepFile& file_;
  const ResolveExperiment& resolve_;
  std::vector<bool> used_;  // which exclusions have matched
  std::vector<SweepPoint> points_;
  AllProblems problems_;
};

}  // namespace

std::string setting_text(const std::string& pointer, const Json& value) {
  // --set takes what is not JSON as a string; a string that looks like JSON needs its quotes.
  const bool bare = value.is_string() && !Json::accept(value.get<std::string>());
  return pointer + "=" + (bare ? value.get<std::string>() : value.dump());
}

std::vector<SweepPoint> sweep_points(const SweepFile& file, const ResolveExperiment& resolve) {
  PointMaker maker(file, resolve);
  const std::vector<Place> places = product(axes_of(file));
  for (const std::string& experiment : file.experiments) {
    for (const Place& place : places) maker.add(experiment, place);
  }
  return maker.take();
}

}  // namespace mta
