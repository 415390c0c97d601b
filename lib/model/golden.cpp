// Builds what a golden file describes, loads its parameters, and compares outputs and gradients.
#include "lib/model/golden.h"

#include "lib/attention/layer.h"
#include "lib/core/document.h"
#include "lib/core/error.h"
#include "lib/model/language_model.h"
#include "lib/nn/cross_entropy.h"
#include "lib/nn/rotary.h"
#include "lib/ops/precision.h"

#include <ATen/TensorOperators.h>
#include <ATen/core/Tensor.h>
#include <ATen/core/grad_mode.h>

#include <algorithm>
#include <cstddef>
#include <functional>
#include <map>
#include <sstream>
#include <string>
#include <utility>
#include <vector>

namespace mta {
namespace {

constexpr double kOutputTolerance = 1e-5;
constexpr double kGradientTolerance = 1e-4;

/// A golden file with messages that name it when something is missing.
struct Golden {
  const TensorFile& file;
  const std::string& name;
  const GoldenOptions& options;

  bool is_model() const { return file.tensors.contains("tokens"); }
  const at::Tensor& tensor(const std::string& key) const {
    const auto found = file.tensors.find(key);
    if (found == file.tensors.end()) throw UserError(name, "has no tensor \"" + key + "\"");
    return found->second;
  }
  at::Tensor on_device(const std::string& key) const { return tensor(key).to(options.device); }
  at::Tensor activation(const std::string& key) const {
    return tensor(key).to(options.device, options.compute);
  }
  Json metadata(const std::string& key) const {
    const auto found = file.metadata.find(key);
    if (found == file.metadata.end()) {
      throw UserError(name, "is not a golden file: its metadata has no \"" + key + "\"");
    }
    return parse_json(found->second, name + ": metadata " + key);
  }
};

std::optional<KqConvolutionConfig> kq_of(const Json& config, const std::string& side) {
  const Json& query = config.at(side + "query_kernel_size");
  const Json& key = config.at(side + "key_kernel_size");
  if (query.is_null() || key.is_null()) return std::nullopt;
  const auto pad = config.at("pad_key").get<std::string>();
  return KqConvolutionConfig{.query = query,
                             .key = key,
                             .pad = pad == "left"    ? KeyPad::Left
                                    : pad == "right" ? KeyPad::Right
                                                     : KeyPad::Both};
}

/// "1,3" -> {1, 3}
std::vector<std::int64_t> layers_of(const std::string& text) {
  std::vector<std::int64_t> layers;
  std::istringstream stream(text);
  for (std::string word; std::getline(stream, word, ',');) layers.push_back(std::stoll(word));
  return layers;
}

/// The reference's configuration in our terms.
AttentionConfig attention_of(const Json& config, AttentionPath path) {
  AttentionConfig attention;
  attention.path = path;
  if (config.at("group_norm")) {
    attention.group_norm = {.depth_scale = config.at("layer_norm_rescale") ? DepthScale::Exponential
                                                                           : DepthScale::None};
  }
  if (config.at("add_gating")) {
    attention.gate = {.kind = config.at("gate_1d") ? GateKind::Scalar : GateKind::Vector};
  }
  if (!config.at("use_mta")) return attention;
  attention.kq_before = kq_of(config, "");
  attention.kq_after = kq_of(config, "after_sm_");
  if (config.at("pre_sm_linear_head")) attention.heads_before.emplace();
  if (config.at("post_sm_linear_head")) attention.heads_after.emplace();
  if (!config.at("head_kernel_size").is_null()) {
    attention.heads_after = {.group = config.at("head_kernel_size").get<std::int64_t>()};
  }
  if (!config.at("mta_layers").is_null()) {
    attention.kq_layers = layers_of(config.at("mta_layers").get<std::string>());
  }
  return attention;
}

/// A parameter's name and layout in the reference, and in ours.
struct Renamed {
  std::string theirs, ours;
  std::function<at::Tensor(const at::Tensor&)> layout = [](const at::Tensor& tensor) {
    return tensor;
  };
};

const std::vector<Renamed>& renamed() {
  const auto squeeze = [](const at::Tensor& tensor) { return tensor.squeeze(1); };
  static const std::vector<Renamed> table = {
      {"mta_kernel", "kq_before.kernel", squeeze},
      {"mta_kernel_after_sm", "kq_after.kernel", squeeze},
      {"wpsm.weight", "heads_before.weight", [](const at::Tensor& t) { return t.unsqueeze(0); }},
      {"head_kernel", "heads_after.weight"},
      // A linear layer, (out, in), where ours is (in, out).
      {"wposm.weight", "heads_after.weight",
       [](const at::Tensor& t) { return t.t().unsqueeze(0); }},
      {"subln.weight", "group_norm.weight"}};
  return table;
}

Renamed renamed_of(const std::string& name) {
  for (const Renamed& entry : renamed()) {
    if (!name.ends_with(entry.theirs)) continue;
    const std::string prefix = name.substr(0, name.size() - entry.theirs.size());
    if (prefix.empty() || prefix.ends_with('.')) {
      return {name, prefix + entry.ours, entry.layout};
    }
  }
  return {name, name};
}

/// Every parameter of the file with its place in `parameters`, which are set to the file's values.
std::vector<Renamed> load_parameters(const Golden& golden, const Parameters& parameters) {
  static const std::string prefix = "param.";
  const at::NoGradGuard no_grad;
  std::vector<Renamed> loaded;
  for (const auto& [key, value] : golden.file.tensors) {
    if (!key.starts_with(prefix)) continue;
    loaded.push_back(renamed_of(key.substr(prefix.size())));
    const at::Tensor values = loaded.back().layout(value);
    const auto& named = parameters.named();
    const auto ours = std::find_if(named.begin(), named.end(), [&](const auto& parameter) {
      return parameter.first == loaded.back().ours;
    });
    if (ours == named.end() || ours->second.sizes() != values.sizes()) {
      throw UserError(golden.name,
                      key + ": no parameter of that name and shape in its configuration");
    }
    ours->second.copy_(values);
  }
  if (loaded.size() != parameters.named().size()) {
    throw UserError(golden.name, "has " + std::to_string(loaded.size()) + " parameters, but its " +
                                     "configuration needs " +
                                     std::to_string(parameters.named().size()));
  }
  return loaded;
}

/// A tensor that was computed, and the reference's in the same layout.
struct Pair {
  std::string name;
  at::Tensor ours, theirs;
  double tolerance;  // in float

