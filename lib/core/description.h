// One description of a configuration object: it reads it, checks it, writes it and makes its JSON
// Schema.
#pragma once

#include "lib/core/document.h"

#include <cstdint>
#include <functional>
#include <limits>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

namespace mta {

/// Values allowed for a number. `above` and `below` are excluded themselves; `min` and `max` are
/// included.
struct Range {
  double min = -std::numeric_limits<double>::infinity();
  double max = std::numeric_limits<double>::infinity();
  double above = -std::numeric_limits<double>::infinity();
  double below = std::numeric_limits<double>::infinity();

  bool contains(double value) const;
  std::string text() const;  // "at least 1", "above 0 and at most 1"
};

/// Binds the keys of one JSON object to the fields of a struct that outlives the description.
///
///     Description describe(ModelConfig& c) {
///       Description d;
///       d.integer("dim", c.dim, "model width D", {.min = 1});
///       d.choice("pad", c.pad, kPads, "where the key side is padded");
///       return d;
///     }
///
/// The value that a field has when the description is made is its default. Docs end with the unit
/// where there is one.
class Description {
 public:
  struct Field {
    std::string key;
    std::string doc;
    std::function<void(const Json& value, const std::string& pointer, Problems&)> read;
    std::function<Json()> write;
    std::function<Json()> schema;  // without description and default, which are added
  };

  void integer(std::string key, std::int64_t& value, std::string doc, Range range = {});
  void real(std::string key, double& value, std::string doc, Range range = {});
  void boolean(std::string key, bool& value, std::string doc);
  void text(std::string key, std::string& value, std::string doc);
  void integers(std::string key, std::vector<std::int64_t>& value, std::string doc,
                Range each = {});
  void reals(std::string key, std::vector<double>& value, std::string doc, Range each = {});
  /// null = off.
  void optional_integer(std::string key, std::optional<std::int64_t>& value, std::string doc,
                        Range range = {});
  void optional_real(std::string key, std::optional<double>& value, std::string doc,
                     Range range = {});
  void optional_integers(std::string key, std::optional<std::vector<std::int64_t>>& value,
                         std::string doc, Range each = {});
  /// One of a fixed set of names.
  void name(std::string key, std::string& value, std::vector<std::string> allowed, std::string doc);
  void names(std::string key, std::vector<std::string>& value, std::vector<std::string> allowed,
             std::string doc);
  /// One of a fixed set of names that stand for enum values.
  template <class Enum>
  void choice(std::string key, Enum& value, const std::vector<std::pair<Enum, std::string>>& names,
              std::string doc);
  /// A nested object that is always there.
  void object(std::string key, Description nested, std::string doc);
  /// A nested object that may be null (off). `describe` is `Description (*)(T&)`.
  template <class T>
  void optional_object(std::string key, std::optional<T>& value, Description (*describe)(T&),
                       std::string doc);
  /// Anything else.
  void field(Field field);

  /// Reads `object` into the bound fields; keys that are absent keep their value. Unknown keys are
  /// problems, with the nearest known name. `known_elsewhere` are keys that somebody else reads (a
  /// discriminator such as "kind").
  void read(const Json& object, const std::string& pointer, Problems& problems,
            const std::vector<std::string>& known_elsewhere = {}) const;
  /// Every key, also those at their default, in the order of description.
  Json write() const;
  /// JSON Schema (2020-12) of the object, with descriptions and current values as defaults.
  Json schema() const;
  const std::vector<Field>& fields() const { return fields_; }

 private:
  std::vector<Field> fields_;
};

/// The known name closest to `word` by edit distance, or nothing when none is close.
std::optional<std::string> nearest_name(std::string_view word,
                                        const std::vector<std::string>& known);
/// "unknown key; did you mean "lr"?" or "unknown key (known: a, b)".
std::string unknown_name_message(std::string_view what, std::string_view word,
                                 const std::vector<std::string>& known);

/// True when `value` is of the wanted type; otherwise records "must be <wanted>, but is <type>
/// <value>".
bool expect_type(bool holds, const char* wanted, const Json& value, const std::string& pointer,
                 Problems& problems);
/// `value` cut to a length that fits a message.
std::string shown(const Json& value);

template <class Enum>
void Description::choice(std::string key, Enum& value,
                         const std::vector<std::pair<Enum, std::string>>& names, std::string doc) {
  std::vector<std::string> allowed;
  for (const auto& [unused, text] : names) allowed.push_back(text);
  field({.key = std::move(key),
         .doc = std::move(doc),
         .read =
             [&value, names, allowed](const Json& json, const std::string& pointer,
                                      Problems& problems) {
               if (!expect_type(json.is_string(), "a string", json, pointer, problems)) return;
               const auto word = json.get<std::string>();
               for (const auto& [candidate, text] : names) {
                 if (text == word) {
                   value = candidate;
                   return;
                 }
               }
               problems.add(pointer, unknown_name_message("value", word, allowed));
             },
         .write = [&value, names]() -> Json {
           for (const auto& [candidate, text] : names) {
             if (candidate == value) return text;
           }
           return nullptr;
         },
         .schema = [allowed]() -> Json {
           return {{"enum", allowed}};
         }});
}

template <class T>
void Description::optional_object(std::string key, std::optional<T>& value,
                                  Description (*describe)(T&), std::string doc) {
  field({.key = std::move(key),
         .doc = std::move(doc) + "; null = off",
         .read =
             [&value, describe](const Json& json, const std::string& pointer, Problems& problems) {
               if (json.is_null()) return value.reset();
               if (!value) value.emplace();
               describe(*value).read(json, pointer, problems);
             },
         .write = [&value, describe]() -> Json {
           return value ? describe(*value).write() : Json(nullptr);
         },
         .schema = [&value, describe]() -> Json {
           T example = value.value_or(T{});
           return {{"anyOf", {{{"type", "null"}}, describe(example).schema()}}};
         }});
}

}  // namespace mta
