// Arrays of numbers in files, as far as pictures need them: safetensors and npy, without LibTorch.
#pragma once

#include <cstdint>
#include <filesystem>
#include <map>
#include <string>
#include <vector>

namespace mta::plot {

struct Array {
  std::vector<std::int64_t> shape;
  std::vector<float> values;  // row-major

  std::int64_t size(std::size_t dimension) const { return shape.at(dimension); }
};

/// The tensors of a safetensors file whose names end with one of `endings`; F32, F64 and BF16.
/// Throws UserError naming the file when it cannot be read or is something else.
std::map<std::string, Array> read_tensors(const std::filesystem::path& path,
                                          const std::vector<std::string>& endings);

/// A .npy file of float32, little-endian, in C order. Throws UserError naming the file otherwise.
Array read_npy(const std::filesystem::path& path);

/// What stands before the values of a .npy file (format 1.0) of float32 in C order.
std::string npy_header(const std::vector<std::int64_t>& shape);

}  // namespace mta::plot
