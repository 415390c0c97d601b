// Reads and writes safetensors: 8 bytes header length, the header as JSON, the data back to back.
#include "lib/nn/safetensors.h"

#include "lib/core/document.h"
#include "lib/core/error.h"
#include "lib/core/files.h"
#include "lib/core/json.h"

#include <ATen/core/Tensor.h>
#include <ATen/ops/empty.h>

#include <algorithm>
#include <array>
#include <bit>
#include <cstdint>
#include <cstring>
#include <fstream>
#include <optional>
#include <ostream>
#include <string_view>
#include <utility>
#include <vector>

namespace mta {
namespace {

static_assert(std::endian::native == std::endian::little, "the format is little-endian");

constexpr std::uint64_t kLargestHeader = 100'000'000;  // the format's own limit, in bytes
constexpr std::size_t kHeaderAlignment = 8;
constexpr std::array<std::pair<std::string_view, at::ScalarType>, 10> kTypes = {{
    {"F64", at::kDouble},
    {"F32", at::kFloat},
    {"F16", at::kHalf},
    {"BF16", at::kBFloat16},
    {"I64", at::kLong},
    {"I32", at::kInt},
    {"I16", at::kShort},
    {"I8", at::kChar},
    {"U8", at::kByte},
    {"BOOL", at::kBool},
}};

std::string_view type_name(at::ScalarType type) {
  for (const auto& [name, known] : kTypes) {
    if (known == type) return name;
  }
  TORCH_CHECK(false, "safetensors has no type for ", type);
}

/// Where one tensor lies, as the header says it.
struct Entry {
  std::string name;
  at::ScalarType type = at::kFloat;
  std::vector<std::int64_t> shape{};
  std::uint64_t begin = 0, end = 0;  // bytes from the start of the data

