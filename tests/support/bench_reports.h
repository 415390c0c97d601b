// Reports of benchmarks made up for tests, with round figures.
#pragma once

#include "lib/core/json.h"

#include <cstdint>
#include <string>
#include <tuple>
#include <vector>

namespace mta::check {

/// The median and quartiles a quarter away.
inline Json spread_around(double median) {
  return {{"median", median}, {"quartiles", {median - 0.25, median + 0.25}}};
}

struct MadeUpCase {
  std::string name;
  std::int64_t tokens = 512;
  bool composed = true;  // whether that path ran
};

/// A pass that took `ms`, where standard attention took `standard`.
inline Json made_up_pass(double ms, double standard, bool chain) {
  return {{"ms", spread_around(ms)},
          {"ratio_to_standard", spread_around(ms / standard)},
          {"operations", 1000.0},
          {"share_of_matrix_rate", 1 / ms},
          {"share_of_bandwidth", chain ? Json(0.4) : Json()}};
}

/// Standard: 0.5 and 2 ms, 1 MiB; fused: 2 and 8 ms, 4 MiB; composed: 10 and 40 ms, 16 MiB.
inline Json attention_report(const std::vector<MadeUpCase>& cases) {
  constexpr double kMebibyte = 1 << 20;
  Json report = {
      {"schema", "mta.bench/1"}, {"kind", "attention"}, {"turns", 3}, {"cases", Json::array()}};
  for (const MadeUpCase& one : cases) {
    Json entry = {{"case",
                   {{"name", one.name},
                    {"batch", 2},
                    {"heads", 4},
                    {"tokens", one.tokens},
                    {"head_dim", 64},
                    {"composed", one.composed},
                    {"attention", {{"kq_before", nullptr}, {"workspace_mib", 512}}}}},
                  {"precision", "bf16"},
                  {"paths", Json::array()}};
    double error = 0.002;
    for (const auto& [path, forward, peak] :
         {std::tuple("standard", 0.5, 1.0), std::tuple("fused", 2.0, 4.0),
          std::tuple("composed", 10.0, 16.0)}) {
      if (path == std::string("composed") && !one.composed) {
        entry["paths"].push_back({{"path", path},
                                  {"reason", "left out by the case"},
                                  {"forward", nullptr},
                                  {"forward_backward", nullptr}});
        continue;
      }
      const bool chain = path == std::string("fused");
      entry["paths"].push_back({{"path", path},
                                {"forward", made_up_pass(forward, 0.5, chain)},
                                {"forward_backward", made_up_pass(4 * forward, 2, chain)},
                                {"peak_memory_bytes", peak * kMebibyte},
                                {"error", {{"output", error}, {"d_q", error + 0.001}}}});
      error += 0.002;
    }
    report["cases"].push_back(std::move(entry));
  }
  return report;
}

/// Gives the fused path of a report's first case a profile: 3 ms of scores, 1.5 at least, and 1 ms
/// of kernels without a floor forward; 4 ms backward.
inline void add_stages(Json& attention_report) {
  const auto time = [](const char* key, const char* name, const char* direction, double ms) {
    return Json(
        {{key, name}, {"direction", direction}, {"ms", ms}, {"share", ms / 8}, {"launches", 1.0}});
  };
  Json scores = time("part", "scores", "forward", 3);
  scores.update({{"floor_ms", 1.5}, {"share_of_floor", 0.5}});
  Json& profile = attention_report["cases"][0]["paths"][1]["profile"];
  profile["kernel_ms"] = 8.0;
  profile["parts"] = {scores, time("part", "row statistics", "forward", 1),
                      time("part", "gradient of q", "backward", 4)};
  profile["kernels"] = {time("kernel", "scores_kernel", "forward", 3),
                        time("kernel", "sum_kernel", "backward", 4)};
}

/// Two cases; the first was profiled: 0.75 ms of matrix products and 0.25 ms of attention.
inline Json train_report() {
  constexpr double kMebibyte = 1 << 20;
  const auto time = [](const char* key, const char* name, double ms, double launches) {
    return Json({{key, name}, {"ms", ms}, {"share", ms}, {"launches", launches}});
  };
  Json plain = {{"name", "plain"},
                {"ms_per_step", spread_around(2)},
                {"ratio_to_first", spread_around(1)},
                {"tokens_per_s", 1000.0},
                {"peak_memory_bytes", 3 * kMebibyte},
                {"attention_path", {"fused", "fused"}},
                {"gpu_busy", 0.9}};
  plain["profile"]["parts"] = {time("part", "matrix products", 0.75, 3),
                               time("part", "attention", 0.25, 1)};
  plain["profile"]["kernels"] = {time("kernel", "gemm", 0.5, 2), time("kernel", "flash", 0.25, 1),
                                 time("kernel", "gemm", 0.25, 1)};
  const Json conv = {{"name", "conv"},
                     {"ms_per_step", spread_around(4)},
                     {"ratio_to_first", spread_around(2)},
                     {"tokens_per_s", 500.0},
                     {"peak_memory_bytes", 5 * kMebibyte},
                     {"attention_path", {"fused", "composed", "fused"}},
                     {"profile", nullptr}};
  return {{"schema", "mta.bench/1"}, {"kind", "train"}, {"turns", 3}, {"cases", {plain, conv}}};
}

/// Attention of one case, training steps, and decoding, which did not fit.
inline Json card_report() {
  return {{"schema", "mta.bench/1"},
          {"kind", "card"},
          {"turns", 3},
          {"reports",
           {{"attention", attention_report({{"full", 512, true}})},
            {"toy_step", train_report()},
            {"decode", {{"reason", "does not fit into the device's memory"}}}}}};
}

}  // namespace mta::check
