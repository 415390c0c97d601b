// Runs the parts and puts their reports together.
#include "lib/bench/card_bench.h"

#include "lib/bench/attention_bench.h"
#include "lib/bench/decode_bench.h"
#include "lib/bench/provenance.h"
#include "lib/bench/repeated.h"
#include "lib/bench/train_cases.h"
#include "lib/bench/train_steps.h"
#include "lib/train/device.h"

#include <ATen/Parallel.h>
#include <c10/util/Exception.h>

namespace mta {
namespace {

Json report_of(const CardPart& part) {
  try {
    return part.bench();
  } catch (const c10::OutOfMemoryError&) {
    return {{"reason", "does not fit into the device's memory"}};
  }
}

CardPart train_part(const std::string& name, const CardSettings& settings) {
  return {name, [=] {
            return bench_train_steps({.experiments = train_case(name, {}),
                                      .timing = {.turns = settings.turns},
                                      .device = settings.device,
                                      .threads = settings.threads,
                                      .command_line = settings.command_line});
          }};
}

}  // namespace

std::vector<CardPart> usual_card_parts(const CardSettings& settings) {
  const CardPart attention = {"attention", [=] {
                                return bench_attention({.cases = usual_attention_cases(),
                                                        .turns = settings.turns,
                                                        .device = settings.device,
                                                        .threads = settings.threads,
                                                        .command_line = settings.command_line});
                              }};
  const CardPart decode = {"decode", [=] {
                             return bench_decode({.experiments = train_case("large_model", {}),
                                                  .timing = {.turns = settings.turns},
                                                  .device = settings.device,
                                                  .threads = settings.threads,
                                                  .command_line = settings.command_line});
                           }};
  // A part is profiled after its times are taken, and a process that has been profiled launches
  // more slowly from then on: the shortest step comes first. After the large model a copy of memory
  // was a tenth slower than before it, so attention, whose floors rest on one, comes second.
  return {train_part("toy_step", settings), attention, train_part("large_model", settings), decode};
}

Json bench_card(const std::vector<CardPart>& parts, const CardSettings& settings) {
  const at::Device device = resolve_device(settings.device);
  if (settings.threads > 0) at::set_num_threads(static_cast<int>(settings.threads));
  Provenance provenance = bench_provenance(device, settings.command_line);
  Json reports = Json::object();
  for (const CardPart& part : parts) {
    reports[part.name] = report_of(part);
    release_unused_memory(device);
  }
  provenance.ended = utc_now();
  return {{"schema", "mta.bench/1"},
          {"kind", "card"},
          {"turns", settings.turns},
          {"reports", std::move(reports)},
          {"provenance", to_json(provenance)}};
}

}  // namespace mta
