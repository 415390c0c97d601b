// A task from settings such as "block_length=5", as the program reads it.
#pragma once

#include "lib/core/document.h"
#include "lib/core/error.h"
#include "tasks/registry.h"

#include <memory>
#include <string>
#include <vector>

namespace mta::check {

/// Throws UserError when the settings are refused.
inline std::shared_ptr<const Task> task_of(const std::string& kind,
                                           const std::vector<std::string>& settings) {
  std::vector<std::string> all = {"/task/kind=" + kind};
  for (const std::string& setting : settings) all.push_back("/task/" + setting);
  const Document document = document_of(all);
  Problems problems(document);
  std::shared_ptr<const Task> task = read_task(document.root["task"], "/task", problems);
  problems.raise();
  return task;
}

/// What the user is told about settings that are refused; empty when they are not.
inline std::string refusal(const std::string& kind, const std::vector<std::string>& settings) {
  try {
    task_of(kind, settings);
    return {};
  } catch (const UserError& error) {
    return error.what();
  }
}

}  // namespace mta::check
