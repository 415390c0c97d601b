// Reading JSON documents: strict parsing, "extends", settings from the command line, places for
// messages.
#include "lib/core/document.h"

#include "lib/core/files.h"

#include <algorithm>
#include <utility>

namespace mta {
namespace {

/// nlohmann keeps the last of two equal keys and says nothing: this callback refuses the second.
class RepeatedKeys {
 public:
  explicit RepeatedKeys(std::string name) : name_(std::move(name)) {}

  bool operator()(int /*depth*/, Json::parse_event_t event, Json& parsed) {
    if (event == Json::parse_event_t::object_start) open_.emplace_back();
    if (event == Json::parse_event_t::object_end) open_.pop_back();
    if (event == Json::parse_event_t::key) {
      auto& keys = open_.back();
      const auto key = parsed.get<std::string>();
      if (std::find(keys.begin(), keys.end(), key) != keys.end()) {
        throw UserError(name_, "key \"" + key + "\" stands twice in one object",
                        "remove one of the two");
      }
      keys.push_back(key);
    }
    return true;
  }

 private:
  std::string name_;
  std::vector<std::vector<std::string>> open_;
};

/// The part of nlohmann's message that a person needs: "[json.exception.parse_error.101] parse
/// error at line 3, ..." without the bracket.
std::string without_code(const std::string& what) {
  const auto end = what.find("] ");
  return end == std::string::npos ? what : what.substr(end + 2);
}

std::string child(const std::string& pointer, const std::string& key) {
  std::string escaped;
  for (const char c : key) {
    if (c == '~')
      escaped += "~0";
    else if (c == '/')
      escaped += "~1";
    else
      escaped += c;
  }
  return pointer + "/" + escaped;
}

/// Lays `over` on top of `under`; every value taken from `over` is noted as coming from `origin`.
void merge(Json& under, const Json& over, const std::string& pointer, const std::string& origin,
           std::map<std::string, std::string>& origins) {
  if (under.is_object() && over.is_object()) {
    for (const auto& [key, value] : over.items()) {
      if (under.contains(key)) {
        merge(under[key], value, child(pointer, key), origin, origins);
      } else {
        under[key] = value;
        origins[child(pointer, key)] = origin;
      }
    }
    return;
  }
  under = over;
  // Whatever lay below this pointer is gone, and its origins with it.
  const std::string below = pointer + "/";
  std::erase_if(origins, [&](const auto& entry) { return entry.first.starts_with(below); });
  origins[pointer] = origin;
}

void lay_file(Document& document, const std::filesystem::path& path,
              std::vector<std::filesystem::path>& open) {
  const auto identity = std::filesystem::weakly_canonical(path);
  if (std::find(open.begin(), open.end(), identity) != open.end()) {
    throw UserError(path.string() + ": /extends", "the chain of \"extends\" returns to this file");
  }
  open.push_back(identity);
  Json content = parse_json(read_file(path), path.string());
  if (!content.is_object()) throw UserError(path.string(), "must hold a JSON object");
  if (content.contains("extends")) {
    if (!content["extends"].is_string()) {
      throw UserError(path.string() + ": /extends",
                      "must be the path of a file, relative to this one");
    }
    lay_file(document, path.parent_path() / content["extends"].get<std::string>(), open);
    content.erase("extends");
  }
  merge(document.root, content, "", path.string(), document.origins);
  open.pop_back();
}

/// "500" is a number, "true" a boolean, "[1,2]" a list; anything that is not JSON is a string.
Json setting_value(const std::string& text) {
  Json value = Json::parse(text, nullptr, false);
  return value.is_discarded() ? Json(text) : value;
}

void lay_setting(Document& document, const std::string& setting) {
  const auto equals = setting.find('=');
  const std::string flag = "--set " + setting;
  if (equals == std::string::npos || equals == 0) {
    throw UserError(flag, "must have the form /path=value", "for example --set /train/steps=500");
  }
  std::string pointer = setting.substr(0, equals);
  if (pointer.front() != '/') pointer.insert(pointer.begin(), '/');
  try {
    const Json::json_pointer target(pointer);
    for (auto parent = target; !parent.empty();) {
      parent = parent.parent_pointer();
      if (document.root.contains(parent) && document.root[parent].is_null())
        document.root[parent] = Json::object();
      if (document.root.contains(parent) && !document.root[parent].is_structured()) {
        throw UserError(flag, "\"" + parent.to_string() + "\" is a single value and has no keys");
      }
    }
    document.root[target] = setting_value(setting.substr(equals + 1));
    std::erase_if(document.origins,
                  [&](const auto& entry) { return entry.first.starts_with(pointer + "/"); });
  } catch (const Json::exception& error) {
    throw UserError(flag, without_code(error.what()));
  }
  document.origins[pointer] = flag;
}

}  // namespace

std::string Document::place(const std::string& pointer) const {
  for (std::string at = pointer;; at.resize(at.rfind('/'))) {
    const auto origin = origins.find(at);
    if (origin != origins.end()) {
      // A flag names the key already.
      if (origin->second.starts_with("--set ") && at == pointer) return origin->second;
      return origin->second + ": " + (pointer.empty() ? "/" : pointer);
    }
    if (at.empty()) return pointer.empty() ? "/" : pointer;
  }
}

Json parse_json(std::string_view text, const std::string& name) {
  RepeatedKeys repeated(name);
  try {
    return Json::parse(text, std::ref(repeated));
  } catch (const Json::parse_error& error) {
    throw UserError(name, without_code(error.what()));
  }
}

Document load_document(const std::filesystem::path& path,
                       const std::vector<std::string>& settings) {
  Document document;
  document.origins[""] = path.string();
  std::vector<std::filesystem::path> open;
  lay_file(document, path, open);
  for (const std::string& setting : settings) lay_setting(document, setting);
  return document;
}

Document document_of(const std::vector<std::string>& settings) {
  Document document;
  for (const std::string& setting : settings) lay_setting(document, setting);
  return document;
}

Document document_of(Json root, const std::string& name, const std::vector<std::string>& settings) {
  Document document{.root = std::move(root), .origins = {{"", name}}};
  for (const std::string& setting : settings) lay_setting(document, setting);
  return document;
}

void Problems::add(const std::string& pointer, std::string message, std::string hint) {
  pointers_.push_back(pointer);
  problems_.push_back({document_.place(pointer), std::move(message), std::move(hint)});
}

void Problems::require(bool holds, const std::string& pointer, std::string message,
                       std::string hint) {
  if (!holds) add(pointer, std::move(message), std::move(hint));
}

bool Problems::concerns(const std::string& pointer) const {
  return std::any_of(pointers_.begin(), pointers_.end(), [&](const std::string& at) {
    return at == pointer || at.starts_with(pointer + "/");
  });
}

void Problems::raise() const {
  if (!problems_.empty()) throw UserError(problems_);
}

}  // namespace mta
