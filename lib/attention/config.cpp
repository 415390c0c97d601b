// Reads, writes and checks the attention part of an experiment.
#include "lib/attention/config.h"

#include "lib/attention/registry.h"

#include <set>
#include <utility>

namespace mta {
namespace {

const std::vector<std::pair<KeyPad, std::string>> kPads = {
    {KeyPad::Both, "both"}, {KeyPad::Left, "left"}, {KeyPad::Right, "right"}};
const std::vector<std::pair<Causality, std::string>> kCausalities = {{Causality::Double, "double"},
                                                                     {Causality::Exact, "exact"}};
const std::vector<std::pair<DepthScale, std::string>> kDepthScales = {
    {DepthScale::None, "none"},
    {DepthScale::Exponential, "exponential"},
    {DepthScale::InverseSqrt, "inverse_sqrt"}};
const std::vector<std::pair<GateKind, std::string>> kGates = {{GateKind::Scalar, "scalar"},
                                                              {GateKind::Vector, "vector"}};
const std::vector<std::pair<KernelInit, std::string>> kInits = {
    {KernelInit::Identity, "identity"}, {KernelInit::Zero, "zero"},
    {KernelInit::Constant, "constant"}, {KernelInit::Uniform, "uniform"},
    {KernelInit::Normal, "normal"},     {KernelInit::Diagonal, "diagonal"}};
const std::vector<std::pair<AttentionPath, std::string>> kPaths = {
    {AttentionPath::Auto, "auto"},
    {AttentionPath::Composed, "composed"},
    {AttentionPath::Fused, "fused"}};

Description describe(KqConvolutionConfig& config) {
  Description d;
  d.integer("query", config.query, "span over queries c_q: this one and those before it, in tokens",
            {.min = 1});
  d.integer("key", config.key, "span over keys c_k, in tokens", {.min = 1});
  d.choice("pad", config.pad, kPads,
           "side on which keys are padded: both, (c_k-1)/2 of it on the left; left; or right");
  return d;
}

Description describe(HeadMixingConfig& config) {
  Description d;
  d.optional_integer("group", config.group, "heads mixed with each other; null = all heads",
                     {.min = 1});
  return d;
}

Description describe(GroupNormConfig& config) {
  Description d;
  d.choice("depth_scale", config.depth_scale, kDepthScales,
           "factor in 0-based layer l: none; exponential, 0.2 + 0.6 exp(-0.3 l); "
           "inverse_sqrt, 1 / sqrt(l + 1)");
  d.real("eps", config.eps, "added to the mean square", {.above = 0});
  return d;
}

Description describe(GateConfig& config) {
  Description d;
  d.choice("kind", config.kind, kGates, "one gate for a head, or one for each of its d values");
  return d;
}

void check_group(const std::optional<HeadMixingConfig>& mixing, const std::string& key,
                 std::int64_t maps, Problems& problems) {
  const std::string pointer = "/attention/" + key + "/group";
  if (!mixing || !mixing->group || problems.concerns(pointer)) return;
  problems.require(maps % *mixing->group == 0, pointer,
                   "must divide the number of attention maps there (group " +
                       std::to_string(*mixing->group) + ", maps " + std::to_string(maps) + ")");
}

void check_kq_layers(const AttentionConfig& config, std::int64_t layers, Problems& problems) {
  const std::string pointer = "/attention/kq_layers";
  if (!config.kq_layers || problems.concerns(pointer)) return;
  problems.require(config.kq_before || config.kq_after, pointer,
                   "given, but there is no kq convolution",
                   "set kq_before or kq_after, or leave kq_layers null");
  problems.require(!config.kq_layers->empty(), pointer, "must name at least one layer",
                   "for none, set kq_before and kq_after to null");
  std::set<std::int64_t> seen;
  for (const std::int64_t layer : *config.kq_layers) {
    problems.require(layer >= 0 && layer < layers, pointer,
                     "layer " + std::to_string(layer) + " does not exist (/model/layers " +
                         std::to_string(layers) + ", counted from 0)");
    problems.require(seen.insert(layer).second, pointer,
                     "names layer " + std::to_string(layer) + " twice");
  }
}

}  // namespace

Description describe(AttentionConfig& config) {
  Description d;
  d.optional_object("kq_before", config.kq_before, describe,
                    "convolution of the scores over queries and keys, before softmax");
  d.optional_object("heads_before", config.heads_before, describe,
                    "mixing of the heads' scores, before softmax");
  d.boolean("differential", config.differential,
            "subtract the softmax maps of heads 2h and 2h+1; values then have twice the head size");
  d.optional_object("kq_after", config.kq_after, describe,
                    "convolution of the weights over queries and keys, after softmax");
  d.optional_object("heads_after", config.heads_after, describe,
                    "mixing of the heads' weights, after softmax");
  d.optional_object("group_norm", config.group_norm, describe,
                    "RMS norm of each head's output, one weight vector for all heads of a layer");
  d.optional_object("gate", config.gate, describe,
                    "sigmoid gate on each head's output, a linear function of it");
  d.optional_integers("kq_layers", config.kq_layers,
                      "layers that have the kq convolutions, counted from 0; null = all",
                      {.min = 0});
  d.choice("causality", config.causality, kCausalities,
           "keys that kq_before may read: double, up to the row read (the reference); exact, up to "
           "the row written (equation 4 of the paper)");
  d.choice("init", config.init, kInits,
           "how kq kernels start: identity; zero; constant, 0.3; uniform in (-1, 1); normal, sigma "
           "0.3 cut at 3 sigma; diagonal. Mixing matrices always start as the identity");
  d.choice("path", config.path, kPaths,
           "fused kernels where they exist (auto), always (fused) or never (composed)");
  d.integer("workspace_mib", config.workspace_mib,
            "scratch memory of the fused kernels on a GPU, which work in chunks of rows that fit; "
            "more is faster for long sequences; in MiB",
            {.min = 1});
  return d;
}

AttentionConfig read_attention(const Json& object, const std::string& pointer, Problems& problems) {
  AttentionConfig config;
  const auto variant = object.is_object() ? object.find("variant") : object.end();
  if (object.is_object() && variant != object.end()) {
    Description chooser;
    chooser.name("variant", config.variant, variant_names(), "which preset to start from");
    chooser.read({{"variant", *variant}}, pointer, problems);
    // With an unknown variant the other keys are still read, so that all problems show at once.
    if (!problems.concerns(pointer + "/variant")) config = preset(config.variant);
  }
  describe(config).read(object, pointer, problems, {"variant"});
  return config;
}

Json to_json(const AttentionConfig& config) {
  AttentionConfig copy = config;
  Json json = {{"variant", config.variant}};
  json.update(describe(copy).write());
  return json;
}

void validate(const AttentionConfig& config, std::int64_t heads, std::int64_t layers,
              Problems& problems) {
  if (config.differential && !problems.concerns("/attention/differential")) {
    problems.require(
        heads % 2 == 0, "/attention/differential",
        "pairs heads, so /model/heads must be even (heads " + std::to_string(heads) + ")");
  }
  check_group(config.heads_before, "heads_before", heads, problems);
  check_group(config.heads_after, "heads_after", config.differential ? heads / 2 : heads, problems);
  check_kq_layers(config, layers, problems);
  if (!problems.concerns("/attention/causality")) {
    problems.require(config.causality == Causality::Double || config.kq_before,
                     "/attention/causality",
                     "\"exact\" is about kq_before, which is off: the two kinds agree without it",
                     "set kq_before, or leave causality at \"double\"");
  }
  if (!problems.concerns("/attention/init")) {
    problems.require(config.init == KernelInit::Identity || config.kq_before || config.kq_after,
                     "/attention/init", "is about kq kernels, but there is no kq convolution",
                     "set kq_before or kq_after, or leave init at \"identity\"");
  }
}

}  // namespace mta
