// The JSON type of the whole program: keys keep the order in which they were written.
#pragma once

#include <nlohmann/json.hpp>

namespace mta {

using Json = nlohmann::ordered_json;

}  // namespace mta
