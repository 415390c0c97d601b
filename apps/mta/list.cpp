// `mta list`: what is built in.
#include "apps/mta/commands.h"
#include "lib/attention/registry.h"
#include "lib/core/version.h"
#include "lib/kernels/support.h"
#include "lib/train/device.h"
#include "tasks/registry.h"

#include <fmt/ostream.h>

#include <algorithm>
#include <ostream>

namespace mta {
namespace {

Json list_variants() {
  Json list = Json::array();
  for (const std::string& name : variant_names()) {
    list.push_back({{"name", name}, {"summary", find_variant(name).summary}});
  }
  return list;
}

Json list_tasks() {
  Json list = Json::array();
  for (const TaskEntry& task : task_entries()) {
    list.push_back({{"name", task.name}, {"summary", task.summary}});
  }
  return list;
}

/// The fused CPU path covers every stage; the GPU's covers what its support table says.
Json list_kernels() {
  Json list = Json::array();
  for (const kernels::SupportRow& row : kernels::support_table()) {
    list.push_back({{"name", row.what}, {"summary", row.covered}});
  }
  return list;
}

Json list_devices() {
  Json list = Json::array();
  for (const DeviceInfo& device : devices()) {
    list.push_back({{"name", device.name},
                    {"summary", device.description},
                    {"memory_bytes", device.memory_bytes}});
  }
  const std::string_view cuda = version().cuda;
  list.push_back({{"name", "cuda"},
                  {"summary", cuda.empty() ? std::string("this program was built without CUDA")
                                           : fmt::format("built with CUDA {}", cuda)}});
  return list;
}

struct Section {
  const char* name;
  Json (*list)();
};

constexpr Section kSections[] = {{"variants", list_variants},
                                 {"tasks", list_tasks},
                                 {"kernels", list_kernels},
                                 {"devices", list_devices}};

void print(const Json& list, std::ostream& out) {
  std::size_t width = 0;
  for (const Json& entry : list) {
    width = std::max(width, entry["name"].get_ref<const std::string&>().size());
  }
  for (const Json& entry : list) {
    fmt::print(out, "{:<{}}  {}\n", entry["name"].get_ref<const std::string&>(), width,
               entry["summary"].get_ref<const std::string&>());
  }
}

}  // namespace

int run_list(const ListOptions& options, std::ostream& out) {
  Json lists = Json::object();
  std::vector<std::string> names;
  for (const Section& section : kSections) {
    names.emplace_back(section.name);
    if (options.what.empty() || options.what == section.name) lists[section.name] = section.list();
  }
  if (lists.empty()) {
    throw UserError("mta list " + options.what, unknown_name_message("list", options.what, names));
  }
  if (options.json) {
    out << lists.dump(2) << '\n';
    return kDone;
  }
  for (const auto& [name, list] : lists.items()) {
    if (lists.size() > 1) out << name << ":\n";
    print(list, out);
    if (lists.size() > 1) out << '\n';
  }
  return kDone;
}

}  // namespace mta
