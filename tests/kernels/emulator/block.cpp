// Fibers, their meeting points, and the order in which they run.
#include "tests/kernels/emulator/block.h"

#include <cuda_runtime.h>
#include <ucontext.h>

#include <algorithm>
#include <csetjmp>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <memory>
#include <numeric>
#include <random>
#include <vector>

// NOLINTBEGIN(readability-identifier-naming): CUDA's names.
constinit thread_local uint3 threadIdx = {}, blockIdx = {};
constinit thread_local dim3 blockDim = {}, gridDim = {};
// NOLINTEND(readability-identifier-naming)

namespace mta::emulator {
namespace {

constexpr std::size_t kStackBytes = 128 * 1024;

enum class Wait { Nothing, Warp, Block, Returned };

struct Copy {
  void* target;
  const void* source;  // null: zeros
  std::size_t bytes;
};

struct Thread {
  uint3 index{};
  Wait wait = Wait::Returned;
  std::vector<Copy> copies;                // under way, the oldest first
  std::vector<std::size_t> closed_groups;  // where each group ends in `copies`
  std::jmp_buf resume{};
  std::unique_ptr<std::byte[]> stack;
};

struct Warp {
  void* given[kLanes];
  WarpWork work = nullptr;
  int arrived = 0;
};

/// One OS thread runs one block at a time.
struct Block {
  std::vector<std::unique_ptr<Thread>> threads;
  std::vector<Warp> warps;
  int running = -1;
  int thread_count = 0;
  const std::function<void()>* kernel = nullptr;
  std::jmp_buf scheduler{};
  ucontext_t origin{}, start{};
  std::mt19937_64 order{1};
};
thread_local Block block;

Thread& self() { return *block.threads[static_cast<std::size_t>(block.running)]; }

void leave() {
  Thread& thread = self();
  if (_setjmp(thread.resume) == 0) _longjmp(block.scheduler, 1);
}

/// A fiber lives for ever: it runs the kernel of one block after another.
void fiber() {
  for (;;) {
    (*block.kernel)();
    Thread& thread = self();
    thread.wait = Wait::Returned;
    leave();
  }
}

void enter(int index) {
  block.running = index;
  Thread& thread = self();
  threadIdx = thread.index;
  if (_setjmp(block.scheduler) != 0) return;
  if (thread.stack != nullptr) _longjmp(thread.resume, 1);
  thread.stack = std::make_unique<std::byte[]>(kStackBytes);
  getcontext(&block.start);
  block.start.uc_stack = {thread.stack.get(), 0, kStackBytes};
  block.start.uc_link = &block.origin;
  makecontext(&block.start, fiber, 0);
  setcontext(&block.start);
}

/// Runs a warp until each of its lanes waits for the block or has returned.
void run_warp(int warp) {
  const int first = warp * kLanes, end = std::min(first + kLanes, block.thread_count);
  const bool backwards = block.order() % 2 == 0;
  for (bool moved = true; moved;) {
    moved = false;
    for (int n = first; n < end; ++n) {
      const int index = backwards ? end - 1 - (n - first) : n;
      if (block.threads[static_cast<std::size_t>(index)]->wait != Wait::Nothing) continue;
      enter(index);
      moved = true;
    }
  }
  for (int n = first; n < end; ++n) {
    if (block.threads[static_cast<std::size_t>(n)]->wait != Wait::Warp) continue;
    block.running = n;
    fail("waits for lanes of its warp that have returned or wait at a barrier");
  }
}

void run_block() {
  const int warp_count = (block.thread_count + kLanes - 1) / kLanes;
  block.warps.assign(static_cast<std::size_t>(warp_count), {});
  for (int n = 0; n < block.thread_count; ++n) {
    Thread& thread = *block.threads[static_cast<std::size_t>(n)];
    const auto place = static_cast<unsigned>(n);
    thread.index = {place % blockDim.x, place / blockDim.x % blockDim.y,
                    place / blockDim.x / blockDim.y};
    thread.wait = Wait::Nothing;
    thread.copies.clear();
    thread.closed_groups.clear();
  }
  std::vector<int> warps(static_cast<std::size_t>(warp_count));
  std::iota(warps.begin(), warps.end(), 0);
  for (bool waits = true; waits;) {
    std::shuffle(warps.begin(), warps.end(), block.order);
    for (const int warp : warps) run_warp(warp);
    waits = false;
    for (int n = 0; n < block.thread_count; ++n) {
      Thread& thread = *block.threads[static_cast<std::size_t>(n)];
      if (thread.wait != Wait::Block) continue;
      thread.wait = Wait::Nothing;  // all have arrived or returned
      waits = true;
    }
  }
}

}  // namespace

void fail(const char* what) {
  std::fprintf(stderr, "emulated kernel: block (%u, %u, %u), thread %d: %s\n", blockIdx.x,
               blockIdx.y, blockIdx.z, block.running, what);
  std::abort();
}

void set_order(std::uint64_t seed) { block.order.seed(seed); }

void meet_block() {
  self().wait = Wait::Block;
  leave();
}

void meet_warp(void* mine, WarpWork work) {
  const int lane = block.running % kLanes, first = block.running - lane;
  if (first + kLanes > block.thread_count) fail("is in a warp of fewer than 32 threads");
  Warp& warp = block.warps[static_cast<std::size_t>(block.running / kLanes)];
  if (warp.arrived > 0 && warp.work != work) fail("meets lanes that are at another instruction");
  warp.work = work;
  warp.given[lane] = mine;
  if (++warp.arrived < kLanes) {
    self().wait = Wait::Warp;
    leave();
    return;
  }
  work(warp.given);
  warp.arrived = 0;
  for (int n = first; n < first + kLanes; ++n)
    block.threads[static_cast<std::size_t>(n)]->wait = Wait::Nothing;
}

void copy_later(void* target, const void* source, std::size_t bytes) {
  self().copies.push_back({target, source, bytes});
}

void close_copy_group() { self().closed_groups.push_back(self().copies.size()); }

void finish_copies(int pending_groups) {
  Thread& thread = self();
  auto& groups = thread.closed_groups;
  const auto done = static_cast<std::ptrdiff_t>(groups.size()) - pending_groups;
  if (done <= 0) return;
  const std::size_t end = groups[static_cast<std::size_t>(done - 1)];
  for (std::size_t n = 0; n < end; ++n) {
    const Copy& copy = thread.copies[n];
    if (copy.source == nullptr) {
      std::memset(copy.target, 0, copy.bytes);
    } else {
      std::memcpy(copy.target, copy.source, copy.bytes);
    }
  }
  thread.copies.erase(thread.copies.begin(),
                      thread.copies.begin() + static_cast<std::ptrdiff_t>(end));
  groups.erase(groups.begin(), groups.begin() + done);
  for (std::size_t& group : groups) group -= end;
}

void run_grid(Size3 grid, Size3 size, std::size_t shared_bytes, std::byte* shared,
              const std::function<void()>& kernel) {
  gridDim = {grid.x, grid.y, grid.z};
  blockDim = {size.x, size.y, size.z};
  block.thread_count = static_cast<int>(size.x * size.y * size.z);
  block.kernel = &kernel;
  while (static_cast<int>(block.threads.size()) < block.thread_count)
    block.threads.push_back(std::make_unique<Thread>());

  std::vector<std::uint64_t> blocks(std::uint64_t{grid.x} * grid.y * grid.z);
  std::iota(blocks.begin(), blocks.end(), std::uint64_t{0});
  std::shuffle(blocks.begin(), blocks.end(), block.order);
  std::byte* end = shared + shared_bytes;
  for (const std::uint64_t n : blocks) {
    blockIdx = {static_cast<unsigned>(n % grid.x), static_cast<unsigned>(n / grid.x % grid.y),
                static_cast<unsigned>(n / grid.x / grid.y)};
    std::memset(shared, 0xFF, shared_bytes + kGuardBytes);
    run_block();
    if (std::any_of(end, end + kGuardBytes, [](std::byte b) { return b != std::byte{0xFF}; }))
      fail("somebody wrote past the shared memory of the launch");
  }
}

}  // namespace mta::emulator
