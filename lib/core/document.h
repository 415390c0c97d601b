// A JSON document that knows where each of its values came from.
#pragma once

#include "lib/core/error.h"
#include "lib/core/json.h"

#include <filesystem>
#include <map>
#include <string>
#include <string_view>
#include <vector>

namespace mta {

/// A JSON tree put together from files and `--set` flags.
struct Document {
  Json root = Json::object();
  std::map<std::string, std::string> origins;  // JSON pointer -> the file or flag that set it last

  /// "file: /pointer" or "--set /pointer=value": where a user finds the value that `pointer` names.
  std::string place(const std::string& pointer) const;
};

/// Parses strict JSON: no comments, no repeated keys. `name` stands in messages. Throws UserError
/// with line and column.
Json parse_json(std::string_view text, const std::string& name);

/// Reads `path`, follows "extends" (relative to the file that has it; objects are merged key by
/// key, anything else is replaced), then applies `settings` ("/train/steps=500"; the value is JSON,
/// or else taken as a string). Throws UserError: unreadable file, bad JSON, a chain of "extends"
/// that returns to itself, a malformed setting.
Document load_document(const std::filesystem::path& path, const std::vector<std::string>& settings);

/// The document that `settings` of the form key=value or /pointer=value make on their own.
Document document_of(const std::vector<std::string>& settings);

/// `root`, which messages call `name`, with `settings` laid over it.
Document document_of(Json root, const std::string& name, const std::vector<std::string>& settings);

/// Collects what is wrong with a document, so that everything is reported at once.
class Problems {
 public:
  explicit Problems(const Document& document) : document_(document) {}

  void add(const std::string& pointer, std::string message, std::string hint = {});
  void require(bool holds, const std::string& pointer, std::string message, std::string hint = {});
  bool empty() const { return problems_.empty(); }
  /// True when a problem was recorded at `pointer` or below it: checks between keys skip keys that
  /// are wrong already.
  bool concerns(const std::string& pointer) const;
  /// Throws UserError when anything was recorded.
  void raise() const;

 private:
  const Document& document_;
  std::vector<Problem> problems_;
  std::vector<std::string> pointers_;
};

}  // namespace mta