  double error() const {
    const at::Tensor truth = theirs.to(at::kDouble);
    const at::Tensor found = ours.detach().to(at::kCPU).to(at::kDouble);
    TORCH_CHECK(found.sizes() == truth.sizes(), name, ": shape ", found.sizes(), " against ",
                truth.sizes());
    return (found - truth).norm().item<double>() / std::max(truth.norm().item<double>(), 1e-300);
  }
};

struct Run {
  std::vector<Pair> pairs;
  std::vector<AttentionPath> paths;
};

/// Adds the gradients of all parameters, which must have been computed.
void add_gradients(const Golden& golden, const Parameters& parameters,
                   const std::vector<Renamed>& loaded, Run& run) {
  for (const Renamed& parameter : loaded) {
    const std::string key = "grad." + parameter.theirs;
    run.pairs.push_back({key, parameters.at(parameter.ours).grad(),
                         parameter.layout(golden.tensor(key)), kGradientTolerance});
  }
}

Run run_layer(const Golden& golden, AttentionPath path) {
  const AttentionConfig config = attention_of(golden.metadata("config"), path);
  const at::Tensor x = golden.activation("x").set_requires_grad(true);  // [B, T, D]
  const auto masters = x.options().dtype(at::kFloat).requires_grad(false);
  const LayerShape shape{
      .dim = x.size(2), .heads = golden.metadata("n_heads"), .layer = golden.metadata("layer_id")};
  Parameters parameters(/*seed=*/0, masters);
  const AttentionLayer layer(config, shape, parameters, "", golden.options.compute);
  const auto loaded = load_parameters(golden, parameters);
  const RotaryTable table =
      make_rotary_table(x.size(1), shape.head_dim(), golden.metadata("rope_theta"), masters);
  const at::Tensor y = layer.forward(x, table, {});
  y.backward(golden.activation("grad_y"));

  Run run{.pairs = {{"y", y, golden.tensor("y"), kOutputTolerance},
                    {"grad_x", x.grad(), golden.tensor("grad_x"), kGradientTolerance}},
          .paths = {layer.path()}};
  add_gradients(golden, parameters, loaded, run);
  return run;
}

Run run_model(const Golden& golden, AttentionPath path) {
  const ModelConfig config{.dim = golden.metadata("dim"),
                           .layers = golden.metadata("n_layers"),
                           .heads = golden.metadata("n_heads"),
                           .ffn_hidden = golden.metadata("ffn_hidden").get<std::int64_t>(),
                           .rope_theta = golden.metadata("rope_theta"),
                           .vocabulary = std::nullopt};
  const std::int64_t vocabulary = golden.tensor("param.tok_embeddings.weight").size(0);
  const LanguageModel model(config, attention_of(golden.metadata("config"), path), vocabulary,
                            {.device = golden.options.device, .compute = golden.options.compute});
  const auto loaded = load_parameters(golden, model.parameters());
  const at::Tensor logits = model.forward(golden.on_device("tokens").to(at::kLong));
  const at::Tensor loss = cross_entropy(logits, golden.on_device("targets").to(at::kLong),
                                        golden.on_device("loss_mask"));
  loss.backward();

  Run run{.pairs = {{"logits", logits, golden.tensor("logits"), kOutputTolerance},
                    {"loss", loss.unsqueeze(0), golden.tensor("loss"), kOutputTolerance}},
          .paths = {}};
  for (const Block& block : model.blocks()) run.paths.push_back(block.attention().path());
  add_gradients(golden, model.parameters(), loaded, run);
  return run;
}

Run run_golden(const Golden& golden, AttentionPath path) {
  return golden.is_model() ? run_model(golden, path) : run_layer(golden, path);
}

/// Half a unit in the last place of 1.
double rounding_of(at::ScalarType type) { return type == at::kHalf ? 0x1p-11 : 0x1p-8; }

double median(std::vector<double> values) {
  const auto middle = values.begin() + static_cast<std::ptrdiff_t>(values.size() / 2);
  std::nth_element(values.begin(), middle, values.end());
  return *middle;
}

std::vector<double> composed_errors(const Golden& golden) {
  std::vector<double> errors;
  for (const Pair& pair : run_golden(golden, AttentionPath::Composed).pairs) {
    errors.push_back(pair.error());
  }
  return errors;
}

/// "grad.layers.0.attention.gate.bias" without its numbers: the same for all layers.
std::string kind_of(const std::string& tensor) {
  std::string kind;
  for (const char c : tensor) {
    if (c < '0' || c > '9') kind += c;
  }
  return kind;
}

/// The error that each tensor may have in a model by 16 bits alone. Rounding adds up through the
/// layers, and the error of a gradient of a few entries is one draw of it, the composed path's too,
/// which may be small by luck: so the largest of the layers' own, and no less than the median.
std::vector<double> errors_by_rounding(const Run& run, const std::vector<double>& composed) {
  const double least = median(composed);
  std::map<std::string, double> most;
  for (std::size_t i = 0; i < composed.size(); ++i) {
    double& error = most[kind_of(run.pairs[i].name)];
    error = std::max({error, composed[i], least});
  }
  std::vector<double> errors;
  for (const Pair& pair : run.pairs) errors.push_back(most[kind_of(pair.name)]);
  return errors;
}

GoldenReport judge(const Golden& golden) {
  const Run run = run_golden(golden, golden.options.path);
  GoldenReport report{.results = {}, .paths = run.paths};
  for (const Pair& pair : run.pairs) {
    report.results.push_back(
        {.tensor = pair.name, .error = pair.error(), .tolerance = pair.tolerance});
  }
  if (golden.options.compute != at::kFloat) {
    const std::vector<double> composed = composed_errors(golden);
    const std::vector<double> errors =
        golden.is_model() ? errors_by_rounding(run, composed) : composed;
    for (std::size_t i = 0; i < report.results.size(); ++i) {
      report.results[i].composed_error = composed[i];
      report.results[i].tolerance = 2 * errors[i] + rounding_of(golden.options.compute);
    }
  }
  for (GoldenResult& result : report.results) result.pass = result.error <= result.tolerance;
  return report;
}

}  // namespace

bool GoldenReport::pass() const {
  return std::all_of(results.begin(), results.end(),
                     [](const GoldenResult& result) { return result.pass; });
}

GoldenReport verify_golden(const TensorFile& file, const std::string& name,
                           const GoldenOptions& options) {
  const Golden golden{.file = file, .name = name, .options = options};
  if (options.device.is_cuda()) ops::use_full_float32();
  try {
    return judge(golden);
  } catch (const Json::exception& error) {
    throw UserError(name, std::string("is not a golden file: ") + error.what());
  }
}

}  // namespace mta
