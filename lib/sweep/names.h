// Names of runs: they say what differs, and are safe in any file system.
#pragma once

#include "lib/sweep/sweep_file.h"

#include <string>
#include <vector>

namespace mta {

/// Words for pointers: the last part, with the part before it where two would be equal:
/// "/train/lr" -> "lr", "/attention/kq_before/query" -> "kq_before.query".
std::vector<std::string> short_keys(const std::vector<std::string>& pointers);

/// "lr0.004", "schedule_cosine", "kq_before_off".
std::string setting_name(const std::string& key, const Json& value);

/// Letters, digits, '.', '_' and '-' only; never empty, never starting with '.'.
std::string safe_name(const std::string& text);

/// Eight hexadecimal digits that depend on the text alone.
std::string short_hash(const std::string& text);

}  // namespace mta
