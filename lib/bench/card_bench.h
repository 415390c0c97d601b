// Everything that is measured of a card, in one process: a report made of reports.
#pragma once

#include "lib/core/json.h"

#include <cstdint>
#include <functional>
#include <string>
#include <vector>

namespace mta {

/// What the parts of a card's report have in common.
struct CardSettings {
  std::size_t turns = 15;
  std::string device = "auto";
  std::int64_t threads = 0;  // of the CPU; 0 = all
  std::vector<std::string> command_line;
};

/// A benchmark and its name in the report of a card.
struct CardPart {
  std::string name;
  std::function<Json()> bench;  // gives a report of schema mta.bench/1
};

/// toy_step: its training step; attention: every built-in case; large_model: its training step;
/// decode: large_model, one text of 4096 tokens. In this order.
std::vector<CardPart> usual_card_parts(const CardSettings& settings);

/// All parts one after the other: {"schema": "mta.bench/1", "kind": "card", "turns", "reports":
/// {NAME: report, ...}, "provenance"}. Memory that a part leaves unused is given back before the
/// next. A part that does not fit into the device's memory has {"reason"} in place of its report.
Json bench_card(const std::vector<CardPart>& parts, const CardSettings& settings);

}  // namespace mta
