// Builds what a golden file describes, loads its parameters, and compares outputs and gradients.
#include "lib/model/golden.h"

#include "lib/attention/layer.h"
#include "lib/core/document.h"
#include "lib/core/error.h"
#include "lib/core/rng.h"
#include "lib/model/language_model.h"
#include "lib/nn/cross_entropy.h"
#include "lib/nn/rotary.h"
#include "lib/ops/precision.h"

#include <ATen/TensorOperators.h>
#include <ATen/core/Tensor.h>
#include <ATen/core/grad_mode.h>
#include <ATen/ops/empty.h>

#include <algorithm>
#include <cmath>
#include <cstddef>
#include <cstdint>
#include <functional>
#include <sstream>
#include <string>
#include <utility>
#include <vector>

namespace mta {
namespace {

constexpr double kOutputTolerance = 1e-5;
constexpr double kGradientTolerance = 1e-4;
constexpr std::uint64_t kDraws = 16;
constexpr double kSpread = 0x1p-7;  // every rounding falls anew, also bf16's

/// How a golden file is run.
struct Trial {
  AttentionPath path;
  at::ScalarType compute;
  std::uint64_t draw = 0;  // of the parameters; 0: the file's own
};

/// A golden file with messages that name it when something is missing.
struct Golden {
  const TensorFile& file;
  const std::string& name;
  at::Device device;

