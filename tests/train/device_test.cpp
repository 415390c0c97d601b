// Choosing a device, and saying why not.
#include "lib/train/device.h"

#include "lib/core/error.h"

#include <gtest/gtest.h>

namespace mta {
namespace {

std::string refusal(const std::string& request) {
  try {
    resolve_device(request);
  } catch (const UserError& error) {
    return error.what();
  }
  return {};
}

TEST(Device, TheCpuIsAlwaysThere) {
  EXPECT_TRUE(resolve_device("cpu").is_cpu());
  EXPECT_EQ(devices().front().name, "cpu");
  EXPECT_NE(devices().front().description, "");
  EXPECT_GT(devices().front().memory_bytes, 1 << 20);
  EXPECT_GT(peak_memory_bytes(at::kCPU), 1 << 20);
}

TEST(Device, AutoIsTheFirstGpuOrElseTheCpu) {
  EXPECT_EQ(resolve_device("auto").is_cpu(), devices().size() == 1);
}

TEST(Device, NamesWhatItDoesNotKnow) {
  for (const char* request : {"gpu", "cuda:", "cuda:x", "cuda:-1", "cuda:1x", ""}) {
    EXPECT_NE(refusal(request).find("unknown (known: auto, cpu, cuda, cuda:<index>)"),
              std::string::npos)
        << request << ": " << refusal(request);
  }
}

TEST(Device, SaysWhyAGpuIsNotThere) {
  const auto gpus = devices().size() - 1;
  const std::string message = refusal("cuda:" + std::to_string(gpus));
  EXPECT_EQ(message.rfind("--device cuda:", 0), 0u) << message;
  EXPECT_EQ(message.find('\n'), std::string::npos) << message;
}

TEST(Device, KnowsLibTorch) { EXPECT_EQ(libtorch_version().rfind("2.", 0), 0u); }

}  // namespace
}  // namespace mta
