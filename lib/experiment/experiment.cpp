// Puts the parts of an experiment together: reading, writing, schema, checks between parts.
#include "lib/experiment/experiment.h"

#include "lib/attention/registry.h"
#include "tasks/registry.h"

#include <fmt/format.h>

#include <algorithm>
#include <utility>
#include <vector>

namespace mta {
namespace {

const Json& part(const Document& document, const char* key) {
  static const Json empty = Json::object();
  return document.root.contains(key) ? document.root.at(key) : empty;
}

/// "variant" chooses the preset that the other keys start from.
Json attention_schema() {
  AttentionConfig standard;
  const Json rest = describe(standard).schema();
  Json schema = rest;
  schema["properties"] = {{"variant",
                           {{"enum", variant_names()},
                            {"description", "the preset that all other keys start from"},
                            {"default", standard.variant}}}};
  schema["properties"].update(rest["properties"]);
  return schema;
}

/// The keys of the top level; each part reads what is below its own.
Description describe(Experiment& experiment) {
  Description d;
  d.text("name", experiment.name,
         "name of the run in tables and pictures; the variant's name when absent");
  d.field({.key = "task",
           .doc = "what is learnt (mta list tasks)",
           .read =
               [&experiment](const Json& value, const std::string& pointer, Problems& problems) {
                 experiment.task = read_task(value, pointer, problems);
               },
           .write = [&experiment] { return to_json(*experiment.task); },
           .schema = [] { return task_schema(); }});
  d.object("model", describe(experiment.model), "the transformer");
  d.field({.key = "attention",
           .doc = "the attention variant (mta list variants)",
           .read =
               [&experiment](const Json& value, const std::string& pointer, Problems& problems) {
                 experiment.attention = read_attention(value, pointer, problems);
               },
           .write = [&experiment] { return to_json(experiment.attention); },
           .schema = [] { return attention_schema(); }});
  d.object("train", describe(experiment.train), "how it is trained");
  d.object("evaluate", describe(experiment.evaluate), "how it is scored while it trains");
  d.object("seeds", describe(experiment.seeds), "three separate sources of chance");
  return d;
}

/// What is evaluated on, and whether it can be scored as /evaluate asks for.
void choose_test_task(Experiment& experiment, Problems& problems) {
  if (!experiment.task || problems.concerns("/evaluate")) return;
  const Json& keys = experiment.evaluate.task;
  experiment.test_task = keys.empty()
                             ? experiment.task
                             : changed_task(*experiment.task, keys, "/evaluate/task", problems);
  if (!experiment.test_task) return;
  problems.require(!experiment.evaluate.greedy || experiment.test_task->answers_at_once(),
                   "/evaluate/greedy", kNoGreedy);
}

/// Checks of one part against another; a part that is wrong already is left alone.
void check_together(const Experiment& experiment, Problems& problems) {
  if (!problems.concerns("/train")) validate(experiment.train, problems);
  if (!problems.concerns("/evaluate")) validate(experiment.evaluate, problems);
  if (!problems.concerns("/model")) {
    // Without a task nothing is known of the vocabulary; the other checks still hold.
    validate(experiment.model, experiment.task ? experiment.task->vocabulary() : 0, problems);
  }
  if (!problems.concerns("/model/layers") && !problems.concerns("/train/recompute_layers")) {
    const std::int64_t wanted = experiment.train.recompute_layers, layers = experiment.model.layers;
    problems.require(wanted <= layers, "/train/recompute_layers",
                     fmt::format("must be at most /model/layers (recompute_layers {}, layers {})",
                                 wanted, layers));
  }
  if (!problems.concerns("/model") && !problems.concerns("/attention")) {
    validate(experiment.attention, experiment.model.heads, experiment.model.layers, problems);
  }
}

}  // namespace

Experiment read_experiment(const Document& document) {
  Problems problems(document);
  Experiment experiment;
  if (expect_type(document.root.is_object(), "an object", document.root, "", problems)) {
    const Description description = describe(experiment);
    Json whole = document.root;
    // The task and the variant have defaults of their own, which reading an empty object brings in.
    for (const char* key : {"task", "attention"}) whole[key] = part(document, key);
    description.read(whole, "", problems);
    check_together(experiment, problems);
    choose_test_task(experiment, problems);
  }
  problems.raise();
  if (experiment.name.empty()) experiment.name = experiment.attention.variant;
  return experiment;
}

Json to_json(const Experiment& experiment) {
  // A description binds fields for reading too; writing leaves them alone.
  return describe(const_cast<Experiment&>(experiment)).write();
}

Json experiment_schema() {
  Experiment experiment;
  Document empty;
  Problems problems(empty);
  experiment.task = read_task(Json::object(), "/task", problems);
  Json schema = describe(experiment).schema();
  Json properties = Json::object();
  properties["extends"] = {
      {"type", "string"},
      {"description", "a file, relative to this one, whose keys hold unless they stand here too"}};
  properties.update(schema["properties"]);
  schema["properties"] = std::move(properties);
  Json whole = {{"$schema", "https://json-schema.org/draft/2020-12/schema"},
                {"title", "mta experiment"}};
  whole.update(schema);
  return whole;
}

}  // namespace mta
