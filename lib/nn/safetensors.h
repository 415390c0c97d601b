// Tensor files in the safetensors format: a JSON header with names, types and offsets, then raw
// data.
#pragma once

#include <ATen/core/Tensor.h>

#include <filesystem>
#include <map>
#include <string>

namespace mta {

struct TensorFile {
  std::map<std::string, at::Tensor> tensors;  // on the CPU, contiguous
  std::map<std::string, std::string> metadata;
};

/// Reads a whole file. Throws UserError naming the file when it cannot be read, is not safetensors
/// (the header's length, JSON, offsets and sizes are all checked) or has a type without a tensor
/// type.
TensorFile read_safetensors(const std::filesystem::path& path);

/// Writes a file that Python's safetensors reads, atomically: readers see the old file or the new
/// one. Equal contents give equal bytes. Tensors may be on any device and of any strides.
void write_safetensors(const std::filesystem::path& path, const TensorFile& file);

}  // namespace mta
