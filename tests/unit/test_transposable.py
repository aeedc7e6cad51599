"""The layers' own rules against torch's, in float64: values, first and second derivatives, under vmap and alone."""

import pytest
import torch
import torch.nn.functional as F
from torch.autograd import grad, gradcheck, gradgradcheck

from diffgeo.jacobian import JacobianOperator
from diffgeo.jacobian.transposable import transposable_layers

F64 = torch.float64


def randn(*shape, seed=0, device="cpu"):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=F64).to(device)


CONVOLUTIONS = {
    "3x3": ((4, 3, 3, 3), {"padding": 1}),
    "strided": ((4, 3, 3, 3), {"stride": 2, "padding": (1, 0)}),
    "dilated": ((2, 3, 2, 2), {"dilation": (1, 2)}),
    "grouped": ((6, 1, 3, 3), {"groups": 3}),
    "by name": ((4, 3, 3, 3), {"padding": "same"}),
}
NORMS = {"affine": (randn(4), randn(4, seed=1)), "scale": (randn(4), None), "plain": (None, None)}


def beside(x, *weights):
    """Weights, where there are any, on the device of x."""
    return (None if weight is None else weight.to(x.device) for weight in weights)


def layers():
    for name, (shape, how) in CONVOLUTIONS.items():
        for bias in (None, randn(shape[0], seed=2)):
            weight = randn(*shape, seed=1)
            yield pytest.param(
                lambda x, w=weight, b=bias, how=how: F.conv2d(x, *beside(x, w, b), **how),
                (2, 3, 5, 6),
                id=f"conv {name}, bias {bias is not None}",
            )
    for name, (weight, bias) in NORMS.items():
        for shape in ((2, 4, 3, 3), (2, 4, 5), (3, 4)):
            yield pytest.param(
                lambda x, w=weight, b=bias: F.group_norm(x, 2, *beside(x, w, b), 1e-5),
                shape,
                id=f"norm {name}, {len(shape)}-d",
            )


@pytest.mark.parametrize(("layer", "shape"), list(layers()))
def test_values_and_both_derivatives_are_torchs(layer, shape, device):
    x, v = (randn(*shape, seed=seed, device=device) for seed in (3, 5))
    u = randn(*layer(x).shape, seed=4, device=device)

    def all_three(mode):
        point, cotangent = x.clone().requires_grad_(), torch.zeros_like(u, requires_grad=True)
        y = mode(point)
        (pulled,) = grad(y, point, cotangent, create_graph=True)
        (pushed,) = grad(pulled, cotangent, v, retain_graph=True)
        return y, grad(y, point, u)[0], pushed

    def ours(point):
        with transposable_layers():
            return layer(point)

    for mine, theirs in zip(all_three(ours), all_three(layer), strict=True):
        torch.testing.assert_close(mine, theirs, rtol=1e-10, atol=1e-12)
    point = x.clone().requires_grad_()
    assert gradcheck(ours, point)


@pytest.mark.parametrize(("layer", "shape"), list(layers()))
def test_copies_of_a_point_are_apart(layer, shape, device):
    x = randn(3, *shape, seed=6, device=device)
    with transposable_layers():
        together = torch.func.vmap(layer)(x)
        sideways = torch.func.vmap(layer, in_dims=-1)(x.movedim(0, -1))
    apart = torch.stack([layer(one) for one in x])
    torch.testing.assert_close(together, apart, rtol=1e-10, atol=1e-12)
    torch.testing.assert_close(sideways, apart, rtol=1e-10, atol=1e-12)


@pytest.mark.parametrize("last", [False, True])
@pytest.mark.parametrize(("layer", "shape"), list(layers()))
def test_jacobians_of_copies_are_those_of_forward_mode(layer, shape, last, device):
    """As :mod:`diffgeo.jacobian.operator` uses them; with channels last in memory, too, as attention leaves them."""

    def f(x):
        laid = x.movedim(1, -1).contiguous().movedim(-1, 1) if last else x
        return layer(laid).tanh()

    x = randn(*shape, seed=7, device=device)
    copies, dense = JacobianOperator(f, x, stacked=True, forward=False), torch.autograd.functional.jacobian(f, x)
    dense = dense.reshape(copies.shape)
    v, u = (randn(n, 3, seed=8, device=device) for n in (copies.shape[1], copies.shape[0]))
    torch.testing.assert_close(copies.mv(v), dense @ v, rtol=1e-9, atol=1e-11)
    torch.testing.assert_close(copies.rmv(u), dense.T @ u, rtol=1e-9, atol=1e-11)


def test_a_convolution_may_be_differentiated_twice_in_earnest():
    weight = randn(4, 3, 3, 3)

    def curved(x):
        with transposable_layers():
            return F.conv2d(x.square(), weight, padding=1)

    assert gradgradcheck(curved, randn(1, 3, 4, 4, seed=1).requires_grad_())


def test_the_second_derivative_of_a_norm_is_refused():
    x = randn(1, 4, 3).requires_grad_()
    with transposable_layers():
        (pulled,) = grad(F.group_norm(x, 2).pow(3).sum(), x, create_graph=True)
    with pytest.raises(NotImplementedError, match="second derivative"):
        grad(pulled.sum(), x)


def test_weights_that_vmap_lays_out_are_refused():
    with transposable_layers(), pytest.raises(NotImplementedError, match="weights"):
        torch.func.vmap(F.conv2d)(randn(2, 1, 3, 4, 4), randn(2, 4, 3, 3, 3))


def test_other_layers_are_left_alone():
    x = randn(2, 4)
    with transposable_layers():
        ours = F.silu(x)
    assert torch.equal(ours, F.silu(x))
