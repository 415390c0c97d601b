// Times the kernels alone: one line a case, and JSON to a file.
// Usage: kernel_bench [--json FILE] [--case NAME] [--quick | --once]. --once: one run of each, for
// profilers.
#include "lib/core/version.h"
#include "lib/kernels/attention.h"
#include "lib/kernels/cost.h"
#include "lib/kernels/device.h"
#include "lib/kernels/workspace.h"
#include "tests/cuda/device_memory.h"

#include <cuda_runtime.h>

#include <algorithm>
#include <cctype>
#include <cmath>
#include <cstdio>
#include <cstring>
#include <fstream>
#include <memory>
#include <random>
#include <sstream>
#include <stdexcept>
#include <string>
#include <vector>

namespace {

using namespace mta::kernels;
using mta::check::DeviceMemory;
using mta::check::must;
using Bits = std::uint16_t;

constexpr int kWarmUp = 3, kRepeats = 15, kQuickRepeats = 5;

struct Case {
  std::string name;
  Problem problem;  // a kernel or a group of 0 switches a stage off
  std::size_t budget = kDefaultWorkspaceBytes;
};

Problem shape(int batch, int heads, int tokens, int head_dim) {
  Problem p;
  p.batch = batch, p.heads = heads, p.tokens = tokens, p.head_dim = head_dim;
  p.conv_before.query_span = p.conv_after.query_span = 0;
  p.mix_before.group = p.mix_after.group = 0;
  return p;
}

Problem with_convolutions(Problem p, int query_span, int key_span, bool before, bool after) {
  const Convolution conv = {nullptr, nullptr, query_span, key_span, (key_span - 1) / 2};
  if (before) p.conv_before = conv;
  if (after) p.conv_after = conv;
  return p;
}

Problem with_mixing(Problem p, int group) {
  p.mix_before.group = p.mix_after.group = group;
  return p;
}

std::vector<Case> cases() {
  const Problem main = shape(4, 16, 2048, 64), toy = shape(64, 2, 320, 128);
  const Problem full = with_mixing(with_convolutions(main, 6, 11, true, true), 16);
  const auto full_at = [&](int tokens, int batch) {
    Problem p = full;
    p.tokens = tokens, p.batch = batch;
    return p;
  };
  const std::size_t mib = std::size_t{1} << 20;
  return {{"full_mta", full},
          {"full_mta_2gib", full, 2048 * mib},
          {"full_mta_whole", full, 8192 * mib},
          {"conv_before", with_convolutions(main, 6, 11, true, false)},
          {"conv_before_2gib", with_convolutions(main, 6, 11, true, false), 2048 * mib},
          {"conv_after", with_convolutions(main, 6, 11, false, true)},
          {"full_mta_no_mixing", with_convolutions(main, 6, 11, true, true), 1600 * mib},
          {"mixing", with_mixing(main, 16)},
          {"mixing_2gib", with_mixing(main, 16), 2048 * mib},
          {"no_stage", main},
          {"full_mta_t512", full_at(512, 4)},
          {"full_mta_t1024", full_at(1024, 4)},
          {"full_mta_t4096", full_at(4096, 4)},
          {"full_mta_t8192", full_at(8192, 1)},
          {"full_mta_t16384", full_at(16384, 1)},
          {"toy_conv_before", with_convolutions(toy, 2, 9, true, false)},
          {"toy_full", with_mixing(with_convolutions(toy, 2, 9, true, true), 2)}};
}

template <class Value>
std::vector<Value> random_values(std::size_t count, double sigma) {
  static std::mt19937 generator(7);
  std::normal_distribution<float> draw(0, static_cast<float>(sigma));
  std::vector<Value> values(count);
  for (Value& value : values) {
    const float x = draw(generator);
    if constexpr (sizeof(Value) == sizeof(Bits)) {
      std::uint32_t bits;
      std::memcpy(&bits, &x, sizeof(bits));
      value = static_cast<Bits>(bits >> 16);  // bf16, cut off
    } else {
      value = x;
    }
  }
  return values;
}

/// Buffers of one case, and the two calls.
class Bench {
 public:
  explicit Bench(const Case& c) : problem_(c.problem) {
    problem_.scale = 1 / std::sqrt(static_cast<float>(problem_.head_dim));
    weights(problem_.conv_before);
    weights(problem_.conv_after);
    weights(problem_.mix_before);
    weights(problem_.mix_after);
    forward_bytes = forward_workspace_bytes(problem_, c.budget);
    backward_bytes = backward_workspace_bytes(problem_, c.budget, true);
    workspace_ = std::make_unique<DeviceMemory<char>>(std::max(forward_bytes, backward_bytes));
    for (Tensor* x : {&q_, &k_, &v_, &d_o_, &o_, &d_q_, &d_k_, &d_v_}) *x = tensor();
    lse_ = std::make_unique<DeviceMemory<float>>(
        static_cast<std::size_t>(problem_.batch * problem_.heads * problem_.tokens));
  }
  void forward(cudaStream_t stream) const {
    require(mta::kernels::forward(
        {problem_, q_, k_, v_, o_, lse_->get(), {workspace_->get(), forward_bytes}}, stream));
  }
  void backward(cudaStream_t stream) const {
    require(mta::kernels::backward({problem_,
                                    q_,
                                    k_,
                                    v_,
                                    o_,
                                    lse_->get(),
                                    d_o_,
                                    d_q_,
                                    d_k_,
                                    d_v_,
                                    {workspace_->get(), backward_bytes}},
                                   stream));
  }
  const Problem& problem() const { return problem_; }
  std::size_t forward_bytes = 0, backward_bytes = 0;

