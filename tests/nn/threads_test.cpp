// Our CPU code shares its work among threads as LibTorch's own does.
#include <ATen/Parallel.h>
#include <gtest/gtest.h>

#include <array>
#include <cstddef>
#include <cstdint>

namespace mta {
namespace {

TEST(Threads, TakePartsOfALoop) {
  const int before = at::get_num_threads();
  at::set_num_threads(2);
  std::array<int, 2> thread = {-1, -1};
  at::parallel_for(0, 2, /*grain_size=*/1, [&](std::int64_t begin, std::int64_t end) {
    for (std::int64_t i = begin; i < end; ++i) {
      thread.at(static_cast<std::size_t>(i)) = at::get_thread_num();
    }
  });
  at::set_num_threads(before);
  EXPECT_EQ(thread[0], 0);
  EXPECT_EQ(thread[1], 1);
}

}  // namespace
}  // namespace mta
