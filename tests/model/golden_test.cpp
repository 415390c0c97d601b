// The library against the public reference's outputs and gradients, and against wrong variants of
// them.
#include "lib/model/golden.h"

#include "lib/core/error.h"
#include "lib/nn/safetensors.h"

#include <ATen/core/Tensor.h>
#include <gtest/gtest.h>

#include <filesystem>
#include <string>
#include <vector>

namespace mta {
namespace {

const std::filesystem::path kFolder = "tests/golden";

TensorFile read(const std::string& name) {
  return read_safetensors(kFolder / (name + ".safetensors"));
}

std::string failures(const GoldenReport& report) {
  std::string text;
  for (const GoldenResult& result : report.results) {
    if (!result.pass) text += result.tensor + ": " + std::to_string(result.error) + "\n";
  }
  return text;
}

std::vector<std::string> names() {
  std::vector<std::string> names;
  for (const auto& entry : std::filesystem::directory_iterator(kFolder)) {
    if (entry.path().extension() == ".safetensors") names.push_back(entry.path().stem());
  }
  return names;
}

void expect_all_pass(AttentionPath path) {
  const auto files = names();
  ASSERT_EQ(files.size(), 19u) << "16 single layers and 3 models";
  for (const std::string& name : files) {
    SCOPED_TRACE(name);
    const GoldenReport report = verify_golden(read(name), name, {.path = path});
    EXPECT_TRUE(report.pass()) << failures(report);
    EXPECT_GE(report.results.size(), 6u);
  }
}

TEST(Golden, ComposedPathMatchesTheReference) { expect_all_pass(AttentionPath::Composed); }

TEST(Golden, AutomaticPathMatchesTheReference) { expect_all_pass(AttentionPath::Auto); }

/// The file must fail after `break_it`, whatever the path.
template <class Break>
void expect_failure(const std::string& name, Break break_it) {
  for (const AttentionPath path : {AttentionPath::Composed, AttentionPath::Auto}) {
    TensorFile file = read(name);
    break_it(file);
    EXPECT_FALSE(verify_golden(file, name, {.path = path}).pass()) << name;
  }
}

TEST(Golden, FlippedKernelFails) {
  for (const std::int64_t dim : {2, 3}) {
    expect_failure("kq_pre_6x11", [dim](TensorFile& file) {
      at::Tensor& kernel = file.tensors.at("param.mta_kernel");
      kernel = kernel.flip(dim).contiguous();
    });
    expect_failure("kq_post_6x11", [dim](TensorFile& file) {
      at::Tensor& kernel = file.tensors.at("param.mta_kernel_after_sm");
      kernel = kernel.flip(dim).contiguous();
    });
  }
}

TEST(Golden, KernelOfTheWrongHeadFails) {
  expect_failure("kq_pre_2x9", [](TensorFile& file) {
    at::Tensor& kernel = file.tensors.at("param.mta_kernel");
    kernel = kernel.roll(1, 0).contiguous();
  });
}

TEST(Golden, TransposedMixingFails) {
  for (const auto& [name, key] :
       std::vector<std::pair<std::string, std::string>>{{"talking_heads", "param.wpsm.weight"},
                                                        {"talking_heads", "param.wposm.weight"},
                                                        {"heads_post_c2", "param.head_kernel"},
                                                        {"heads_post_c4", "param.head_kernel"}}) {
    expect_failure(name, [&key = key](TensorFile& file) {
      at::Tensor& weight = file.tensors.at(key);
      weight = weight.transpose(-1, -2).contiguous();
    });
  }
}

/// Writes another value of one key into the configuration of the file.
void configure(TensorFile& file, const std::string& from, const std::string& to) {
  std::string& config = file.metadata.at("config");
  const std::size_t at = config.find(from);
  ASSERT_NE(at, std::string::npos) << config;
  config.replace(at, from.size(), to);
}

TEST(Golden, WrongPaddingFails) {
  for (const auto& [name, right, wrong] :
       std::vector<std::array<std::string, 3>>{{"kq_pre_2x9", "both", "left"},
                                               {"kq_pre_pad_left", "left", "right"},
                                               {"kq_pre_pad_right", "right", "both"}}) {
    expect_failure(name, [&, from = right, to = wrong](TensorFile& file) {
      configure(file, "\"pad_key\": \"" + from + "\"", "\"pad_key\": \"" + to + "\"");
    });
  }
}

TEST(Golden, WrongDepthScaleFails) {
  expect_failure("full_mta_depth_scale", [](TensorFile& file) {
    configure(file, "\"layer_norm_rescale\": true", "\"layer_norm_rescale\": false");
  });
}

TEST(Golden, ConvolutionInTheWrongLayerIsRefused) {
  TensorFile file = read("lm_full_mta_layers");
  configure(file, "\"mta_layers\": \"1\"", "\"mta_layers\": \"2\"");
  EXPECT_THROW(verify_golden(file, "moved", {}), UserError);
}

TEST(Golden, NamesTheFileThatIsNotGolden) {
  TensorFile file = read("standard");
  file.metadata.clear();
  try {
    verify_golden(file, "other.safetensors", {});
    FAIL() << "accepted a file without metadata";
  } catch (const UserError& error) {
    EXPECT_EQ(error.problems().at(0).place, "other.safetensors");
    EXPECT_NE(error.problems().at(0).message.find("config"), std::string::npos);
  }
}

}  // namespace
}  // namespace mta
