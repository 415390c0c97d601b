// `mta generate`: samples of a task as JSONL.
#include "lib/data/generate.h"

#include "apps/mta/commands.h"
#include "lib/core/document.h"
#include "lib/core/files.h"
#include "tasks/registry.h"

#include <ostream>

namespace mta {
namespace {

Split split_of(const std::string& name) {
  if (name == "train") return Split::Train;
  if (name == "test") return Split::Test;
  throw UserError("--split " + name, unknown_name_message("split", name, {"train", "test"}));
}

SampleFormat format_of(const std::string& name) {
  if (name == "mta") return SampleFormat::Mta;
  if (name == "ruler") return SampleFormat::Ruler;
  throw UserError("--format " + name, unknown_name_message("format", name, {"mta", "ruler"}));
}

std::shared_ptr<const Task> task_of(const GenerateOptions& options) {
  const std::vector<std::string> known = task_names();
  if (std::find(known.begin(), known.end(), options.task) == known.end()) {
    throw UserError("mta generate", unknown_name_message("task", options.task, known));
  }
  Document document = document_of(options.settings);
  document.root["kind"] = options.task;
  Problems problems(document);
  auto task = read_task(document.root, "", problems);
  problems.raise();
  return task;
}

}  // namespace

int run_generate(const GenerateOptions& options, std::ostream& out, std::ostream& err) {
  const GenerateRequest request = {.split = split_of(options.split),
                                   .count = static_cast<std::int64_t>(options.count),
                                   .seed = options.seed,
                                   .format = format_of(options.format)};
  const auto task = task_of(options);
  for (const std::string& notice : task->notices()) err << "mta: note: " << notice << '\n';
  if (options.out.empty() || options.out == "-") {
    generate(*task, request, out);
  } else {
    write_file_atomically(options.out, [&](std::ostream& file) { generate(*task, request, file); });
  }
  return kDone;
}

}  // namespace mta
