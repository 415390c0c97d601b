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

/// "auto": float, but for the fused path of a GPU, which computes in 16 bits.
at::ScalarType precision_of(const VerifyOptions& options, at::Device device) {
  const bool fused = options.path == "fused";
  if (options.precision == "auto") {
    return fused && device.is_cuda() ? at::kBFloat16 : at::kFloat;
  }
  if (options.precision == "fp32") return at::kFloat;
  const std::string place = "--precision " + options.precision;
  if (options.precision != "bf16" && options.precision != "fp16") {
    throw UserError(place, unknown_name_message("precision", options.precision,
                                                {"auto", "fp32", "bf16", "fp16"}));
  }
  if (!fused) {
    throw UserError(place, "the composed path is what 16 bits are measured by",
                    "add --path fused, or use fp32");
  }
  return options.precision == "bf16" ? at::kBFloat16 : at::kHalf;
}

Json to_json(const std::string& file, const GoldenReport& report) {
  Json tensors = Json::array();
  for (const GoldenResult& result : report.results) {
    tensors.push_back(
        {{"tensor", result.tensor},
         {"relative_error", result.error},
         {"tolerance", result.tolerance},
         {"composed_error", result.composed_error ? Json(*result.composed_error) : Json()},
         {"pass", result.pass}});
  }
  return {{"file", file}, {"pass", report.pass()}, {"tensors", std::move(tensors)}};
}

void print(const std::string& file, const GoldenReport& report, std::ostream& out) {
  fmt::print(out, "{}: {}\n", file, report.pass() ? "pass" : "FAIL");
  for (const GoldenResult& result : report.results) {
    fmt::print(
        out, "  {:<48} {:.2e}  (tolerance {:.0e}{}){}\n", result.tensor, result.error,
        result.tolerance,
        result.composed_error ? fmt::format(", composed {:.2e}", *result.composed_error) : "",
        result.pass ? "" : "  FAIL");
  }
}

}  // namespace

int run_verify(const VerifyOptions& options, std::ostream& out) {
  const at::Device device = resolve_device(options.device);
  const GoldenOptions golden = {
      .device = device, .path = path_of(options.path), .compute = precision_of(options, device)};
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
    fmt::print(out, "{} of {} files pass ({} path, {}, {})\n", options.files.size() - failed,
               options.files.size(), options.path, c10::toString(golden.compute), device.str());
  }
  return failed == 0 ? kDone : kBadNumbers;
}

}  // namespace mta
