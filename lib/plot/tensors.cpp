// Readers of the two array formats.
#include "lib/plot/tensors.h"

#include "lib/core/document.h"
#include "lib/core/error.h"
#include "lib/core/files.h"

#include <fmt/core.h>
#include <fmt/ranges.h>

#include <algorithm>
#include <array>
#include <bit>
#include <cstring>
#include <fstream>
#include <regex>
#include <string_view>

namespace mta::plot {
namespace {

static_assert(std::endian::native == std::endian::little, "both formats are little-endian");

constexpr std::string_view kNpyMagic("\x93NUMPY\x01\x00", 8);
constexpr std::size_t kNpyPrefix = kNpyMagic.size() + sizeof(std::uint16_t);

/// The number of elements, or -1 when it is beyond what a file can hold.
std::int64_t count_of(const std::vector<std::int64_t>& shape) {
  std::int64_t count = 1;
  for (const std::int64_t size : shape) {
    if (size < 0 || __builtin_mul_overflow(count, size, &count)) return -1;
  }
  return count;
}

float from_bfloat16(std::uint16_t bits) {
  return std::bit_cast<float>(static_cast<std::uint32_t>(bits) << 16U);
}

template <class Stored, class Convert>
std::vector<float> converted(std::string_view bytes, Convert convert) {
  std::vector<float> values(bytes.size() / sizeof(Stored));
  for (std::size_t i = 0; i < values.size(); ++i) {
    Stored stored;
    std::memcpy(&stored, bytes.data() + i * sizeof(Stored), sizeof stored);
    values[i] = convert(stored);
  }
  return values;
}

Array array_of(const Json& entry, std::string_view bytes, const std::string& place) {
  Array array;
  array.shape = entry.at("shape").get<std::vector<std::int64_t>>();
  const auto type = entry.at("dtype").get<std::string>();
  if (type == "F32") {
    array.values = converted<float>(bytes, [](float x) { return x; });
  } else if (type == "F64") {
    array.values = converted<double>(bytes, [](double x) { return static_cast<float>(x); });
  } else if (type == "BF16") {
    array.values = converted<std::uint16_t>(bytes, from_bfloat16);
  } else {
    throw UserError(place, "has type " + type + " (readable: F32, F64, BF16)");
  }
  if (count_of(array.shape) != std::int64_t(array.values.size())) {
    throw UserError(place, "its data does not match its shape");
  }
  return array;
}

}  // namespace

std::map<std::string, Array> read_tensors(const std::filesystem::path& path,
                                          const std::vector<std::string>& endings) {
  std::ifstream file(path, std::ios::binary);
  if (!file) throw UserError(path.string(), "cannot be read");
  const auto size = std::filesystem::file_size(path);
  std::uint64_t length = 0;
  file.read(reinterpret_cast<char*>(&length), sizeof length);
  if (!file || length > size - sizeof length) {
    throw UserError(path.string(), "is not a safetensors file");
  }
  std::string text(length, ' ');
  file.read(text.data(), std::streamsize(length));
  const Json header = parse_json(text, path.string());
  std::map<std::string, Array> tensors;
  for (const auto& [name, entry] : header.items()) {
    if (std::none_of(endings.begin(), endings.end(),
                     [&name = name](const std::string& end) { return name.ends_with(end); })) {
      continue;
    }
    const std::string place = path.string() + ": " + name;
    const auto offsets = entry.at("data_offsets").get<std::array<std::uint64_t, 2>>();
    if (offsets[0] > offsets[1] || offsets[1] > size - sizeof length - length) {
      throw UserError(place, "its data lies outside of the file");
    }
    std::string bytes(offsets[1] - offsets[0], '\0');
    file.seekg(std::streamoff(sizeof length + length + offsets[0]));
    file.read(bytes.data(), std::streamsize(bytes.size()));
    tensors.emplace(name, array_of(entry, bytes, place));
  }
  return tensors;
}

std::string npy_header(const std::vector<std::int64_t>& shape) {
  // numpy wants the header to end with a newline at a multiple of 64 bytes.
  constexpr std::size_t kAlignment = 64;
  std::string text = fmt::format("{{'descr': '<f4', 'fortran_order': False, 'shape': ({},), }}",
                                 fmt::join(shape, ", "));
  const std::size_t unpadded = kNpyPrefix + text.size() + 1;
  text.append((kAlignment - unpadded % kAlignment) % kAlignment, ' ');
  text += '\n';
  const auto length = static_cast<std::uint16_t>(text.size());
  std::string header(kNpyMagic);
  header.append(reinterpret_cast<const char*>(&length), sizeof length);
  return header + text;
}

Array read_npy(const std::filesystem::path& path) {
  const std::string content = read_file(path);
  const auto wrong = [&path] {
    return UserError(path.string(), "is not a .npy file of float32 in C order");
  };
  if (!content.starts_with(kNpyMagic) || content.size() < kNpyPrefix) throw wrong();
  std::uint16_t length = 0;
  std::memcpy(&length, content.data() + kNpyMagic.size(), sizeof length);
  const std::string header = content.substr(kNpyPrefix, length);
  static const std::regex form(
      R"(\{'descr': '<f4', 'fortran_order': False, 'shape': \(([0-9, ]*)\), \}\s*)");
  std::smatch match;
  if (!std::regex_match(header, match, form)) throw wrong();
  Array array;
  const std::string sizes = match[1];
  static const std::regex number("[0-9]+");
  for (std::sregex_iterator it(sizes.begin(), sizes.end(), number), end; it != end; ++it) {
    array.shape.push_back(std::stoll(it->str()));
  }
  const std::string_view bytes = std::string_view(content).substr(kNpyPrefix + length);
  if (count_of(array.shape) * std::int64_t(sizeof(float)) != std::int64_t(bytes.size())) {
    throw wrong();
  }
  array.values = converted<float>(bytes, [](float x) { return x; });
  return array;
}

}  // namespace mta::plot
