// Keys and values of needles: kinds, and drawing them so that none comes twice.
#pragma once

#include "lib/core/rng.h"
#include "tasks/haystack.h"

#include <string>
#include <unordered_set>

namespace mta {

enum class KeyKind { Cities, Words, Uuids };
enum class ValueKind { Numbers, Uuids };

/// How many there are that do not stand in `file`, if there is one.
double count_keys(KeyKind kind, const TextFile* file);
double count_values(ValueKind kind);
std::string longest_key(KeyKind kind);
std::string shortest_key(KeyKind kind);
/// A value; all have the same length.
std::string some_value(ValueKind kind);

/// Draws keys and values that differ from all that this object has given out.
class NameDrawer {
 public:
  /// Nothing that stands in `file`, if there is one, is given out either.
  NameDrawer(Rng& rng, KeyKind keys, ValueKind values, const TextFile* file)
      : rng_(rng), keys_(keys), values_(values), file_(file) {}

  std::string key();    // "Paris", "brisk-lantern" or a uuid
  std::string value();  // seven digits, the first not 0, or a uuid

 private:
  std::string draw_key();
  std::string draw_value();
  std::string draw_uuid();
  bool is_new(const std::string& name);

  Rng& rng_;
  KeyKind keys_;
  ValueKind values_;
  const TextFile* file_;
  std::unordered_set<std::string> taken_;
};

}  // namespace mta
