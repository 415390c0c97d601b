// Needle samples in the form that RULER's own evaluation reads.
#include "lib/data/ruler_format.h"

#include "lib/core/error.h"

#include <string>

namespace mta {
namespace {

/// "What is the special magic number for Oslo?" -> "The special magic number for Oslo is"
std::string answer_prefix(const std::string& src) {
  std::string question = src.substr(src.rfind('\n') + 1);
  const bool many = question.starts_with("What are ");
  for (const std::string start : {"What is ", "What are all ", "What are "}) {
    if (!question.starts_with(start)) continue;
    question.erase(0, start.size());
    break;
  }
  question.front() = 'T';
  question.pop_back();
  return question + (many ? " are" : " is");
}

}  // namespace

Json ruler_record(const Sample& sample) {
  const Json& facts = sample.facts;
  for (const char* key : {"index", "answers", "length"}) {
    if (!facts.contains(key)) {
      throw UserError("--format ruler", "is for the task \"needle\": this sample has no \"" +
                                            std::string(key) + "\"");
    }
  }
  return {{"index", facts["index"]},
          {"input", sample.src},
          {"outputs", facts["answers"]},
          {"length", facts["length"]},
          {"answer_prefix", answer_prefix(sample.src)}};
}

}  // namespace mta
