// Argument checks, addresses, and the stages that forward and backward both run.
#include "lib/kernels/chain.h"

#include "lib/kernels/device.h"
#include "lib/kernels/dropout.h"

namespace mta::kernels {
namespace {

template <int kDim>
constexpr ProductLaunches launches() {
  return {Products<kDim>::scores,       Products<kDim>::weight_gradient,
          Products<kDim>::weighted_sum, Products<kDim>::transposed_sum,
          OnePass<kDim>::forward,       OnePassBackward<kDim>::backward};
}

ProductLaunches launches_for(int head_dim) {
  switch (head_dim) {
    case 32:
      return launches<32>();
    case 64:
      return launches<64>();
    case 96:
      return launches<96>();
    default:
      return launches<128>();
  }
}

}  // namespace

Chain::Chain(const Problem& problem, const WorkspacePlan& plan, const Workspace& workspace,
             cudaStream_t stream)
    : problem_(problem),
      plan_(plan),
      base_(static_cast<char*>(workspace.data)),
      stream_(stream),
      products_(launches_for(problem.head_dim)),
      shared_bytes_(current_device().shared_bytes) {}

void Chain::note_launch(const char* stage) {
  const cudaError_t error = cudaGetLastError();
  if (error == cudaSuccess) return;
  status_ = fail(Status::CudaError, std::string(stage) + ": " + cudaGetErrorString(error));
}

TensorView Chain::tensor(const Tensor& x) const {
  auto* data = static_cast<std::uint16_t*>(x.data) + chunk_.first_batch * x.batch_stride +
               chunk_.first_head * x.head_stride;
  return {data, x.batch_stride, x.head_stride, x.token_stride};
}

const float* Chain::rows(const float* x) const {
  return x + static_cast<std::size_t>(first_map()) * static_cast<std::size_t>(problem_.tokens);
}

const std::uint32_t* Chain::tables(std::size_t offset, int query_span,
                                   const KeyWindow& window) const {
  const int words = query_span * table_words(built_blocks(window.blocks));
  return at<std::uint32_t>(offset) + static_cast<std::size_t>(chunk_.first_head * words);
}

float* Chain::convolution_sums(std::size_t offset, const Convolution& conv, int slots) const {
  return at<float>(offset) + static_cast<std::size_t>(chunk_.first_head) *
                                 static_cast<std::size_t>(slots) *
                                 static_cast<std::size_t>(conv.query_span * conv.key_span);
}

const std::uint16_t* Chain::mixing_blocks(std::size_t offset, const MixingPlan& mix) const {
  const int block = unit_of_head(mix, chunk_.first_head) * mix.parts;
  return at<std::uint16_t>(offset) + static_cast<std::size_t>(block * kMixingBlock);
}

float* Chain::mixing_sums(std::size_t offset, const MixingPlan& mix) const {
  const int block = unit_of_head(mix, chunk_.first_head) * mix.parts;
  return at<float>(offset) + static_cast<std::size_t>(block) *
                                 static_cast<std::size_t>(mixing_sum_slots(plan_)) * kMixingBlock;
}

Extent Chain::extent(RowRange rows, int reach) const {
  return {chunk_.batches * chunk_.heads, chunk_.heads, problem_.tokens, rows, reach};
}

DropoutArgs Chain::dropout() const {
  const Dropout& d = problem_.dropout;
  return {dropout_threshold(d.rate), d.seed, d.stream, d.step, first_map()};
}

RowStatistics Chain::statistics() const {
  const bool by_strip = mixing_alone(problem_) && problem_.mix_before.weight != nullptr;
  return {at<float2>(plan_.softmax_partials), chunk_.rows.begin, plan_.rows, plan_.key_tiles,
          by_strip ? plan_.launch.mixing_keys / kTileKeys : 1};
}

RowDots Chain::dots() const {
  const int keys = mixing_alone(problem_)        ? plan_.launch.mixing_keys
                   : plan_.blocks_after.streamed ? plan_.blocks_after.keys
                                                 : kTileKeys;
  return {at<float>(plan_.dot_partials), chunk_.softmax_rows.begin, plan_.rows + kSpareRows,
          plan_.key_tiles, keys / kTileKeys};
}

MixingArgs Chain::mixing(const Mixing& mix, RowRange rows) const {
  MixingArgs args = {};
  args.extent = extent(rows, 0);
  args.plan = mixing_plan(mix, chunk_.heads, plan_.head_group);
  args.rows_a_block = plan_.launch.mixing_rows;
  args.strips = ceil_div(plan_.keys(), plan_.launch.mixing_keys);
  args.strip_tiles = plan_.launch.mixing_keys / kTileKeys;
  args.slots = plan_.sums_end > plan_.sums_begin ? mixing_sum_slots(plan_) : 0;
  return args;
}

MixingAloneArgs Chain::mixing_alone_args(const float* lse) const {
  const bool before = problem_.mix_before.weight != nullptr,
             after = problem_.mix_after.weight != nullptr,
             backward = plan_.d_weights != WorkspacePlan::kNone;
  MixingAloneArgs args = {};
  static_cast<MixingArgs&>(args) =
      mixing(before ? problem_.mix_before : problem_.mix_after, chunk_.rows);
  args.source = map(plan_.scores);
  if (lse != nullptr) args.lse = rows(lse);
  args.dropout = dropout();
  if (before) args.weights = mixing_blocks(plan_.mix_before, args.plan);
  if (after) args.weights_after = mixing_blocks(plan_.mix_after, args.plan);
  if (!backward) return args;
  args.gradient = map(plan_.d_weights);
  args.row_dots = dots();
  args.dots = at<float>(plan_.dots);
  args.dot_rows = plan_.rows + kSpareRows;
  if (before) {
    args.transposed = mixing_blocks(plan_.unmix_before, args.plan);
    args.sums = mixing_sums(plan_.mix_sums_before, args.plan);
  }
  if (after) {
    args.transposed_after = mixing_blocks(plan_.unmix_after, args.plan);
    args.sums_after = mixing_sums(plan_.mix_sums_after, args.plan);
  }
  return args;
}

void Chain::mixing_alone_statistics(const RowStatistics& wanted) {
  if (wanted.partials == nullptr) return;
  MixingAloneArgs args = mixing_alone_args(nullptr);
  args.statistics = wanted;
  run("statistics of head mixing", [&] { MixingAlone::statistics(args, stream_); });
}

void Chain::prepare(bool with_backward) {
  PreparedWeights prepared = {};
  prepared.head_group = plan_.head_group;
  prepared.table_before = at<std::uint32_t>(plan_.table_before);
  prepared.table_after = at<std::uint32_t>(plan_.table_after);
  prepared.mix_before = at<std::uint16_t>(plan_.mix_before);
  prepared.mix_after = at<std::uint16_t>(plan_.mix_after);
  if (with_backward) {
    prepared.flipped_before = at<std::uint32_t>(plan_.flipped_before);
    prepared.flipped_after = at<std::uint32_t>(plan_.flipped_after);
    prepared.unmix_before = at<std::uint16_t>(plan_.unmix_before);
    prepared.unmix_after = at<std::uint16_t>(plan_.unmix_after);
    prepared.zeros = at<char>(plan_.sums_begin);
    prepared.zero_bytes = plan_.sums_end - plan_.sums_begin;
  }
  run("prepare weights", [&] { prepare_weights(problem_, prepared, stream_); });
}

void Chain::softmax_map(const Tensor& q, const Tensor& k, bool want_statistics) {
  const RowStatistics none = {}, wanted = want_statistics ? statistics() : none;
  const bool convolves = problem_.conv_before.kernel != nullptr,
             mixes = problem_.mix_before.weight != nullptr;
  const int reach = score_reach(problem_);
  run("scores", [&] {
    products_.scores({extent(chunk_.rows, reach),
                      plan_.launch.score_keys / kTileKeys,
                      tensor(q),
                      tensor(k),
                      map(plan_.scores),
                      problem_.scale,
                      convolves || mixes ? none : wanted,
                      no_dropout(),
                      {},
                      {},
                      nullptr},
                     problem_.type, stream_);
  });
  if (fuses(problem_.conv_before, problem_.mix_before)) return convolved_softmax_map(wanted);
  if (convolves) convolve_scores(mixes ? none : wanted);
  if (!mixes) return;
  if (mixing_alone(problem_)) return mixing_alone_statistics(wanted);
  MixingArgs args = mixing(problem_.mix_before, chunk_.rows);
  args.weights = mixing_blocks(plan_.mix_before, args.plan);
  args.source = map(plan_.convolved);
  args.target = map(plan_.mixed);
  args.statistics = wanted;
  run("head mixing before softmax",
      [&] { with_mixing(args.plan, [&](auto kernels) { kernels.before(args, stream_); }); });
}

void Chain::convolve_scores(const RowStatistics& wanted) {
  const Convolution& conv = problem_.conv_before;
  const KeyWindow window = key_window(conv.pad_left, conv.key_span);
  run("kq convolution before softmax", [&] {
    launch_convolution(MapKind::Scores,
                       {extent(chunk_.rows, score_reach(problem_)),
                        plan_.launch.convolution_keys / kTileKeys, map(plan_.scores),
                        map(plan_.convolved), tables(plan_.table_before, conv.query_span, window),
                        conv.query_span, window, nullptr, false, wanted, no_dropout()},
                       stream_);
  });
}

bool Chain::fuses(const Convolution& conv, const Mixing& mix) const {
  return stages_are_fused(conv, mix, plan_, shared_bytes_);
}

ConvolvedMixingArgs Chain::convolved_mixing(const Convolution& conv, const Mixing& mix) const {
  ConvolvedMixingArgs args = {};
  args.extent = extent(chunk_.rows, 0);
  args.plan = mixing_plan(mix, chunk_.heads, plan_.head_group);
  args.query_span = conv.query_span;
  args.window = key_window(conv.pad_left, conv.key_span);
  return args;
}

void Chain::convolved_softmax_map(const RowStatistics& statistics) {
  ConvolvedMixingArgs args = convolved_mixing(problem_.conv_before, problem_.mix_before);
  args.extent.reach = score_reach(problem_);
  args.source = map(plan_.scores);
  if (statistics.partials == nullptr) args.convolved = map(plan_.convolved);  // backward reads C
  args.target = map(plan_.mixed);
  args.tables = tables(plan_.table_before, args.query_span, args.window);
  args.weights = mixing_blocks(plan_.mix_before, args.plan);
  args.statistics = statistics;
  run("kq convolution and head mixing before softmax", [&] {
    with_convolved_mixing(args.window, [&](auto kernels) { kernels.before(args, stream_); });
  });
}

ConvolvedMixingArgs Chain::convolved_weights(const float* lse) const {
  ConvolvedMixingArgs args = convolved_mixing(problem_.conv_after, problem_.mix_after);
  args.source = map(plan_.mixed);
  args.target = map(plan_.weights);
  args.tables = tables(plan_.table_after, args.query_span, args.window);
  args.weights = mixing_blocks(plan_.mix_after, args.plan);
  args.lse = rows(lse);
  args.dropout = dropout();
  return args;
}

void Chain::reconvolve(const float* lse) {
  if (problem_.conv_after.kernel == nullptr) return;
  const Convolution& conv = problem_.conv_after;
  const KeyWindow window = key_window(conv.pad_left, conv.key_span);
  const bool is_last = problem_.mix_after.weight == nullptr;
  run("kq convolution after softmax", [&] {
    launch_convolution(MapKind::SoftmaxWeights,
                       {extent(chunk_.rows, 0),
                        plan_.launch.convolution_keys / kTileKeys,
                        map(plan_.mixed),
                        map(is_last ? plan_.weights : plan_.reconvolved),
                        tables(plan_.table_after, conv.query_span, window),
                        conv.query_span,
                        window,
                        rows(lse),
                        is_last && problem_.type == ElementType::BFloat16,
                        {},
                        is_last ? dropout() : no_dropout()},
                       stream_);
  });
}

void launch_convolution(MapKind kind, const ConvolutionArgs& args, cudaStream_t stream) {
  if (args.extent.reach == 0 && rows_fit_a_warp(args.query_span, args.window)) {
    return built_blocks(args.window.blocks) == 2
               ? StreamedConvolution<2>::forward(kind, args, stream)
               : StreamedConvolution<3>::forward(kind, args, stream);
  }
  switch (built_blocks(args.window.blocks)) {
    case 2:
      return ConvolutionKernels<2>::forward(kind, args, stream);
    case 3:
      return ConvolutionKernels<3>::forward(kind, args, stream);
    default:
      return ConvolutionKernels<kMaxBlocks>::forward(kind, args, stream);
  }
}

void launch_convolution_backward(MapKind kind, const ConvolutionBackwardArgs& args,
                                 ElementType type, cudaStream_t stream) {
  switch (built_blocks(args.window.blocks)) {
    case 2:
      return ConvolutionKernels<2>::backward(kind, args, type, stream);
    case 3:
      return ConvolutionKernels<3>::backward(kind, args, type, stream);
    default:
      return ConvolutionKernels<kMaxBlocks>::backward(kind, args, type, stream);
  }
}

void launch_convolution_streamed(MapKind kind, const ConvolutionBackwardArgs& args,
                                 ElementType type, cudaStream_t stream) {
  if (built_blocks(args.window.blocks) == 2) {
    StreamedConvolution<2>::backward(kind, args, type, stream);
  } else {
    StreamedConvolution<3>::backward(kind, args, type, stream);
  }
}

Status check_pointer(const void* pointer, const char* name) {
  if (pointer != nullptr) return Status::Ok;
  return fail(Status::InvalidArgument, std::string(name) + " is a null pointer");
}

Status check_tensor(const Tensor& x, const char* name) {
  if (const Status s = check_pointer(x.data, name); s != Status::Ok) return s;
  const bool aligned = reinterpret_cast<std::uintptr_t>(x.data) % 16 == 0 &&
                       x.batch_stride % kChunk == 0 && x.head_stride % kChunk == 0 &&
                       x.token_stride % kChunk == 0;
  if (aligned) return Status::Ok;
  return fail(Status::InvalidArgument,
              std::string(name) +
                  " must start on a 16-byte boundary, with strides that are multiples of 8 (" +
                  std::to_string(x.batch_stride) + ", " + std::to_string(x.head_stride) + ", " +
                  std::to_string(x.token_stride) + ")");
}

Status check_workspace(const Workspace& workspace, std::size_t needed) {
  if (workspace.bytes < needed) {
    return fail(Status::WorkspaceTooSmall, "workspace of " + std::to_string(workspace.bytes) +
                                               " bytes, at least " + std::to_string(needed) +
                                               " are needed");
  }
  if (const Status s = check_pointer(workspace.data, "workspace"); s != Status::Ok) return s;
  if (reinterpret_cast<std::uintptr_t>(workspace.data) % 256 == 0) return Status::Ok;
  return fail(Status::InvalidArgument, "workspace must start on a 256-byte boundary");
}

}  // namespace mta::kernels
