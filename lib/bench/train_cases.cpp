// Reads the embedded file.
#include "lib/bench/train_cases.h"

#include "lib/core/document.h"
#include "lib/core/error.h"

#include <string_view>

namespace mta {

namespace embedded {
std::string_view train_cases();
}

namespace {

Json all_cases() { return parse_json(embedded::train_cases(), "train_cases.json"); }

}  // namespace

std::vector<std::string> train_case_names() {
  const Json cases = all_cases();
  std::vector<std::string> names;
  for (const auto& [name, unused] : cases.items()) names.push_back(name);
  return names;
}

std::vector<Experiment> train_case(const std::string& name,
                                   const std::vector<std::string>& settings) {
  const Json cases = all_cases();
  const auto found = cases.find(name);
  if (found == cases.end()) {
    throw UserError("--case " + name, unknown_name_message("case", name, train_case_names()),
                    "or give an experiment file, *.json");
  }
  std::vector<Experiment> experiments;
  for (const Json& one : found->at("experiments")) {
    Json whole = found->at("base");
    whole.update(one);
    experiments.push_back(
        read_experiment(document_of(std::move(whole), "--case " + name, settings)));
  }
  return experiments;
}

}  // namespace mta