  bool is_model() const { return file.tensors.contains("tokens"); }
  const at::Tensor& tensor(const std::string& key) const {
    const auto found = file.tensors.find(key);
    if (found == file.tensors.end()) throw UserError(name, "has no tensor \"" + key + "\"");
    return found->second;
  }
  at::Tensor on_device(const std::string& key) const { return tensor(key).to(device); }
  at::Tensor activation(const std::string& key, at::ScalarType type) const {
    return tensor(key).to(device, type);
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

/// `values` times 1 + kSpread u, with u from [-1, 1) for each.
at::Tensor drawn(const at::Tensor& values, const std::string& name, std::uint64_t draw) {
  if (draw == 0) return values;
  at::Tensor factors = at::empty(values.sizes(), at::kDouble);
  Rng rng(/*seed=*/0, stream_of("golden:" + name), draw);
  auto* const data = factors.mutable_data_ptr<double>();
  for (std::int64_t i = 0; i < factors.numel(); ++i) {
    data[i] = 1 + kSpread * (2 * rng.uniform() - 1);
  }
  return values * factors.to(values.scalar_type());
}

/// Every parameter of the file with its place in `parameters`, which are set to that draw of the
/// file's values.
std::vector<Renamed> load_parameters(const Golden& golden, const Parameters& parameters,
                                     std::uint64_t draw) {
  static const std::string prefix = "param.";
  const at::NoGradGuard no_grad;
  std::vector<Renamed> loaded;
  for (const auto& [key, value] : golden.file.tensors) {
    if (!key.starts_with(prefix)) continue;
    loaded.push_back(renamed_of(key.substr(prefix.size())));
    const at::Tensor values = loaded.back().layout(drawn(value, key, draw));
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

Run run_layer(const Golden& golden, const Trial& trial) {
  const AttentionConfig config = attention_of(golden.metadata("config"), trial.path);
  const at::Tensor x = golden.activation("x", trial.compute).set_requires_grad(true);  // [B, T, D]
  const auto masters = x.options().dtype(at::kFloat).requires_grad(false);
  const LayerShape shape{
      .dim = x.size(2), .heads = golden.metadata("n_heads"), .layer = golden.metadata("layer_id")};
  Parameters parameters(/*seed=*/0, masters);
  const AttentionLayer layer(config, shape, parameters, "", trial.compute);
  const auto loaded = load_parameters(golden, parameters, trial.draw);
  const RotaryTable table =
      make_rotary_table(x.size(1), shape.head_dim(), golden.metadata("rope_theta"), masters);
  const at::Tensor y = layer.forward(x, table, {});
  y.backward(golden.activation("grad_y", trial.compute));

  Run run{.pairs = {{"y", y, golden.tensor("y"), kOutputTolerance},
                    {"grad_x", x.grad(), golden.tensor("grad_x"), kGradientTolerance}},
          .paths = {layer.path()}};
  add_gradients(golden, parameters, loaded, run);
  return run;
}

Run run_model(const Golden& golden, const Trial& trial) {
  const ModelConfig config{.dim = golden.metadata("dim"),
                           .layers = golden.metadata("n_layers"),
                           .heads = golden.metadata("n_heads"),
                           .ffn_hidden = golden.metadata("ffn_hidden").get<std::int64_t>(),
                           .rope_theta = golden.metadata("rope_theta"),
                           .vocabulary = std::nullopt};
  const std::int64_t vocabulary = golden.tensor("param.tok_embeddings.weight").size(0);
  const LanguageModel model(config, attention_of(golden.metadata("config"), trial.path), vocabulary,
                            {.device = golden.device, .compute = trial.compute});
  const auto loaded = load_parameters(golden, model.parameters(), trial.draw);
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

Run run_golden(const Golden& golden, const Trial& trial) {
  return golden.is_model() ? run_model(golden, trial) : run_layer(golden, trial);
}

/// Half a unit in the last place of 1.
double rounding_of(at::ScalarType type) { return type == at::kHalf ? 0x1p-11 : 0x1p-8; }

/// The norm of a difference over the norm of the truth, over all that was added.
class RelativeError {
 public:
  void add(const Pair& pair, const at::Tensor& truth) {
    const at::Tensor right = truth.to(at::kCPU, at::kDouble);
    const at::Tensor found = pair.ours.detach().to(at::kCPU, at::kDouble);
    TORCH_CHECK(found.sizes() == right.sizes(), pair.name, ": shape ", found.sizes(), " against ",
                right.sizes());
    difference_ = std::hypot(difference_, (found - right).norm().item<double>());
    norm_ = std::hypot(norm_, right.norm().item<double>());
  }
  double value() const { return difference_ / std::max(norm_, 1e-300); }

 private:
  double difference_ = 0, norm_ = 0;
};

/// In float: the file's own parameters against the file.
GoldenReport judge_in_float(const Golden& golden, AttentionPath path) {
  const Run run = run_golden(golden, {path, at::kFloat});
  GoldenReport report{.results = {}, .paths = run.paths};
  for (const Pair& pair : run.pairs) {
    RelativeError error;
    error.add(pair, pair.theirs);
    report.results.push_back(
        {.tensor = pair.name, .error = error.value(), .tolerance = pair.tolerance});
  }
  return report;
}

/// In 16 bits the error of a run is one draw of rounding, which for a gradient of a few entries is
/// far from the next: so both paths' errors are taken over kDraws of the parameters, of which the
/// first is the file's. The others' truth is the composed path in float.
GoldenReport judge_in_16_bits(const Golden& golden, const GoldenOptions& options) {
  std::vector<RelativeError> errors, composed_errors;
  GoldenReport report;
  for (std::uint64_t draw = 0; draw < kDraws; ++draw) {
    const Run truth = run_golden(golden, {AttentionPath::Composed, at::kFloat, draw});
    const Run run = run_golden(golden, {options.path, options.compute, draw});
    const Run composed = run_golden(golden, {AttentionPath::Composed, options.compute, draw});
    errors.resize(run.pairs.size()), composed_errors.resize(run.pairs.size());
    for (std::size_t i = 0; i < run.pairs.size(); ++i) {
      const at::Tensor& right = draw == 0 ? truth.pairs[i].theirs : truth.pairs[i].ours.detach();
      errors[i].add(run.pairs[i], right);
      composed_errors[i].add(composed.pairs[i], right);
    }
    if (draw > 0) continue;
    report.paths = run.paths;
    for (const Pair& pair : run.pairs) report.results.push_back({.tensor = pair.name});
  }
  for (std::size_t i = 0; i < errors.size(); ++i) {
    GoldenResult& result = report.results[i];
    result.error = errors[i].value();
    result.composed_error = composed_errors[i].value();
    result.tolerance = 2 * composed_errors[i].value() + rounding_of(options.compute);
  }
  return report;
}

GoldenReport judge(const Golden& golden, const GoldenOptions& options) {
  GoldenReport report = options.compute == at::kFloat ? judge_in_float(golden, options.path)
                                                      : judge_in_16_bits(golden, options);
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
  const Golden golden{.file = file, .name = name, .device = options.device};
  if (options.device.is_cuda()) ops::use_full_float32();
  try {
    return judge(golden, options);
  } catch (const Json::exception& error) {
    throw UserError(name, std::string("is not a golden file: ") + error.what());
  }
}

}  // namespace mta
