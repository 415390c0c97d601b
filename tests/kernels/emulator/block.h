// Runs the blocks of a CUDA kernel on one CPU thread: every device thread is a fiber.
//
// Fibers change only where threads meet: at a barrier of the block, or at an instruction that a
// whole warp executes together. Between two such points a thread runs alone, and which warp comes
// next is drawn at random. Shared memory holds NaN before a block starts. A missing barrier, a copy
// that nobody waited for, a read of what was never written or past the launch's shared bytes thus
// give wrong numbers rather than lucky ones.
#pragma once

#include <cstddef>
#include <cstdint>
#include <functional>

namespace mta::emulator {

constexpr int kLanes = 32;
constexpr int kMaxThreads = 1024;
/// What a block of sm_90 may ask for; see cudaFuncSetAttribute in include/cuda_runtime.h.
constexpr std::size_t kMaxSharedBytes = 227 * 1024;
constexpr std::size_t kGuardBytes = 2 * 1024;  // behind them, to notice who reaches past

struct Size3 {
  unsigned x, y, z;
};

/// Runs `kernel` for every thread of every block, blocks in random order.
void run_grid(Size3 grid, Size3 block, std::size_t shared_bytes, std::byte* shared,
              const std::function<void()>& kernel);

/// __syncthreads. Threads that have returned count as arrived.
void meet_block();

/// An instruction that all 32 lanes execute together: `work(lanes)` runs once, when all have come,
/// with what each lane gave. `lanes[n]` stays valid until this lane's call returns.
using WarpWork = void (*)(void* const (&lanes)[kLanes]);
void meet_warp(void* mine, WarpWork work);

/// A copy to shared memory that lands no sooner than its group is waited for.
void copy_later(void* target, const void* source, std::size_t bytes);
void close_copy_group();
void finish_copies(int pending_groups);

/// Ends the program with a message that names the kernel's block and thread.
[[noreturn]] void fail(const char* what);

/// The order in which warps and blocks run; tests may try several.
void set_order(std::uint64_t seed);

}  // namespace mta::emulator
