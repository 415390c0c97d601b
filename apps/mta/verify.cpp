// `mta verify`: golden vectors through the library.
#include "apps/mta/commands.h"
#include "lib/model/golden.h"
#include "lib/train/device.h"

#include <fmt/ostream.h>

#include <ostream>

namespace mta {
namespace {

AttentionPath path_of(const std::string& name) {
  if (name == "composed") return AttentionPath::Composed;
  if (name == "fused") return AttentionPath::Fused;
  throw UserError("--path " + name, unknown_name_message("path", name, {"composed", "fused"}));
}

Json to_json(const std::string& file, const GoldenReport& report) {
  Json tensors = Json::array();
  for (const GoldenResult& result : report.results) {
    tensors.push_back({{"tensor", result.tensor},
                       {"relative_error", result.error},
                       {"tolerance", result.tolerance},
                       {"pass", result.pass}});
  }
  return {{"file", file}, {"pass", report.pass()}, {"tensors", std::move(tensors)}};
}

void print(const std::string& file, const GoldenReport& report, std::ostream& out) {
  fmt::print(out, "{}: {}\n", file, report.pass() ? "pass" : "FAIL");
  for (const GoldenResult& result : report.results) {
    fmt::print(out, "  {:<48} {:.2e}  (tolerance {:.0e}){}\n", result.tensor, result.error,
               result.tolerance, result.pass ? "" : "  FAIL");
  }
}

}  // namespace

int run_verify(const VerifyOptions& options, std::ostream& out) {
  const GoldenOptions golden = {.device = resolve_device(options.device),
                                .path = path_of(options.path)};
  Json all = Json::array();
  std::size_t failed = 0;
  for (const auto& path : options.files) {
    const GoldenReport report = verify_golden(read_safetensors(path), path.string(), golden);
    failed += report.pass() ? 0 : 1;
    if (options.json) {
      all.push_back(to_json(path.string(), report));
    } else {
      print(path.string(), report, out);
    }
  }
  if (options.json) {
    out << all.dump(2) << '\n';
  } else {
    fmt::print(out, "{} of {} files pass ({} path)\n", options.files.size() - failed,
               options.files.size(), options.path);
  }
  return failed == 0 ? kDone : kBadNumbers;
}

}  // namespace mta
