// Reading, writing and describing configuration objects.
#include "lib/core/description.h"

#include <fmt/core.h>

#include <algorithm>
#include <cmath>
#include <numeric>

namespace mta {
namespace {

std::string number_text(double value) {
  return value == std::floor(value) && std::abs(value) < 1e15 ? fmt::format("{:.0f}", value)
                                                              : fmt::format("{}", value);
}

Json range_schema(const char* type, const Range& range) {
  Json schema = {{"type", type}};
  if (std::isfinite(range.min)) schema["minimum"] = range.min;
  if (std::isfinite(range.max)) schema["maximum"] = range.max;
  if (std::isfinite(range.above)) schema["exclusiveMinimum"] = range.above;
  if (std::isfinite(range.below)) schema["exclusiveMaximum"] = range.below;
  return schema;
}

bool within(const Json& value, const Range& range, const std::string& pointer, Problems& problems) {
  if (range.contains(value.get<double>())) return true;
  problems.add(pointer, "must be " + range.text() + ", but is " + shown(value));
  return false;
}

bool is_whole(const Json& value) {
  return value.is_number_integer() &&
         !(value.is_number_unsigned() && value.get<std::uint64_t>() > INT64_MAX);
}

void read_integer(std::int64_t& target, const Range& range, const Json& value,
                  const std::string& pointer, Problems& problems) {
  if (!expect_type(is_whole(value), "a whole number", value, pointer, problems)) return;
  if (within(value, range, pointer, problems)) target = value.get<std::int64_t>();
}

void read_real(double& target, const Range& range, const Json& value, const std::string& pointer,
               Problems& problems) {
  if (!expect_type(value.is_number(), "a number", value, pointer, problems)) return;
  if (within(value, range, pointer, problems)) target = value.get<double>();
}

bool read_name(std::string& target, const std::vector<std::string>& allowed, const Json& value,
               const std::string& pointer, Problems& problems) {
  if (!expect_type(value.is_string(), "a string", value, pointer, problems)) return false;
  auto word = value.get<std::string>();
  if (std::find(allowed.begin(), allowed.end(), word) == allowed.end()) {
    problems.add(pointer, unknown_name_message("value", word, allowed));
    return false;
  }
  target = std::move(word);
  return true;
}

/// Reads a list whose elements `read_one` reads; the target changes only when every element is
/// right.
template <class T, class ReadOne>
void read_list(std::vector<T>& target, const Json& value, const std::string& pointer,
               Problems& problems, ReadOne read_one) {
  if (!expect_type(value.is_array(), "a list", value, pointer, problems)) return;
  std::vector<T> items(value.size());
  for (std::size_t i = 0; i < items.size(); ++i)
    read_one(items[i], value[i], pointer + "/" + std::to_string(i));
  if (!problems.concerns(pointer)) target = std::move(items);
}

std::size_t edit_distance(std::string_view a, std::string_view b) {
  std::vector<std::size_t> row(b.size() + 1);
  std::iota(row.begin(), row.end(), std::size_t{0});
  for (std::size_t i = 1; i <= a.size(); ++i) {
    std::size_t diagonal = row[0];
    row[0] = i;
    for (std::size_t j = 1; j <= b.size(); ++j) {
      const std::size_t substituted = diagonal + (a[i - 1] == b[j - 1] ? 0 : 1);
      diagonal = row[j];
      row[j] = std::min({row[j] + 1, row[j - 1] + 1, substituted});
    }
  }
  return row[b.size()];
}

Json nullable(Json schema) { return {{"anyOf", {{{"type", "null"}}, std::move(schema)}}}; }

}  // namespace

bool Range::contains(double value) const {
  return value >= min && value <= max && value > above && value < below;
}

std::string Range::text() const {
  std::vector<std::string> parts;
  if (std::isfinite(min)) parts.push_back("at least " + number_text(min));
  if (std::isfinite(above)) parts.push_back("above " + number_text(above));
  if (std::isfinite(max)) parts.push_back("at most " + number_text(max));
  if (std::isfinite(below)) parts.push_back("below " + number_text(below));
  std::string text;
  for (const std::string& part : parts) text += (text.empty() ? "" : " and ") + part;
  return text;
}

void Description::integer(std::string key, std::int64_t& value, std::string doc, Range range) {
  field({.key = std::move(key),
         .doc = std::move(doc),
         .read = [&value, range](
                     const Json& json, const std::string& pointer,
                     Problems& problems) { read_integer(value, range, json, pointer, problems); },
         .write = [&value]() -> Json { return value; },
         .schema = [range] { return range_schema("integer", range); }});
}

void Description::real(std::string key, double& value, std::string doc, Range range) {
  field({.key = std::move(key),
         .doc = std::move(doc),
         .read = [&value, range](
                     const Json& json, const std::string& pointer,
                     Problems& problems) { read_real(value, range, json, pointer, problems); },
         .write = [&value]() -> Json { return value; },
         .schema = [range] { return range_schema("number", range); }});
}

void Description::boolean(std::string key, bool& value, std::string doc) {
  field({.key = std::move(key),
         .doc = std::move(doc),
         .read =
             [&value](const Json& json, const std::string& pointer, Problems& problems) {
               if (expect_type(json.is_boolean(), "true or false", json, pointer, problems))
                 value = json.get<bool>();
             },
         .write = [&value]() -> Json { return value; },
         .schema = []() -> Json {
           return {{"type", "boolean"}};
         }});
}

void Description::text(std::string key, std::string& value, std::string doc) {
  field({.key = std::move(key),
         .doc = std::move(doc),
         .read =
             [&value](const Json& json, const std::string& pointer, Problems& problems) {
               if (expect_type(json.is_string(), "a string", json, pointer, problems))
                 value = json.get<std::string>();
             },
         .write = [&value]() -> Json { return value; },
         .schema = []() -> Json {
           return {{"type", "string"}};
         }});
}

void Description::integers(std::string key, std::vector<std::int64_t>& value, std::string doc,
                           Range each) {
  field({.key = std::move(key),
         .doc = std::move(doc),
         .read =
             [&value, each](const Json& json, const std::string& pointer, Problems& problems) {
               read_list(value, json, pointer, problems,
                         [&](std::int64_t& item, const Json& element, const std::string& at) {
                           read_integer(item, each, element, at, problems);
                         });
             },
         .write = [&value]() -> Json { return value; },
         .schema = [each]() -> Json {
           return {{"type", "array"}, {"items", range_schema("integer", each)}};
         }});
}

void Description::reals(std::string key, std::vector<double>& value, std::string doc, Range each) {
  field({.key = std::move(key),
         .doc = std::move(doc),
         .read =
             [&value, each](const Json& json, const std::string& pointer, Problems& problems) {
               read_list(value, json, pointer, problems,
                         [&](double& item, const Json& element, const std::string& at) {
                           read_real(item, each, element, at, problems);
                         });
             },
         .write = [&value]() -> Json { return value; },
         .schema = [each]() -> Json {
           return {{"type", "array"}, {"items", range_schema("number", each)}};
         }});
}

void Description::optional_integer(std::string key, std::optional<std::int64_t>& value,
                                   std::string doc, Range range) {
  field({.key = std::move(key),
         .doc = std::move(doc),
         .read =
             [&value, range](const Json& json, const std::string& pointer, Problems& problems) {
               if (json.is_null()) return value.reset();
               std::int64_t read = value.value_or(0);
               read_integer(read, range, json, pointer, problems);
               if (!problems.concerns(pointer)) value = read;
             },
         .write = [&value]() -> Json { return value ? Json(*value) : Json(nullptr); },
         .schema = [range] { return nullable(range_schema("integer", range)); }});
}

void Description::optional_real(std::string key, std::optional<double>& value, std::string doc,
                                Range range) {
  field({.key = std::move(key),
         .doc = std::move(doc),
         .read =
             [&value, range](const Json& json, const std::string& pointer, Problems& problems) {
               if (json.is_null()) return value.reset();
               double read = value.value_or(0);
               read_real(read, range, json, pointer, problems);
               if (!problems.concerns(pointer)) value = read;
             },
         .write = [&value]() -> Json { return value ? Json(*value) : Json(nullptr); },
         .schema = [range] { return nullable(range_schema("number", range)); }});
}

void Description::optional_integers(std::string key,
                                    std::optional<std::vector<std::int64_t>>& value,
                                    std::string doc, Range each) {
  field({.key = std::move(key),
         .doc = std::move(doc),
         .read =
             [&value, each](const Json& json, const std::string& pointer, Problems& problems) {
               if (json.is_null()) return value.reset();
               std::vector<std::int64_t> read;
               read_list(read, json, pointer, problems,
                         [&](std::int64_t& item, const Json& element, const std::string& at) {
                           read_integer(item, each, element, at, problems);
                         });
               if (!problems.concerns(pointer)) value = std::move(read);
             },
         .write = [&value]() -> Json { return value ? Json(*value) : Json(nullptr); },
         .schema = [each]() -> Json {
           return nullable({{"type", "array"}, {"items", range_schema("integer", each)}});
         }});
}

void Description::name(std::string key, std::string& value, std::vector<std::string> allowed,
                       std::string doc) {
  field({.key = std::move(key),
         .doc = std::move(doc),
         .read = [&value, allowed](
                     const Json& json, const std::string& pointer,
                     Problems& problems) { read_name(value, allowed, json, pointer, problems); },
         .write = [&value]() -> Json { return value; },
         .schema = [allowed]() -> Json {
           return {{"enum", allowed}};
         }});
}

void Description::names(std::string key, std::vector<std::string>& value,
                        std::vector<std::string> allowed, std::string doc) {
  field({.key = std::move(key),
         .doc = std::move(doc),
         .read =
             [&value, allowed](const Json& json, const std::string& pointer, Problems& problems) {
               read_list(value, json, pointer, problems,
                         [&](std::string& item, const Json& element, const std::string& at) {
                           read_name(item, allowed, element, at, problems);
                         });
             },
         .write = [&value]() -> Json { return value; },
         .schema = [allowed]() -> Json {
           return {{"type", "array"}, {"items", {{"enum", allowed}}}};
         }});
}

void Description::object(std::string key, Description nested, std::string doc) {
  field({.key = std::move(key),
         .doc = std::move(doc),
         .read = [nested](const Json& json, const std::string& pointer,
                          Problems& problems) { nested.read(json, pointer, problems); },
         .write = [nested] { return nested.write(); },
         .schema = [nested] { return nested.schema(); }});
}

void Description::field(Field field) { fields_.push_back(std::move(field)); }

void Description::read(const Json& object, const std::string& pointer, Problems& problems,
                       const std::vector<std::string>& known_elsewhere) const {
  if (!expect_type(object.is_object(), "an object", object, pointer, problems)) return;
  std::vector<std::string> known = known_elsewhere;
  for (const Field& field : fields_) known.push_back(field.key);
  for (const auto& [key, value] : object.items()) {
    if (std::find(known_elsewhere.begin(), known_elsewhere.end(), key) != known_elsewhere.end())
      continue;
    const auto field =
        std::find_if(fields_.begin(), fields_.end(), [&](const Field& f) { return f.key == key; });
    const std::string at = pointer + "/" + key;
    if (field == fields_.end()) {
      problems.add(at, unknown_name_message("key", key, known));
    } else {
      field->read(value, at, problems);
    }
  }
}

Json Description::write() const {
  Json object = Json::object();
  for (const Field& field : fields_) object[field.key] = field.write();
  return object;
}

Json Description::schema() const {
  Json properties = Json::object();
  for (const Field& field : fields_) {
    Json schema = field.schema();
    schema["description"] = field.doc;
    schema["default"] = field.write();
    properties[field.key] = std::move(schema);
  }
  return {
      {"type", "object"}, {"additionalProperties", false}, {"properties", std::move(properties)}};
}

std::optional<std::string> nearest_name(std::string_view word,
                                        const std::vector<std::string>& known) {
  std::optional<std::string> best;
  // A slip changes a third of the letters at most, two in short words, and never all of them.
  std::size_t best_distance = std::min(std::max<std::size_t>(2, word.size() / 3) + 1, word.size());
  for (const std::string& candidate : known) {
    const std::size_t distance = edit_distance(word, candidate);
    if (distance < best_distance) {
      best_distance = distance;
      best = candidate;
    }
  }
  return best;
}

std::string unknown_name_message(std::string_view what, std::string_view word,
                                 const std::vector<std::string>& known) {
  if (const auto near = nearest_name(word, known)) {
    return fmt::format("unknown {} \"{}\"; did you mean \"{}\"?", what, word, *near);
  }
  std::string list;
  for (const std::string& name : known) list += (list.empty() ? "" : ", ") + name;
  return fmt::format("unknown {} \"{}\" (known: {})", what, word, list);
}

bool expect_type(bool holds, const char* wanted, const Json& value, const std::string& pointer,
                 Problems& problems) {
  if (!holds)
    problems.add(pointer,
                 fmt::format("must be {}, but is {} {}", wanted, value.type_name(), shown(value)));
  return holds;
}

std::string shown(const Json& value) {
  constexpr std::size_t kLongest = 60;
  std::string text = value.dump(-1, ' ', false, Json::error_handler_t::replace);
  if (text.size() > kLongest) text = text.substr(0, kLongest) + "...";
  return text;
}

}  // namespace mta