 private:
  static void require(Status status) {
    if (status != Status::Ok) throw std::runtime_error(last_error());
  }
  Tensor tensor() {
    const std::int64_t d = problem_.head_dim, heads = problem_.heads, tokens = problem_.tokens;
    tensors_.push_back(std::make_unique<DeviceMemory<Bits>>(
        random_values<Bits>(static_cast<std::size_t>(problem_.batch * heads * tokens * d), 1)));
    return {tensors_.back()->get(), heads * tokens * d, d, heads * d};  // [B, T, H, d] in memory
  }
  float* floats(int count) {
    floats_.push_back(std::make_unique<DeviceMemory<float>>(
        random_values<float>(static_cast<std::size_t>(count), 0.25)));
    return floats_.back()->get();
  }
  void weights(Convolution& conv) {
    if (conv.query_span == 0) return;
    const int count = problem_.heads * conv.query_span * conv.key_span;
    conv.kernel = floats(count), conv.gradient = floats(count);
  }
  void weights(Mixing& mix) {
    if (mix.group == 0) return;
    const int count = problem_.heads * mix.group;
    mix.weight = floats(count), mix.gradient = floats(count);
  }

  Problem problem_;
  std::unique_ptr<DeviceMemory<char>> workspace_;
  std::vector<std::unique_ptr<DeviceMemory<Bits>>> tensors_;
  std::vector<std::unique_ptr<DeviceMemory<float>>> floats_;
  std::unique_ptr<DeviceMemory<float>> lse_;
  Tensor q_, k_, v_, d_o_, o_, d_q_, d_k_, d_v_;
};

struct Timing {
  double median_ms, low_ms, high_ms;  // low and high: the middle half of the repeats
};

/// Replays a captured graph: the gaps between launches are then those of a captured training step.
template <class Run>
Timing time_graph(Run&& run, int repeats) {
  cudaStream_t stream;
  cudaGraph_t graph;
  cudaGraphExec_t replay;
  cudaEvent_t start, stop;
  must(cudaStreamCreateWithFlags(&stream, cudaStreamNonBlocking), "stream");
  run(stream);
  must(cudaStreamSynchronize(stream), "first run");
  must(cudaStreamBeginCapture(stream, cudaStreamCaptureModeThreadLocal), "capture");
  run(stream);
  must(cudaStreamEndCapture(stream, &graph), "capture");
  must(cudaGraphInstantiate(&replay, graph, 0), "instantiate");
  must(cudaEventCreate(&start), "event");
  must(cudaEventCreate(&stop), "event");
  std::vector<double> times;
  for (int n = -kWarmUp; n < repeats; ++n) {
    must(cudaEventRecord(start, stream), "record");
    must(cudaGraphLaunch(replay, stream), "replay");
    must(cudaEventRecord(stop, stream), "record");
    must(cudaStreamSynchronize(stream), "replay");
    float ms = 0;
    must(cudaEventElapsedTime(&ms, start, stop), "elapsed");
    if (n >= 0) times.push_back(static_cast<double>(ms));
  }
  cudaEventDestroy(start), cudaEventDestroy(stop);
  cudaGraphExecDestroy(replay), cudaGraphDestroy(graph), cudaStreamDestroy(stream);
  std::sort(times.begin(), times.end());
  return {times[times.size() / 2], times[times.size() / 4], times[times.size() * 3 / 4]};
}

std::string json_of(const char* name, const Timing& t, double operations, double bytes) {
  std::ostringstream text;
  text << "\"" << name << "\": {\"median_ms\": " << t.median_ms << ", \"quartiles_ms\": ["
       << t.low_ms << ", " << t.high_ms << "], \"operations\": " << operations
       << ", \"map_bytes\": " << bytes << "}";
  return text.str();
}

std::string stages_json(const Problem& p) {
  std::ostringstream text;
  const auto conv = [&](const char* name, const Convolution& c) {
    if (c.query_span > 0)
      text << ", \"" << name << "\": [" << c.query_span << ", " << c.key_span << "]";
  };
  text << "\"B\": " << p.batch << ", \"H\": " << p.heads << ", \"T\": " << p.tokens
       << ", \"d\": " << p.head_dim << ", \"type\": \"bf16\"";
  conv("conv_before", p.conv_before);
  conv("conv_after", p.conv_after);
  if (p.mix_before.group > 0) text << ", \"mixing\": " << p.mix_before.group;
  return text.str();
}

std::string run_case(const Case& c, int repeats) {
  const Bench bench(c);
  if (repeats == 0) {
    bench.forward(nullptr);
    bench.backward(nullptr);
    must(cudaDeviceSynchronize(), c.name.c_str());
    return c.name;
  }
  const Timing forward = time_graph([&](cudaStream_t s) { bench.forward(s); }, repeats);
  const Timing backward = time_graph([&](cudaStream_t s) { bench.backward(s); }, repeats);
  const Problem& p = bench.problem();
  const int shared_bytes = current_device().shared_bytes;
  const CostShape forward_cost =
                      cost_shape(p, Direction::Forward, bench.forward_bytes, shared_bytes),
                  backward_cost =
                      cost_shape(p, Direction::Backward, bench.backward_bytes, shared_bytes);
  std::printf(
      "%-18s forward %7.3f  backward %7.3f  both %7.3f ms   workspace %5zu / %5zu MiB   maps %4.2f "
      "/ %4.2f TB/s\n",
      c.name.c_str(), forward.median_ms, backward.median_ms, forward.median_ms + backward.median_ms,
      bench.forward_bytes >> 20, bench.backward_bytes >> 20,
      map_bytes(forward_cost, Pass::Forward) / forward.median_ms * 1e-9,
      map_bytes(backward_cost, Pass::Backward) / backward.median_ms * 1e-9);
  std::fflush(stdout);
  std::ostringstream text;
  text << "    {\"case\": \"" << c.name << "\", " << stages_json(p) << ", \"repeats\": " << repeats
       << ", \"forward_workspace\": " << bench.forward_bytes
       << ", \"backward_workspace\": " << bench.backward_bytes << ",\n     "
       << json_of("forward", forward, operations(forward_cost, Pass::Forward),
                  map_bytes(forward_cost, Pass::Forward))
       << ",\n     "
       << json_of("backward", backward, operations(backward_cost, Pass::Backward),
                  map_bytes(backward_cost, Pass::Backward))
       << "}";
  return text.str();
}

/// The driver's version as the kernel module tells it, such as 580.159.04; empty if it does not.
std::string driver_version() {
  std::ifstream file("/proc/driver/nvidia/version");
  std::string word;
  while (file >> word) {
    if (!word.empty() && std::isdigit(static_cast<unsigned char>(word[0])) &&
        word.find('.') != std::string::npos)
      return word;
  }
  return "";
}

std::string provenance_json(const std::string& command) {
  cudaDeviceProp properties;
  must(cudaGetDeviceProperties(&properties, 0), "device");
  const mta::Version version = mta::version();
  std::ostringstream text;
  text << "  \"device\": \"" << properties.name
       << "\", \"multiprocessors\": " << properties.multiProcessorCount << ", \"driver\": \""
       << driver_version() << "\",\n  \"nvcc\": \"" << version.cuda << "\", \"compiler\": \""
       << version.compiler << "\", \"commit\": \"" << version.commit
       << "\", \"dirty\": " << (version.dirty ? "true" : "false") << ",\n  \"command\": \""
       << command << "\",\n  \"method\": \"graph replay, events, " << kWarmUp
       << " warm-up runs, random bf16 data in [B, T, H, d] memory; operations and map_bytes by "
          "formula, see lib/kernels/cost.h\"";
  return text.str();
}

int run(int argc, char** argv) {
  std::string json, only, command = "kernel_bench";
  int repeats = kRepeats;
  for (int n = 1; n < argc; ++n) {
    const std::string flag = argv[n];
    command += " " + flag;
    if (flag == "--quick") {
      repeats = kQuickRepeats;
    } else if (flag == "--once") {
      repeats = 0;
    } else if (flag == "--json" && n + 1 < argc) {
      json = argv[++n];
    } else if (flag == "--case" && n + 1 < argc) {
      only = argv[++n];
    } else {
      std::fprintf(stderr,
                   "kernel_bench: %s: unknown (known: --json FILE, --case NAME, --quick, --once)\n",
                   flag.c_str());
      return 2;
    }
  }
  std::string results;
  for (const Case& c : cases()) {
    if (!only.empty() && c.name != only) continue;
    results += (results.empty() ? "" : ",\n") + run_case(c, repeats);
  }
  if (results.empty()) {
    std::fprintf(stderr, "kernel_bench: --case %s: unknown\n", only.c_str());
    return 2;
  }
  if (!json.empty())
    std::ofstream(json) << "{\n"
                        << provenance_json(command) << ",\n  \"cases\": [\n"
                        << results << "\n  ]\n}\n";
  return 0;
}

}  // namespace

int main(int argc, char** argv) {
  try {
    return run(argc, argv);
  } catch (const std::exception& error) {
    std::fprintf(stderr, "kernel_bench: %s\n", error.what());
    return 1;
  }
}
