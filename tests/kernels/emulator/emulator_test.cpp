// The emulator itself: that it computes what the device would, and that it notices what a kernel
// must not do.
#include "lib/kernels/launch.cuh"
#include "lib/kernels/ptx.cuh"

#include <gtest/gtest.h>

#include <random>

namespace mta::kernels {
namespace {

constexpr int kThreads = 96;

void reverse_kernel(const float* from, float* to, bool with_barrier) {
  auto* const shared = dynamic_shared<float>();
  const auto n = static_cast<int>(threadIdx.x);
  shared[n] = from[n];
  if (with_barrier) __syncthreads();
  to[n] = shared[kThreads - 1 - n];
}

std::vector<float> counted() {
  std::vector<float> x(kThreads);
  for (std::size_t n = 0; n < x.size(); ++n) x[n] = static_cast<float>(n);
  return x;
}

int wrong_in_reversed(const std::vector<float>& from, const std::vector<float>& to) {
  int wrong = 0;
  for (std::size_t n = 0; n < to.size(); ++n) wrong += to[n] == from[to.size() - 1 - n] ? 0 : 1;
  return wrong;
}

TEST(Emulator, ABarrierMakesSharedMemoryVisible) {
  const std::vector<float> from = counted();
  std::vector<float> to(kThreads, -1);
  launch(reverse_kernel, 1, kThreads, sizeof(float) * kThreads, nullptr, from.data(), to.data(),
         true);
  EXPECT_EQ(cudaGetLastError(), cudaSuccess);
  EXPECT_EQ(wrong_in_reversed(from, to), 0);
}

TEST(Emulator, WithoutTheBarrierNumbersAreWrong) {
  const std::vector<float> from = counted();
  std::vector<float> to(kThreads, -1);
  launch(reverse_kernel, 1, kThreads, sizeof(float) * kThreads, nullptr, from.data(), to.data(),
         false);
  EXPECT_GE(wrong_in_reversed(from, to), kThreads / 2 - 1);
}

void copy_kernel(const Number* from, Number* to, bool waits) {
  auto* const shared = dynamic_shared<Number>();
  const int first = 8 * static_cast<int>(threadIdx.x);
  copy_async(shared + first, from + first, threadIdx.x != 1);
  commit_copies();
  if (waits) wait_for_copies<0>();
  for (int n = first; n < first + 8; ++n) to[n] = shared[n];
}

TEST(Emulator, ACopyLandsWhenItIsWaitedFor) {
  alignas(16) Number from[16], to[16], early[16];
  for (int n = 0; n < 16; ++n) from[n] = static_cast<Number>(n + 1);
  launch(copy_kernel, 1, 2, sizeof(from), nullptr, from, to, true);
  launch(copy_kernel, 1, 2, sizeof(from), nullptr, from, early, false);
  for (int n = 0; n < 16; ++n) {
    EXPECT_EQ(to[n], n < 8 ? n + 1 : 0);
    EXPECT_EQ(early[n], 0xFFFF);
  }
}

void nothing_kernel() {}

TEST(Emulator, RefusesWhatTheDriverRefuses) {
  launch(nothing_kernel, 1, 32, 49 * 1024, nullptr);
  EXPECT_EQ(cudaGetLastError(), cudaErrorInvalidValue);
  EXPECT_EQ(
      cudaFuncSetAttribute(nothing_kernel, cudaFuncAttributeMaxDynamicSharedMemorySize, 100 * 1024),
      cudaSuccess);
  launch(nothing_kernel, 1, 32, 49 * 1024, nullptr);
  EXPECT_EQ(cudaGetLastError(), cudaSuccess);
  launch(nothing_kernel, dim3(1, 65536), 32, 0, nullptr);
  EXPECT_EQ(cudaGetLastError(), cudaErrorInvalidValue);
}

void past_the_end_kernel() { dynamic_shared<float>()[4] = 0; }
void torn_warp_kernel() {
  if (threadIdx.x < 16) __syncwarp();
}

TEST(EmulatorDeathTest, EndsWithAMessageWhereADeviceMightGoOn) {
  EXPECT_DEATH(launch(past_the_end_kernel, 1, 1, 16, nullptr), "past the shared memory");
  EXPECT_DEATH(launch(torn_warp_kernel, 1, 32, 0, nullptr), "have returned or wait at a barrier");
}

/// C = A B from tiles in shared memory: A [16, 16] by rows, B [16, 8] as [8 columns, 16].
template <class E>
void product_kernel(const Number* a, const Number* b, float* c) {
  auto* const shared = dynamic_shared<Number>();
  const int lane = static_cast<int>(threadIdx.x);
  for (int n = lane; n < 256; n += kWarp) shared[n] = a[n];
  for (int n = lane; n < 128; n += kWarp) shared[256 + n] = b[n];
  __syncwarp();
  Word rows[4], columns[4];
  load_blocks(rows, shared + lane % 16 * 16 + lane / 16 * 8);
  load_blocks(columns, shared + 256 + lane % 8 * 16 + lane / 8 % 2 * 8);
  float sums[4] = {};
  mma_k16<E>(sums, rows[0], rows[1], rows[2], rows[3], columns[0], columns[1]);
  mma_k8<E>(sums, rows[0], rows[1], columns[0]);  // the first eight terms once more
  for (int e = 0; e < 4; ++e) c[(lane / 4 + e / 2 * 8) * 8 + lane % 4 * 2 + e % 2] = sums[e];
}

TEST(Emulator, MultipliesAsTheMatrixUnitDoes) {
  std::mt19937 generator(3);
  std::uniform_int_distribution<int> draw(-8, 8);  // exact in every type
  std::vector<float> x(256), y(128), c(128);
  std::vector<Number> a(256), b(128);
  const auto to_number = [](float value) { return static_cast<Number>(pack<Brain>(value, 0)); };
  for (std::size_t n = 0; n < 256; ++n)
    a[n] = to_number(x[n] = static_cast<float>(draw(generator)));
  for (std::size_t n = 0; n < 128; ++n)
    b[n] = to_number(y[n] = static_cast<float>(draw(generator)));
  launch(product_kernel<Brain>, 1, kWarp, 1024, nullptr, a.data(), b.data(), c.data());
  for (std::size_t row = 0; row < 16; ++row) {
    for (std::size_t column = 0; column < 8; ++column) {
      float expected = 0;
      for (std::size_t k = 0; k < 16; ++k)
        expected += (k < 8 ? 2.0f : 1.0f) * x[row * 16 + k] * y[column * 16 + k];
      EXPECT_EQ(c[row * 8 + column], expected) << row << ", " << column;
    }
  }
}

/// The warp's votes, all but lanes 5 and 31 for it.
void vote_kernel(unsigned* votes) {
  const int lane = static_cast<int>(threadIdx.x);
  votes[lane] = __ballot_sync(0xFFFFFFFFu, lane != 5 && lane != 31);
}

TEST(Emulator, VotesAreOfAllLanes) {
  std::vector<unsigned> votes(kWarp);
  launch(vote_kernel, 1, kWarp, 0, nullptr, votes.data());
  for (const unsigned vote : votes) EXPECT_EQ(vote, 0x7FFFFFDFu);
}

/// Each lane's words of a transposed load of a 32 x 8 tile, four blocks one above the other.
void transpose_kernel(const Number* tile, Word* words) {
  const int lane = static_cast<int>(threadIdx.x);
  Word mine[4];
  load_blocks_transposed(mine, tile + 8 * lane);
  for (int n = 0; n < 4; ++n) words[4 * lane + n] = mine[n];
}

TEST(Emulator, LoadsBlocksTransposed) {
  alignas(16) Number tile[256];
  for (int n = 0; n < 256; ++n) tile[n] = static_cast<Number>(n);
  std::vector<Word> words(128);
  launch(transpose_kernel, 1, kWarp, 0, nullptr, tile, words.data());
  for (int lane = 0; lane < kWarp; ++lane) {
    for (int n = 0; n < 4; ++n) {
      const int row = 8 * n + lane % 4 * 2, column = lane / 4;
      EXPECT_EQ(words[static_cast<std::size_t>(4 * lane + n)],
                Word{tile[8 * row + column]} | Word{tile[8 * row + 8 + column]} << 16);
    }
  }
}

TEST(Emulator, RoundsToSixteenBitsAsTheDeviceDoes) {
  EXPECT_EQ(pack<Brain>(1.0f, 1.00390625f), 0x3F803F80u);   // half way: to even
  EXPECT_EQ(pack<Brain>(1.01171875f, -2.0f), 0xC0003F82u);  // half way: to even, up
  EXPECT_EQ(pack<Half>(65504.0f, 1.0f / 3), 0x35557BFFu);
  EXPECT_EQ(pack<Half>(1e6f, 0x1p-25f), 0x00007C00u);  // infinity; half of the smallest number
}

}  // namespace
}  // namespace mta::kernels
