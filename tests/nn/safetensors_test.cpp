// Safetensors: round trips, equal bytes, and files that must be refused.
#include "lib/nn/safetensors.h"

#include "lib/core/error.h"
#include "lib/core/files.h"
#include "tests/support/scratch_folder.h"

#include <ATen/core/Tensor.h>
#include <ATen/ops/arange.h>
#include <ATen/ops/empty.h>
#include <gtest/gtest.h>

#include <cstdint>
#include <filesystem>
#include <fstream>
#include <string>

namespace mta {
namespace {

using check::ScratchFolder;

TensorFile example() {
  TensorFile file;
  file.metadata = {{"step", "17"}, {"text", "quotes \" and \n lines"}};
  for (const auto& [name, type] : std::map<std::string, at::ScalarType>{{"f64", at::kDouble},
                                                                        {"f32", at::kFloat},
                                                                        {"f16", at::kHalf},
                                                                        {"bf16", at::kBFloat16},
                                                                        {"i64", at::kLong},
                                                                        {"i32", at::kInt},
                                                                        {"i16", at::kShort},
                                                                        {"i8", at::kChar},
                                                                        {"u8", at::kByte},
                                                                        {"bool", at::kBool}}) {
    file.tensors[name] = at::arange(6, at::kLong).to(type).view({2, 3});
  }
  file.tensors["empty"] = at::empty({0, 4}, at::kFloat);
  file.tensors["scalar"] = at::arange(1, at::kFloat).squeeze();
  file.tensors["transposed"] = file.tensors["f32"].t();
  return file;
}

TEST(Safetensors, RoundTripKeepsEverything) {
  const ScratchFolder folder;
  const auto path = folder.path() / "a.safetensors";
  const TensorFile file = example();
  write_safetensors(path, file);
  const TensorFile back = read_safetensors(path);
  EXPECT_EQ(back.metadata, file.metadata);
  ASSERT_EQ(back.tensors.size(), file.tensors.size());
  for (const auto& [name, tensor] : file.tensors) {
    EXPECT_EQ(back.tensors.at(name).scalar_type(), tensor.scalar_type()) << name;
    EXPECT_TRUE(back.tensors.at(name).equal(tensor)) << name;
  }
}

TEST(Safetensors, EqualContentsGiveEqualBytes) {
  const ScratchFolder folder;
  write_safetensors(folder.path() / "a", example());
  write_safetensors(folder.path() / "b", example());
  EXPECT_EQ(read_file(folder.path() / "a"), read_file(folder.path() / "b"));
}

/// A file of this header and so many bytes of data.
std::filesystem::path file_of(const ScratchFolder& folder, const std::string& header,
                              std::size_t data) {
  const auto path = folder.path() / "made.safetensors";
  std::ofstream stream(path, std::ios::binary);
  const std::uint64_t length = header.size();
  stream.write(reinterpret_cast<const char*>(&length), sizeof length);
  stream << header << std::string(data, '\0');
  return path;
}

void expect_refused(const std::string& header, std::size_t data, const std::string& part) {
  const ScratchFolder folder;
  const auto path = file_of(folder, header, data);
  try {
    read_safetensors(path);
    FAIL() << "accepted " << header;
  } catch (const UserError& error) {
    EXPECT_EQ(error.problems().at(0).place.find(path.string()), 0u);
    EXPECT_NE(std::string(error.what()).find(part), std::string::npos) << error.what();
  }
}

TEST(Safetensors, RefusesWhatIsNotSafetensors) {
  const ScratchFolder folder;
  EXPECT_THROW(read_safetensors(folder.path() / "missing"), UserError);
  std::ofstream(folder.path() / "text") << "this is a text file, and a long one at that";
  EXPECT_THROW(read_safetensors(folder.path() / "text"), UserError);
  std::ofstream(folder.path() / "empty");
  EXPECT_THROW(read_safetensors(folder.path() / "empty"), UserError);
}

TEST(Safetensors, RefusesHeadersThatDoNotMatchTheData) {
  const std::string one = R"({"a": {"dtype": "F32", "shape": [2], "data_offsets": [0, 8]}})";
  expect_refused(one, 7, "bytes of data");
  expect_refused(one, 9, "bytes of data");
  expect_refused(R"({"a": {"dtype": "F32", "shape": [3], "data_offsets": [0, 8]}})", 8, "a:");
  expect_refused(R"({"a": {"dtype": "F32", "shape": [2], "data_offsets": [4, 12]}})", 12, "a:");
  expect_refused(R"({"a": {"dtype": "F32", "shape": [-2], "data_offsets": [0, 8]}})", 8, "a:");
  expect_refused(
      R"({"a": {"dtype": "F32", "shape": [4294967296, 4294967296, 4], "data_offsets": [0, 0]}})", 0,
      "a:");
  expect_refused(R"({"a": {"dtype": "F8", "shape": [8], "data_offsets": [0, 8]}})", 8, "F8");
  expect_refused(R"({"a": {"dtype": "F32", "shape": [2]}})", 8, "data_offsets");
  expect_refused(R"({"a": 1})", 8, "a:");
  expect_refused("[]", 0, "object");
  expect_refused("{", 0, "made.safetensors");
  expect_refused(R"({"__metadata__": {"a": 1}})", 0, "strings");
}

}  // namespace
}  // namespace mta