  /// The bytes that the shape needs; nothing when they are beyond any file.
  std::optional<std::uint64_t> bytes() const {
    std::uint64_t count = at::elementSize(type);
    for (const std::int64_t size : shape) {
      if (size < 0 || __builtin_mul_overflow(count, static_cast<std::uint64_t>(size), &count)) {
        return std::nullopt;
      }
    }
    return count;
  }
};

Entry parse_entry(const std::string& name, const Json& json, const std::string& file) {
  const auto wrong = [&](const std::string& what) { return UserError(file, name + ": " + what); };
  Entry entry{.name = name};
  try {
    const auto type = json.at("dtype").get<std::string>();
    const auto* const known = std::find_if(kTypes.begin(), kTypes.end(),
                                           [&](const auto& pair) { return pair.first == type; });
    if (known == kTypes.end()) throw wrong("type " + type + " is not supported");
    entry.type = known->second;
    entry.shape = json.at("shape").get<std::vector<std::int64_t>>();
    const auto offsets = json.at("data_offsets").get<std::array<std::uint64_t, 2>>();
    entry.begin = offsets[0];
    entry.end = offsets[1];
  } catch (const Json::exception&) {
    throw wrong("needs dtype, shape and data_offsets in the header");
  }
  if (entry.end < entry.begin || entry.end - entry.begin != entry.bytes()) {
    throw wrong("data_offsets do not match its shape and dtype");
  }
  return entry;
}

/// The header's JSON text, with every claim about its length checked against the file.
std::string read_header(std::ifstream& stream, std::uint64_t file_size, const std::string& file) {
  std::uint64_t length = 0;
  stream.read(reinterpret_cast<char*>(&length), sizeof length);
  if (!stream || length > kLargestHeader || length > file_size - sizeof length) {
    throw UserError(file, "not a safetensors file: its first 8 bytes give no header length");
  }
  std::string header(length, ' ');
  stream.read(header.data(), static_cast<std::streamsize>(length));
  if (!stream) throw UserError(file, "cannot be read: ends inside its header");
  return header;
}

/// Entries in the order of their data; together they must cover it without holes.
std::vector<Entry> parse_entries(const Json& header, std::uint64_t data_size,
                                 const std::string& file) {
  std::vector<Entry> entries;
  for (const auto& [name, json] : header.items()) {
    if (name != "__metadata__") entries.push_back(parse_entry(name, json, file));
  }
  std::sort(entries.begin(), entries.end(), [](const Entry& left, const Entry& right) {
    return std::pair(left.begin, left.end) < std::pair(right.begin, right.end);
  });
  std::uint64_t position = 0;
  for (const Entry& entry : entries) {
    if (entry.begin != position) {
      throw UserError(file, entry.name + ": its data does not follow the tensor before it");
    }
    position = entry.end;
  }
  if (position != data_size) {
    throw UserError(file, "has " + std::to_string(data_size) + " bytes of data, its header names " +
                              std::to_string(position));
  }
  return entries;
}

std::map<std::string, std::string> parse_metadata(const Json& header, const std::string& file) {
  const auto found = header.find("__metadata__");
  if (found == header.end()) return {};
  try {
    return found->get<std::map<std::string, std::string>>();
  } catch (const Json::exception&) {
    throw UserError(file, "__metadata__ must map names to strings");
  }
}

/// The order in which tensors are written: wide types first, so that each is aligned to its own
/// size.
std::vector<std::pair<std::string, at::Tensor>> in_file_order(const TensorFile& file) {
  std::vector<std::pair<std::string, at::Tensor>> tensors(file.tensors.begin(), file.tensors.end());
  std::stable_sort(tensors.begin(), tensors.end(), [](const auto& left, const auto& right) {
    return left.second.element_size() > right.second.element_size();
  });
  return tensors;
}

}  // namespace

TensorFile read_safetensors(const std::filesystem::path& path) {
  const std::string name = path.string();
  std::error_code error;
  const std::uint64_t file_size = std::filesystem::file_size(path, error);
  std::ifstream stream(path, std::ios::binary);
  if (error || !stream) throw UserError(name, "cannot be read: " + error.message());
  const std::string text = read_header(stream, file_size, name);
  const Json header = parse_json(text, name);
  if (!header.is_object()) throw UserError(name, "its header is not a JSON object");

  TensorFile file{.tensors = {}, .metadata = parse_metadata(header, name)};
  const std::uint64_t data_size = file_size - sizeof(std::uint64_t) - text.size();
  for (const Entry& entry : parse_entries(header, data_size, name)) {
    at::Tensor tensor = at::empty(entry.shape, entry.type);
    stream.read(static_cast<char*>(tensor.data_ptr()),
                static_cast<std::streamsize>(tensor.nbytes()));
    if (!stream) throw UserError(name, "cannot be read: ends inside " + entry.name);
    file.tensors.emplace(entry.name, std::move(tensor));
  }
  return file;
}

void write_safetensors(const std::filesystem::path& path, const TensorFile& file) {
  const auto tensors = in_file_order(file);
  Json header = Json::object();
  if (!file.metadata.empty()) header["__metadata__"] = file.metadata;
  std::uint64_t position = 0;
  for (const auto& [name, tensor] : tensors) {
    const std::uint64_t end = position + tensor.nbytes();
    header[name] = {{"dtype", type_name(tensor.scalar_type())},
                    {"shape", tensor.sizes().vec()},
                    {"data_offsets", {position, end}}};
    position = end;
  }
  std::string text = header.dump();
  text.resize((text.size() + kHeaderAlignment - 1) / kHeaderAlignment * kHeaderAlignment, ' ');
  const std::uint64_t length = text.size();

  write_file_atomically(path, [&](std::ostream& stream) {
    stream.write(reinterpret_cast<const char*>(&length), sizeof length);
    stream.write(text.data(), static_cast<std::streamsize>(text.size()));
    for (const auto& [unused, tensor] : tensors) {
      const at::Tensor data = tensor.detach().to(at::kCPU).contiguous();
      stream.write(static_cast<const char*>(data.data_ptr()),
                   static_cast<std::streamsize>(data.nbytes()));
    }
  });
}

}  // namespace mta
