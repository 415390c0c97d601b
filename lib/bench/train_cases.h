// The built-in cases of `mta bench train` and `mta bench decode`: experiments that are compared,
// standard attention first. They stand in train_cases.json; README.md beside it has their memory.
#pragma once

#include "lib/experiment/experiment.h"

#include <string>
#include <vector>

namespace mta {

std::vector<std::string> train_case_names();

/// The experiments of a case, with `settings` ("/model/layers=2") laid over each of them. Throws
/// UserError for an unknown name, at "--case <name>", and for settings that are refused.
std::vector<Experiment> train_case(const std::string& name,
                                   const std::vector<std::string>& settings);

}  // namespace mta
