// Provenance from the build's version and the clock, to JSON and back.
#include "lib/report/provenance.h"

#include "lib/core/version.h"
#include "lib/train/scores.h"

#include <ctime>

namespace mta {

Provenance build_provenance() {
  const Version built = version();
  Provenance p;
  p.commit = built.commit;
  p.dirty = built.dirty;
  p.program_version = built.program;
  p.compiler = built.compiler;
  p.build_type = built.build_type;
  if (!built.cuda.empty()) p.cuda = built.cuda;
  return p;
}

Json to_json(const Provenance& p) {
  return {{"commit", p.commit},
          {"dirty", p.dirty},
          {"program_version", p.program_version},
          {"compiler", p.compiler},
          {"build_type", p.build_type},
          {"libtorch", p.libtorch},
          {"cuda", or_null(p.cuda)},
          {"driver", or_null(p.driver)},
          {"launch_plans", or_null(p.launch_plans)},
          {"device", p.device},
          {"device_description", p.device_description},
          {"threads", p.threads},
          {"command_line", p.command_line},
          {"started", p.started},
          {"ended", p.ended}};
}

Provenance provenance_from_json(const Json& json) {
  Provenance p;
  json.at("commit").get_to(p.commit);
  json.at("dirty").get_to(p.dirty);
  json.at("program_version").get_to(p.program_version);
  json.at("compiler").get_to(p.compiler);
  json.at("build_type").get_to(p.build_type);
  json.at("libtorch").get_to(p.libtorch);
  p.cuda = optional_from_json<std::string>(json.at("cuda"));
  p.driver = optional_from_json<std::string>(json.at("driver"));
  // Absent in reports that are older than the plans.
  p.launch_plans = optional_from_json<std::string>(json.value("launch_plans", Json()));
  json.at("device").get_to(p.device);
  json.at("device_description").get_to(p.device_description);
  json.at("threads").get_to(p.threads);
  json.at("command_line").get_to(p.command_line);
  json.at("started").get_to(p.started);
  json.at("ended").get_to(p.ended);
  return p;
}

std::string utc_now() {
  const std::time_t now = std::time(nullptr);
  std::tm parts{};
  ::gmtime_r(&now, &parts);
  char text[sizeof "2025-04-01T09:30:00Z"];
  return {text, std::strftime(text, sizeof text, "%Y-%m-%dT%H:%M:%SZ", &parts)};
}

std::string shell_line(const std::vector<std::string>& words) {
  constexpr auto kPlain =
      "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_-+=./,:@%";
  std::string line;
  for (const std::string& word : words) {
    if (!line.empty()) line += ' ';
    if (!word.empty() && word.find_first_not_of(kPlain) == std::string::npos) {
      line += word;
      continue;
    }
    line += '\'';
    for (const char c : word) line += c == '\'' ? std::string(R"('\'')") : std::string(1, c);
    line += '\'';
  }
  return line;
}

}  // namespace mta
