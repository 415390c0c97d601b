// Shortens keys and cleans values.
#include "lib/sweep/names.h"

#include "lib/core/rng.h"

#include <fmt/format.h>

#include <algorithm>
#include <cctype>

namespace mta {
namespace {

constexpr std::size_t kLongestValue = 40;

/// The last `parts` parts of a pointer, joined by '.'.
std::string tail(const std::string& pointer, int parts) {
  std::size_t begin = pointer.size();
  for (; parts > 0 && begin > 0; --parts) begin = pointer.rfind('/', begin - 1);
  std::string text = pointer.substr(begin + 1);
  std::replace(text.begin(), text.end(), '/', '.');
  return text;
}

}  // namespace

std::vector<std::string> short_keys(const std::vector<std::string>& pointers) {
  std::vector<std::string> keys;
  for (const std::string& pointer : pointers) {
    const auto depth = static_cast<int>(std::count(pointer.begin(), pointer.end(), '/'));
    int parts = 1;
    const auto is_shared = [&](const std::string& other) {
      return other != pointer && tail(other, parts) == tail(pointer, parts);
    };
    while (parts < depth && std::any_of(pointers.begin(), pointers.end(), is_shared)) ++parts;
    keys.push_back(tail(pointer, parts));
  }
  return keys;
}

std::string setting_name(const std::string& key, const Json& value) {
  std::string text = value.is_null()     ? "off"
                     : value.is_string() ? value.get<std::string>()
                                         : value.dump();
  std::string clean = safe_name(text);
  if (clean.size() > kLongestValue) clean = clean.substr(0, kLongestValue) + "_" + short_hash(text);
  return fmt::format("{}{}{}", safe_name(key), value.is_number() ? "" : "_", clean);
}

std::string safe_name(const std::string& text) {
  std::string name;
  for (const char c : text) {
    const bool safe = std::isalnum(static_cast<unsigned char>(c)) != 0 || c == '.' || c == '-';
    if (safe) {
      name += c;
    } else if (!name.empty() && name.back() != '_') {
      name += '_';
    }
  }
  while (!name.empty() && name.back() == '_') name.pop_back();
  if (name.empty()) return "_";
  if (name.front() == '.') name.insert(name.begin(), '_');
  return name;
}

std::string short_hash(const std::string& text) { return fmt::format("{:08x}", stream_of(text)); }

}  // namespace mta
