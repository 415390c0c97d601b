"""The operator mta::attention as Python sees it: usage `python_op_test.py libmta_ops.so [cpu|cuda]`.

Loads the library and checks values and gradients against torch operations, autocast, the meta
function, and what torch.library.opcheck asks of an operator.
"""
import sys

try:
    import torch
except ImportError as error:
    # A wheel of torch without the CUDA libraries beside it: enough for C++, not for Python.
    print(f"SKIPPED: Python cannot load torch: {error}")
    sys.exit(1)

B, H, T, D = 2, 4, 37, 32


def convolve(x, kernel, pad_left, causal):
    """C[i, j] = sum kernel[h, a, b] x[i - (c_q-1) + a, j - pad_left + b] of the masked map."""
    c_q, c_k = kernel.shape[1:]
    x = torch.nn.functional.pad(x * causal, (pad_left, c_k - 1 - pad_left, c_q - 1, 0))
    return torch.nn.functional.conv2d(x, kernel[:, None], groups=kernel.shape[0])


def mix(x, weight):
    """out[g] = sum_h weight[g, h] x[h] in each group."""
    return (weight @ x.unflatten(1, weight.shape[:2]).flatten(3)).view_as(x)


def composed(q, k, v, *, kq_before, pad_before, kq_after, pad_after, heads_before, heads_after):
    causal = torch.ones(T, T, device=q.device, dtype=torch.bool).tril()
    x = q @ k.transpose(2, 3) / D**0.5
    x = mix(convolve(x, kq_before, pad_before, causal), heads_before)
    x = x.masked_fill(~causal, float("-inf")).softmax(-1)
    x = convolve(x, kq_after, pad_after, causal) * causal
    return mix(x, heads_after.transpose(1, 2)) @ v


def inputs(dtype, device):
    generator = torch.Generator().manual_seed(1)

    def normal(*sizes):
        return torch.randn(*sizes, generator=generator, dtype=torch.float64)

    def leaf(x, kind):
        return x.to(device, kind).requires_grad_()

    q, k, v = (leaf(normal(B, H, T, D), dtype) for _ in range(3))
    # The parameters of a model that computes in 16 bits stay in float.
    kind = torch.float64 if dtype == torch.float64 else torch.float32
    keywords = {
        "kq_before": leaf(0.3 * normal(H, 3, 5), kind),
        "pad_before": 2,
        "kq_after": leaf(0.3 * normal(H, 2, 3), kind),
        "pad_after": 2,
        "heads_before": leaf(0.5 * normal(2, 2, 2), kind),
        "heads_after": leaf(0.5 * normal(1, 4, 4), kind),
    }
    return (q, k, v), keywords


def leaves(arguments):
    (q, k, v), keywords = arguments
    return [q, k, v] + [x for x in keywords.values() if isinstance(x, torch.Tensor)]


def in_double(arguments):
    def double(x):
        if not isinstance(x, torch.Tensor):
            return x
        return x.detach().double().requires_grad_()

    tensors, keywords = arguments
    return tuple(map(double, tensors)), {name: double(x) for name, x in keywords.items()}


def output_and_gradients(function, arguments):
    tensors, keywords = arguments
    out = function(*tensors, **keywords)
    weights = torch.sin(torch.arange(out.numel(), device=out.device) * 1.7 + 0.3).view_as(out)
    (out * weights.to(out.dtype)).sum().backward()
    return [out] + [x.grad for x in leaves(arguments)]


def expect_near(found, truth, tolerance):
    for i, (a, b) in enumerate(zip(found, truth, strict=True)):
        error = ((a.double() - b).norm() / b.norm()).item()
        assert error <= tolerance, f"tensor {i}: relative error {error:.1e} > {tolerance:.0e}"


def check_values(dtype, device, tolerance):
    arguments = inputs(dtype, device)
    found = output_and_gradients(torch.ops.mta.attention, arguments)
    truth = output_and_gradients(composed, in_double(arguments))
    for x, gradient in zip(leaves(arguments), found[1:], strict=True):
        assert gradient.dtype == x.dtype, (gradient.dtype, x.dtype)
    expect_near(found, truth, tolerance)


def check_autocast(device):
    (q, k, v), keywords = inputs(torch.float32, device)
    with torch.autocast(device, torch.bfloat16):
        found = torch.ops.mta.attention(q, k, v, **keywords)
    kind = torch.float32 if device == "cpu" else torch.bfloat16
    assert found.dtype == kind, found.dtype
    same = torch.ops.mta.attention(q.to(kind), k.to(kind), v.to(kind), **keywords)
    assert torch.equal(found, same)


def check_meta():
    q = torch.empty(B, H, T, D, device="meta")
    out = torch.ops.mta.attention(q, q, torch.empty(B, H, T, 2 * D, device="meta"))
    assert out.shape == (B, H, T, 2 * D) and out.device.type == "meta"


def check_refusals(device):
    x = torch.ones(1, 2, 4, 32, device=device, dtype=torch.int32)
    try:
        torch.ops.mta.attention(x, x, x)
    except RuntimeError as error:
        assert "q is Int" in str(error), error
    else:
        raise AssertionError("integers were taken")


def main():
    torch.ops.load_library(sys.argv[1])
    device = sys.argv[2] if len(sys.argv) > 2 else "cpu"
    if device == "cuda" and not torch.cuda.is_available():
        print("SKIPPED: no CUDA device")
        return
    if device == "cpu":
        check_values(torch.float64, device, 1e-12)
        check_values(torch.float32, device, 1e-5)
        kind = torch.float32
    else:
        check_values(torch.float16, device, 5e-3)
        check_values(torch.bfloat16, device, 3e-2)
        kind = torch.bfloat16
    check_autocast(device)
    check_meta()
    check_refusals(device)
    tensors, keywords = inputs(kind, device)
    results = torch.library.opcheck(torch.ops.mta.attention.default, tensors, keywords)
    assert set(results.values()) == {"SUCCESS"}, results
    print(f"mta::attention on {device}: passed")


main()
