// The operator mta::attention: its schema, and what the dispatcher finds for each key.
//
// Every kernel here is boxed: its arguments are read from the stack into one AttentionCall, so that
// the schema's fourteen are listed in two functions and nowhere else.
#include "lib/ops/attention_cpu.h"
#include "lib/ops/backend.h"
#include "lib/ops/cuda/attention.h"

#include <ATen/autocast_mode.h>
#include <ATen/core/dispatch/Dispatcher.h>
#include <ATen/ops/empty.h>
#include <torch/library.h>

#include <bit>

namespace mta::ops {
namespace {

using c10::OperatorHandle;
using torch::jit::Stack;

constexpr const char* kParameters =
    "Tensor q, Tensor k, Tensor v, *, Tensor? kq_before=None, int pad_before=0, bool exact=False, "
    "Tensor? kq_after=None, int pad_after=0, Tensor? heads_before=None, Tensor? heads_after=None, "
    "float dropout=0.0, int seed=0, int stream=0, Tensor? step=None, int first_row=0, "
    "int workspace_bytes=536870912";
constexpr std::size_t kArguments = 16;
static_assert(kWorkspaceBytes == 536870912);

/// The last sixteen arguments on the stack, which lose them.
AttentionCall pop_call(Stack& stack) {
  const std::vector<c10::IValue> args(stack.end() - kArguments, stack.end());
  torch::jit::drop(stack, kArguments);
  const auto tensor = [&](std::size_t at) {
    return args[at].isNone() ? at::Tensor() : args[at].toTensor();
  };
  AttentionCall call = {.q = tensor(0), .k = tensor(1), .v = tensor(2)};
  if (!args[3].isNone()) {
    call.kq_before = {tensor(3), args[4].toInt(),
                      args[5].toBool() ? Causality::Exact : Causality::Double};
  }
  if (!args[6].isNone()) call.kq_after = {tensor(6), args[7].toInt()};
  call.heads_before = tensor(8), call.heads_after = tensor(9);
  call.dropout = {args[10].toDouble(), std::bit_cast<std::uint64_t>(args[11].toInt()),
                  std::bit_cast<std::uint64_t>(args[12].toInt()), tensor(13)};
  call.first_row = args[14].toInt(), call.workspace_bytes = args[15].toInt();
  return call;
}

void push_call(Stack& stack, const AttentionCall& call) {
  const auto optional = [](const at::Tensor& t) {
    return t.defined() ? c10::IValue(t) : c10::IValue();
  };
  const auto kernel = [&](const std::optional<KqConvolution>& kq) {
    return kq ? optional(kq->kernel) : c10::IValue();
  };
  const auto pad = [](const std::optional<KqConvolution>& kq) { return kq ? kq->pad_left : 0; };
  const bool exact = call.kq_before && call.kq_before->causality == Causality::Exact;
  torch::jit::push(stack, call.q, call.k, call.v, kernel(call.kq_before), pad(call.kq_before),
                   exact, kernel(call.kq_after), pad(call.kq_after), optional(call.heads_before),
                   optional(call.heads_after), call.dropout.rate,
                   std::bit_cast<std::int64_t>(call.dropout.seed),
                   std::bit_cast<std::int64_t>(call.dropout.stream), optional(call.dropout.step),
                   call.first_row, call.workspace_bytes);
}

OperatorHandle find(const char* name) {
  return c10::Dispatcher::singleton().findSchemaOrThrow(name, "");
}

at::Tensor call_attention(const AttentionCall& call) {
  static const OperatorHandle op = find("mta::attention");
  Stack stack;
  push_call(stack, call);
  op.callBoxed(stack);
  return stack[0].toTensor();
}

/// Both directions through the dispatcher, so that tracing sees them as operators.
constexpr Backend kDispatched = {
    [](const AttentionCall& call) -> ForwardResult {
      static const OperatorHandle op = find("mta::attention_forward");
      Stack stack;
      push_call(stack, call);
      op.callBoxed(stack);
      return {stack[0].toTensor(), stack[1].toTensor()};
    },
    [](const AttentionCall& call, const at::Tensor& rows, const at::Tensor& out,
       const at::Tensor& d_out) {
      static const OperatorHandle op = find("mta::attention_backward");
      Stack stack;
      torch::jit::push(stack, d_out, rows, out.defined() ? c10::IValue(out) : c10::IValue());
      push_call(stack, call);
      op.callBoxed(stack);
      return stack[0].toTensorVector();
    }};

constexpr Backend kCuda = {cuda::forward, cuda::backward};

/// Shapes and strides only.
constexpr Backend kMeta = {
    [](const AttentionCall& call) -> ForwardResult {
      const at::Tensor& q = call.q;
      const auto rows_type = q.scalar_type() == at::kDouble ? at::kDouble : at::kFloat;
      return {at::empty_symint({q.sym_size(0), q.sym_size(2), q.sym_size(1), call.v.sym_size(3)},
                               q.options().requires_grad(false))
                  .transpose(1, 2),
              at::empty_symint({q.sym_size(0), q.sym_size(1), q.sym_size(2), 2},
                               q.options().dtype(rows_type).requires_grad(false))};
    },
    [](const AttentionCall& call, const at::Tensor& /*rows*/, const at::Tensor& /*out*/,
       const at::Tensor& /*d_out*/) {
      std::vector<at::Tensor> gradients;
      for (const at::Tensor& of : differentiable_tensors(call)) {
        const bool heads_inside = of.dim() == 4;  // q, k, v: stored as [B, T, H, d]
        const c10::SymIntArrayRef s = of.sym_sizes();
        const auto options = of.options().requires_grad(false);
        gradients.push_back(
            heads_inside ? at::empty_symint({s[0], s[2], s[1], s[3]}, options).transpose(1, 2)
                         : at::empty_symint(s, options));
      }
      return gradients;
    }};

const Backend& on_cpu() {
  static const Backend& best = cpu_backend(cpu::simd_levels().back());
  return best;
}
const Backend& on_gpu() { return kCuda; }
const Backend& on_meta() { return kMeta; }

template <const Backend& (*backend)()>
void forward_kernel(const OperatorHandle& /*op*/, Stack* stack) {
  ForwardResult result = backend().forward(pop_call(*stack));
  torch::jit::push(*stack, std::move(result.out), std::move(result.rows));
}

template <const Backend& (*backend)()>
void backward_kernel(const OperatorHandle& /*op*/, Stack* stack) {
  const AttentionCall call = pop_call(*stack);
  const c10::IValue out = torch::jit::pop(*stack);
  const at::Tensor rows = torch::jit::pop(*stack).toTensor(),
                   d_out = torch::jit::pop(*stack).toTensor();
  torch::jit::push(
      *stack, backend().backward(call, rows, out.isNone() ? at::Tensor() : out.toTensor(), d_out));
}

void autograd_kernel(const OperatorHandle& /*op*/, Stack* stack) {
  torch::jit::push(*stack, attend(pop_call(*stack), kDispatched));
}

/// Where nobody asks for gradients.
void plain_kernel(const OperatorHandle& /*op*/, Stack* stack) {
  torch::jit::push(*stack, kDispatched.forward(pop_call(*stack)).out);
}

/// q, k and v in the type that autocast computes in; the parameters are rounded by the kernels. The
/// CPU's path has no 16-bit form, so it computes in float.
template <c10::DeviceType device>
void autocast_kernel(const OperatorHandle& /*op*/, Stack* stack) {
  const c10::impl::ExcludeDispatchKeyGuard no_autocast(
      at::autocast::get_autocast_dispatch_key_from_device_type(device));
  AttentionCall call = pop_call(*stack);
  const at::ScalarType type =
      device == at::kCPU ? at::kFloat : at::autocast::get_autocast_dtype(device);
  for (at::Tensor* t : {&call.q, &call.k, &call.v}) {
    *t = at::autocast::cached_cast(type, *t, device);
  }
  torch::jit::push(*stack, call_attention(call));
}

template <void (*kernel)(const OperatorHandle&, Stack*)>
torch::CppFunction boxed() {
  return torch::CppFunction::makeFromBoxedFunction<kernel>();
}

}  // namespace

std::string unsupported(const AttentionCall& call) {
  return call.q.is_cuda() ? cuda_unsupported(call) : cpu_unsupported(call);
}

std::string cuda_unsupported(const AttentionCall& call) { return cuda::unsupported(call); }

at::Tensor attention(const AttentionCall& call) { return call_attention(call); }

TORCH_LIBRARY(mta, library) {
  const std::string parameters = kParameters;
  const auto define = [&](const std::string& schema) { library.def(schema.c_str()); };
  define("attention(" + parameters + ") -> Tensor");
  // What `attention` is made of. `rows`: [B, H, R, 2], read by the backward of the same device.
  define("attention_forward(" + parameters + ") -> (Tensor out, Tensor rows)");
  // The gradients of those of q, k, v, kq_before, kq_after, heads_before, heads_after that are
  // given. `out` of the forward makes some calls faster on a GPU.
  define("attention_backward(Tensor d_out, Tensor rows, Tensor? out, " + parameters +
         ") -> Tensor[]");
}

TORCH_LIBRARY_IMPL(mta, CPU, library) {
  library.impl("attention", boxed<plain_kernel>());
  library.impl("attention_forward", boxed<forward_kernel<on_cpu>>());
  library.impl("attention_backward", boxed<backward_kernel<on_cpu>>());
}
TORCH_LIBRARY_IMPL(mta, CUDA, library) {
  library.impl("attention", boxed<plain_kernel>());
  library.impl("attention_forward", boxed<forward_kernel<on_gpu>>());
  library.impl("attention_backward", boxed<backward_kernel<on_gpu>>());
}
TORCH_LIBRARY_IMPL(mta, Meta, library) {
  library.impl("attention", boxed<plain_kernel>());
  library.impl("attention_forward", boxed<forward_kernel<on_meta>>());
  library.impl("attention_backward", boxed<backward_kernel<on_meta>>());
}
TORCH_LIBRARY_IMPL(mta, Autograd, library) { library.impl("attention", boxed<autograd_kernel>()); }
TORCH_LIBRARY_IMPL(mta, AutocastCPU, library) {
  library.impl("attention", boxed<autocast_kernel<at::kCPU>>());
}
TORCH_LIBRARY_IMPL(mta, AutocastCUDA, library) {
  library.impl("attention", boxed<autocast_kernel<at::kCUDA>>());
}

}  // namespace mta::ops
