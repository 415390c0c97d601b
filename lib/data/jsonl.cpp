// Samples as lines of JSON: strict reading with line numbers, and writing.
#include "lib/data/jsonl.h"

#include "lib/core/document.h"
#include "lib/core/error.h"
#include "lib/text/hash.h"

#include <fmt/core.h>

#include <fstream>
#include <istream>
#include <utility>

namespace mta {
namespace {

std::string take_text(Json& object, const char* key, const std::string& place) {
  const auto found = object.find(key);
  if (found == object.end()) throw UserError(place, fmt::format("no \"{}\"", key));
  if (!found->is_string()) {
    throw UserError(place, fmt::format("\"{}\" must be a string, but is {}", key, shown(*found)));
  }
  auto text = found->get<std::string>();
  object.erase(found);
  return text;
}

}  // namespace

std::string to_jsonl(const Sample& sample) {
  Json line = {{"src", sample.src}, {"tgt", sample.tgt}};
  for (const auto& [key, value] : sample.facts.items()) line[key] = value;
  return line.dump() + '\n';
}

SampleReader::SampleReader(std::istream& stream, std::string name)
    : stream_(stream), name_(std::move(name)) {}

std::string SampleReader::place() const { return fmt::format("{}:{}", name_, line_); }

bool SampleReader::next(Sample& sample) {
  std::string text;
  do {
    if (!std::getline(stream_, text)) return false;
    ++line_;
  } while (text.find_first_not_of(" \t\r") == std::string::npos);
  Json object = parse_json(text, place());
  if (!object.is_object()) throw UserError(place(), "must be an object, but is " + shown(object));
  sample = {};
  sample.src = take_text(object, "src", place());
  sample.tgt = take_text(object, "tgt", place());
  sample.facts = std::move(object);
  sample.context = hash_text(sample.src);
  return true;
}

std::vector<Sample> read_samples(const std::filesystem::path& file, const Task& task) {
  std::ifstream stream(file);
  if (!stream) throw UserError(file.string(), "cannot be read");
  SampleReader reader(stream, file.string());
  std::vector<Sample> samples;
  for (Sample sample; reader.next(sample);) {
    try {
      task.encode(sample);
    } catch (const UserError& error) {
      const Problem& problem = error.problems().front();
      throw UserError(reader.place() + ": " + problem.place, problem.message, problem.hint);
    }
    sample.slices = task.slices(sample.facts);
    sample.part_slices = task.part_slices(sample.facts);
    samples.push_back(std::move(sample));
  }
  if (stream.bad()) throw UserError(reader.place(), "cannot be read further");
  if (samples.empty()) throw UserError(file.string(), "holds no samples");
  return samples;
}

}  // namespace mta
