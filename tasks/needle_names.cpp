// Keys and values of needles.
#include "tasks/needle_names.h"

#include "tasks/text_words.h"

#include <algorithm>

namespace mta {
namespace {

constexpr std::uint32_t kSmallestNumber = 1000000, kNumbers = 9000000;
constexpr const char* kUuid = "00000000-0000-4000-8000-000000000000";

bool shorter(std::string_view a, std::string_view b) { return a.size() < b.size(); }

/// The key made of the words that `choose` (std::max_element or std::min_element) finds.
template <class Choose>
std::string extreme_key(KeyKind kind, Choose choose) {
  switch (kind) {
    case KeyKind::Cities:
      return std::string(choose(cities()));
    case KeyKind::Words:
      return std::string(choose(key_adjectives())) + '-' + std::string(choose(key_nouns()));
    case KeyKind::Uuids:
      break;
  }
  return kUuid;
}

}  // namespace

double count_keys(KeyKind kind, const TextFile* file) {
  const auto is_free = [file](const std::string& name) {
    return file == nullptr || !file->holds(name);
  };
  double count = 0;
  switch (kind) {
    case KeyKind::Cities:
      for (const std::string_view city : cities()) count += is_free(std::string(city)) ? 1 : 0;
      return count;
    case KeyKind::Words:
      for (const std::string_view adjective : key_adjectives()) {
        for (const std::string_view noun : key_nouns()) {
          count += is_free(std::string(adjective) + '-' + std::string(noun)) ? 1 : 0;
        }
      }
      return count;
    case KeyKind::Uuids:
      break;
  }
  return 0x1p122;
}

double count_values(ValueKind kind) { return kind == ValueKind::Numbers ? kNumbers : 0x1p122; }

std::string longest_key(KeyKind kind) {
  return extreme_key(
      kind, [](auto list) { return *std::max_element(list.begin(), list.end(), shorter); });
}

std::string shortest_key(KeyKind kind) {
  return extreme_key(
      kind, [](auto list) { return *std::min_element(list.begin(), list.end(), shorter); });
}

std::string some_value(ValueKind kind) {
  return kind == ValueKind::Numbers ? std::to_string(kSmallestNumber) : kUuid;
}

std::string NameDrawer::key() {
  for (;;) {
    std::string key = draw_key();
    if (is_new(key)) return key;
  }
}

std::string NameDrawer::value() {
  for (;;) {
    std::string value = draw_value();
    if (is_new(value)) return value;
  }
}

bool NameDrawer::is_new(const std::string& name) {
  return (file_ == nullptr || !file_->holds(name)) && taken_.insert(name).second;
}

std::string NameDrawer::draw_key() {
  const auto pick = [this](auto list) {
    return std::string(list[rng_.below(static_cast<std::uint32_t>(list.size()))]);
  };
  switch (keys_) {
    case KeyKind::Cities:
      return pick(cities());
    case KeyKind::Words: {
      std::string adjective = pick(key_adjectives());
      return adjective + '-' + pick(key_nouns());
    }
    case KeyKind::Uuids:
      break;
  }
  return draw_uuid();
}

std::string NameDrawer::draw_value() {
  return values_ == ValueKind::Numbers ? std::to_string(kSmallestNumber + rng_.below(kNumbers))
                                       : draw_uuid();
}

/// Version 4, variant 1: 122 random bits.
std::string NameDrawer::draw_uuid() {
  constexpr const char* kDigits = "0123456789abcdef";
  std::string uuid = "xxxxxxxx-xxxx-4xxx-yxxx-xxxxxxxxxxxx";
  for (char& c : uuid) {
    if (c == 'x') c = kDigits[rng_.below(16)];
    if (c == 'y') c = kDigits[8 + rng_.below(4)];
  }
  return uuid;
}

}  // namespace mta
