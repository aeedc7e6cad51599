"""Attention by its own rules against attention by plain operations, in float64: values and every derivative."""

import math

import pytest
import torch
import torch.nn.functional as F
from hypothesis import given
from hypothesis import strategies as st
from torch.autograd import grad, gradcheck
from torch.autograd.forward_ad import dual_level, make_dual, unpack_dual
from torch.nn.attention import SDPBackend, sdpa_kernel

from diffgeo.jacobian import attention as module
from diffgeo.jacobian.attention import attention
from diffgeo.jacobian.memory import peak_bytes
from diffgeo.jacobian.transposable import transposable_layers

F64 = torch.float64


def randn(*shape, seed=0, device="cpu"):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=F64).to(device)


def plainly(q, k, v, attn_mask=None, is_causal=False, scale=None, enable_gqa=False):
    """Softmax of all scores at once."""
    if enable_gqa:
        k, v = (x.repeat_interleave(q.shape[-3] // x.shape[-3], -3) for x in (k, v))
    s = q @ k.transpose(-1, -2) * (1 / math.sqrt(q.shape[-1]) if scale is None else scale)
    if is_causal:
        s = s.masked_fill(torch.ones_like(s, dtype=torch.bool).triu(1), -math.inf)
    if attn_mask is not None:
        s = s.masked_fill(~attn_mask, -math.inf) if attn_mask.dtype == torch.bool else s + attn_mask
    return s.softmax(-1) @ v


def seen(*shape, seed=7):
    mask = randn(*shape, seed=seed) > -0.3
    mask[..., 0] = True  # every row sees something
    return mask


CASES = {
    "self": ((2, 3, 7, 4), (2, 3, 7, 4), {}),
    "cross": ((2, 3, 7, 4), (2, 3, 5, 4), {}),
    "one head": ((7, 4), (5, 4), {}),
    "three dimensions": ((3, 7, 4), (3, 5, 4), {}),
    "scale": ((2, 2, 6, 4), (2, 2, 6, 4), {"scale": 0.3}),
    "causal": ((2, 2, 6, 4), (2, 2, 6, 4), {"is_causal": True}),
    "causal cross": ((2, 6, 4), (2, 4, 4), {"is_causal": True}),
    "boolean mask": ((2, 3, 7, 4), (2, 3, 5, 4), {"attn_mask": seen(7, 5)}),
    "boolean mask of each sample": ((2, 3, 7, 4), (2, 3, 5, 4), {"attn_mask": seen(2, 1, 1, 5)}),
    "additive mask": ((2, 3, 7, 4), (2, 3, 5, 4), {"attn_mask": randn(3, 7, 5, seed=8)}),
    "mask of tokens": ((2, 7, 4), (2, 5, 4), {"attn_mask": seen(5)}),
    "broadcast keys": ((2, 3, 7, 4), (1, 3, 5, 4), {}),
    "grouped heads": ((2, 4, 7, 4), (2, 2, 7, 4), {"enable_gqa": True}),
}


@pytest.fixture(params=[1 << 18, 10], ids=["in one block", "in many blocks"])
def _blocks(request, monkeypatch):
    monkeypatch.setattr(module, "_BLOCK_ON_CPU", request.param)
    monkeypatch.setattr(module, "_BLOCK_ELSEWHERE", request.param)


def case(name, device):
    of_q, of_k, how = CASES[name]
    how = {key: value.to(device) if isinstance(value, torch.Tensor) else value for key, value in how.items()}
    shapes = (of_q, of_k, (*of_k[:-1], 3))
    return *(randn(*shape, seed=i, device=device) for i, shape in enumerate(shapes)), how


def close(mine, theirs):
    torch.testing.assert_close(mine, theirs, rtol=1e-10, atol=1e-12)


def vjp_and_transpose(function, inputs, u, tangents):
    """Jᵀ u, and its transpose by reverse mode over reverse mode: J v."""
    points = [x.clone().requires_grad_() for x in inputs]
    y = function(*points)
    cotangent = torch.zeros_like(y, requires_grad=True)
    pulled = grad(y, points, cotangent, create_graph=True)
    (pushed,) = grad(pulled, cotangent, tangents, retain_graph=True)
    return y, grad(y, points, u), pushed


@pytest.mark.usefixtures("_blocks")
@pytest.mark.parametrize("name", list(CASES))
def test_values_and_both_products_are_those_of_plain_operations(name, device):
    *inputs, how = case(name, device)
    u = randn(*plainly(*inputs, **how).shape, seed=3, device=device)
    tangents = [randn(*x.shape, seed=4, device=device) for x in inputs]
    mine = vjp_and_transpose(lambda *x: attention(*x, **how), inputs, u, tangents)
    theirs = vjp_and_transpose(lambda *x: plainly(*x, **how), inputs, u, tangents)
    for one, other in zip(mine, theirs, strict=True):
        close(one, other)
    assert gradcheck(lambda *x: attention(*x, **how), [x.requires_grad_() for x in inputs], fast_mode=True)


@pytest.mark.parametrize("which", [(0,), (1,), (2,), (0, 1), (1, 2), (0, 2), (0, 1, 2)])
def test_forward_mode_and_partial_derivatives(which, device):
    *inputs, how = case("cross", device)
    tangents = {i: randn(*inputs[i].shape, seed=4, device=device) for i in which}

    def by(function):
        with dual_level():
            duals = [make_dual(x, tangents[i]) if i in which else x for i, x in enumerate(inputs)]
            return unpack_dual(function(*duals, **how)).tangent

    forward = by(attention)
    close(forward, by(plainly))
    points = [x.clone().requires_grad_(i in which) for i, x in enumerate(inputs)]
    chosen = [points[i] for i in which]
    y = attention(*points, **how)
    u = torch.zeros_like(y, requires_grad=True)
    (pushed,) = grad(grad(y, chosen, u, create_graph=True), u, list(tangents.values()))
    close(pushed, forward)


@pytest.mark.usefixtures("_blocks")
@pytest.mark.parametrize("batched", [(0, 0, 0), (0, None, None), (None, 1, 2), (-1, 0, None)])
def test_vmap_lays_out_copies(batched, device):
    shapes = ((2, 6, 4), (2, 5, 4), (2, 5, 3))
    inputs = [
        randn(*(shape if dim is None else (4, *shape)), seed=i, device=device).movedim(0, dim or 0)
        for i, (shape, dim) in enumerate(zip(shapes, batched, strict=True))
    ]
    mine = torch.func.vmap(attention, in_dims=batched)(*inputs)
    close(mine, torch.func.vmap(plainly, in_dims=batched)(*inputs))

    def jacobians(function):
        by_reverse = torch.func.jacrev(function, argnums=(0, 1, 2))
        by_forward = torch.func.jacfwd(function, argnums=(0, 1, 2))
        return [torch.func.vmap(by, in_dims=batched)(*inputs) for by in (by_reverse, by_forward)]

    theirs = jacobians(plainly)[0]
    for found in jacobians(attention):
        for one, other in zip(found, theirs, strict=True):
            close(one, other)


@pytest.mark.parametrize("masked", [False, True])
def test_columns_share_one_graph(masked, device):
    """As the operator takes products: vmap over what is pulled and pushed, at one point."""
    q, k, v = (randn(*shape, seed=i, device=device) for i, shape in enumerate(((2, 6, 4), (2, 5, 4), (2, 5, 3))))
    mask = seen(6, 5).to(device) if masked else None

    def products(function):
        points = [x.clone().requires_grad_() for x in (q, k, v)]
        y = function(*points, attn_mask=mask)
        cotangent = torch.zeros_like(y, requires_grad=True)
        pulled = grad(y, points, cotangent, create_graph=True)
        u, *tangents = (randn(9, *x.shape, seed=3 + i, device=device) for i, x in enumerate((y, *points)))
        return [
            *torch.func.vmap(lambda u: grad(y, points, u, retain_graph=True))(u),
            *torch.func.vmap(lambda *v: grad(pulled, cotangent, v, retain_graph=True))(*tangents),
        ]

    for one, other in zip(products(attention), products(plainly), strict=True):
        close(one, other)


def test_joint_attention_is_that_of_tokens_one_after_the_other(device):
    picture, text, u, *tangents = (randn(2, 3, 6, 4, seed=i, device=device) for i in range(5))
    f = lambda function: lambda a, b: function(*[torch.cat([a, b], dim=-2)] * 3)[..., :6, :]  # noqa: E731
    for one, other in zip(
        vjp_and_transpose(f(attention), [picture, text], u, tangents),
        vjp_and_transpose(f(plainly), [picture, text], u, tangents),
        strict=True,
    ):
        close(one, other)


def test_a_row_that_sees_nothing_is_zero_with_no_derivative(device):
    mask = torch.ones(4, 3, dtype=torch.bool, device=device)
    mask[1] = False
    q, k, v = (randn(n, 2, seed=i, device=device).requires_grad_() for i, n in enumerate((4, 3, 3)))
    y = attention(q, k, v, mask)
    assert torch.equal(y[1], torch.zeros_like(y[1]))
    for part in grad(y, (q, k, v), torch.ones_like(y), create_graph=True):
        assert torch.isfinite(part).all()


@given(
    st.integers(1, 4), st.integers(1, 9), st.integers(1, 9), st.integers(1, 5), st.integers(1, 5), st.integers(0, 99)
)
def test_the_products_are_adjoint_at_any_size(heads, rows, tokens, inner, outer, seed):
    shapes = ((heads, rows, inner), (heads, tokens, inner), (heads, tokens, outer))
    inputs = [3 * randn(*shape, seed=seed + i) for i, shape in enumerate(shapes)]
    tangents = [randn(*shape, seed=seed + 10 + i) for i, shape in enumerate(shapes)]
    u = randn(heads, rows, outer, seed=seed + 20)
    _, pulled, pushed = vjp_and_transpose(attention, inputs, u, tangents)
    left, right = (u * pushed).sum(), sum((a * b).sum() for a, b in zip(pulled, tangents, strict=True))
    torch.testing.assert_close(left, right, rtol=1e-10, atol=1e-10)


def test_float32_is_as_exact_as_plain_operations(device):
    *inputs, u, tangent = (randn(2, 50, 8, seed=i, device=device) for i in range(5))
    inputs, tangents = [4 * x for x in inputs], [tangent] * 3

    def results(function, dtype):
        y, pulled, pushed = vjp_and_transpose(
            function, [x.to(dtype) for x in inputs], u.to(dtype), [x.to(dtype) for x in tangents]
        )
        return torch.cat([x.detach().flatten().double() for x in (y, *pulled, pushed)])

    exact = results(plainly, F64)
    mine, theirs = ((results(function, torch.float32) - exact).norm() for function in (attention, plainly))
    assert mine < 3 * theirs
    assert mine / exact.norm() < 1e-5


def test_memory_grows_with_the_tokens_not_with_their_square(device, monkeypatch):
    monkeypatch.setattr(module, "_BLOCK_ELSEWHERE", module._BLOCK_ON_CPU)  # a GPU's would hold all of these weights

    def products(tokens):
        points = [torch.zeros(8, tokens, 8, device=device).requires_grad_() for _ in range(3)]
        with sdpa_kernel(SDPBackend.MATH), transposable_layers():
            y = F.scaled_dot_product_attention(*points)
        u = torch.zeros_like(y, requires_grad=True)
        pulled = grad(y, points, u, create_graph=True)
        grad(pulled, u, points, retain_graph=True)

    few, many = (peak_bytes(lambda n=n: products(n)) for n in (2048, 4096))
    assert many < 2.2 * few
    assert many < 4096**2 * 8 * 4 / 10, "a tenth of one matrix of weights"


def test_the_second_derivative_by_the_inputs_is_refused():
    q = randn(1, 4, 3).requires_grad_()
    (pulled,) = grad(attention(q, q, q).pow(3).sum(), q, create_graph=True)
    with pytest.raises(NotImplementedError, match="second derivative"):
        grad(pulled.sum(), q)


def test_the_transpose_may_be_transposed_again():
    q, k, v = (randn(2, 3, 4, seed=i).requires_grad_() for i in range(3))
    point = tuple(x.detach().clone() for x in (q, k, v))

    def pushed(*tangents):
        return torch.func.jvp(attention, point, tangents)[1]

    assert gradcheck(pushed, (q, k, v))


def test_the_mode_serves_calls_of_networks():
    q, k, v = (randn(1, 2, 5, 4, seed=i) for i in range(3))
    with transposable_layers():
        called = F.scaled_dot_product_attention(q.requires_grad_(), k, v, is_causal=True)
    assert "_Attend" in type(called.grad_fn).__name__
    close(called, plainly(q, k, v, is_causal=True))


@pytest.mark.parametrize("how", [{"dropout_p": 0.5}, {"attn_mask": randn(5, 5).requires_grad_()}])
def test_what_has_no_rule_is_torchs(how):
    q, k, v = (randn(1, 2, 5, 4, seed=i).requires_grad_() for i in range(3))
    assert "_Attend" not in type(attention(q, k, v, **how).grad_fn).__name__
