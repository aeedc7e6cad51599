r"""Convolution, group norm and attention with a J V that costs no more than Jᵀ U.

Reverse mode gives u ↦ Jᵀu, a linear map; reverse mode through *that* gives v ↦ J v (``operator``). Torch's
rules for the second step are made for training: of a convolution they also compute a gradient of the weights that
is not needed and takes as long as the result, and group norm becomes twenty small operations. Both are known in
closed form:

    convolution:  Jᵀ is the transposed convolution with the same weights, and (Jᵀ)ᵀ the convolution again;
    group norm:   y = (x − μ) / σ has J = (I − 1 1ᵀ/N − y yᵀ/N) / σ in each group, which is symmetric.

So inside :func:`transposable_layers` both are computed by rules that stay with torch's own kernels all the way. That
halves the time of J V (docs/performance.md); values change by rounding alone. Attention's rules are in
:mod:`diffgeo.jacobian.attention`. If the derivative of Jᵀu by x is wanted, not by u, group norm and attention refuse.

Left to torch are convolutions whose weights are made from x, as StyleGAN2's, attention whose mask is, and other
convolutions than 2-D ones.
"""

from __future__ import annotations

from typing import Any, cast

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.autograd import Function
from torch.overrides import TorchFunctionMode
from torch.utils._pytree import tree_leaves

from diffgeo.jacobian.attention import attention, fixed, has_derivative

__all__ = ["transposable_layers"]

Pair = list[int]


class transposable_layers(TorchFunctionMode):  # noqa: N801  # a context manager, as torch.no_grad
    """Within it, 2-D convolutions, group norms and attention have derivatives that are cheap to differentiate again."""

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        """Serve the three layers; leave all else alone."""
        kwargs = kwargs or {}
        if func is F.group_norm:
            return _group_norm(*args, **kwargs)
        if func is F.conv2d:
            return _conv2d(*args, **kwargs)
        if func is F.scaled_dot_product_attention:
            return attention(*args, **kwargs)
        return func(*args, **kwargs)


def _group_norm(
    input: Tensor, num_groups: int, weight: Tensor | None = None, bias: Tensor | None = None, eps: float = 1e-5
) -> Tensor:
    y: Tensor = _Normalise.apply(input, num_groups, eps)[0]
    if weight is not None:
        y = y * weight.reshape(-1, *[1] * (input.ndim - 2))
    return y if bias is None else y + bias.reshape(-1, *[1] * (input.ndim - 2))


def _conv2d(
    input: Tensor,
    weight: Tensor,
    bias: Tensor | None = None,
    stride: int | Pair = 1,
    padding: int | Pair | str = 0,
    dilation: int | Pair = 1,
    groups: int = 1,
) -> Tensor:
    made = not weight.is_leaf or not weight.requires_grad  # a network's own weights are leaves
    if isinstance(padding, str) or input.ndim != 4 or (made and has_derivative(weight)):
        return F.conv2d(input, weight, bias, stride, padding, dilation, groups)
    how = (_pair(stride), _pair(padding), _pair(dilation), False, [0, 0], groups)
    y: Tensor = _Convolve.apply(input, weight, how)
    return y if bias is None else y + bias.reshape(-1, 1, 1)


def _pair(value: int | Pair) -> Pair:
    return [value, value] if isinstance(value, int) else list(value)


class _OverSamples(Function):
    """A function that treats the entries of its leading arguments' first dimension apart; vmap lays copies there.

    Attributes:
        SAMPLES: how many arguments have samples along their first dimension.
    """

    SAMPLES = 1

    @classmethod
    def vmap(cls, info: Any, in_dims: Any, *inputs: Any) -> tuple[Any, Any]:
        """All samples of all copies as one batch."""
        many, dims = inputs[: cls.SAMPLES], in_dims[: cls.SAMPLES]
        if any(dim is not None for dim in tree_leaves(in_dims[cls.SAMPLES :])):
            raise NotImplementedError("vmap over the weights of a layer within f")
        copies = [
            x.expand(info.batch_size, *x.shape) if dim is None else x.movedim(dim, 0)
            for x, dim in zip(many, dims, strict=True)
        ]
        out = cls.apply(*(x.flatten(0, 1) for x in copies), *inputs[cls.SAMPLES :])
        single = isinstance(out, Tensor)
        apart = [y.unflatten(0, copies[0].shape[:2]) for y in ((out,) if single else out)]
        return (apart[0], 0) if single else (tuple(apart), (0,) * len(apart))


class _Convolve(_OverSamples):
    """x ↦ x ∗ w."""

    @staticmethod
    def forward(x: Tensor, weight: Tensor, how: tuple[Any, ...]) -> Tensor:
        return cast(Tensor, torch.ops.aten.convolution(x, weight, None, *how))

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Any, ...], _output: Tensor) -> None:
        x, weight, ctx.how = inputs
        ctx.save_for_backward(x, weight)
        ctx.save_for_forward(weight)

    @staticmethod
    def backward(ctx: Any, u: Tensor) -> tuple[Tensor, None, None]:
        x, weight = ctx.saved_tensors
        return cast(Tensor, _Deconvolve.apply(u, x, weight, ctx.how)), None, None

    @staticmethod
    def jvp(ctx: Any, tangent: Tensor, *_: Any) -> Tensor:
        return cast(Tensor, _Convolve.apply(tangent, ctx.saved_tensors[0], ctx.how))


class _Deconvolve(_OverSamples):
    """u ↦ the transposed convolution of u with w; x gives its shape alone."""

    SAMPLES = 2

    @staticmethod
    def forward(u: Tensor, x: Tensor, weight: Tensor, how: tuple[Any, ...]) -> Tensor:
        return cast(Tensor, torch.ops.aten.convolution_backward(u, x, weight, None, *how, [True, False, False])[0])

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Any, ...], _output: Tensor) -> None:
        _, _, weight, ctx.how = inputs
        ctx.save_for_backward(weight)

    @staticmethod
    def backward(ctx: Any, v: Tensor) -> tuple[Tensor, None, None, None]:
        return torch.ops.aten.convolution(v, ctx.saved_tensors[0], None, *ctx.how), None, None, None


class _Normalise(_OverSamples):
    """x ↦ (x − μ) / σ in each group, with μ and 1/σ."""

    @staticmethod
    def forward(x: Tensor, groups: int, eps: float) -> tuple[Tensor, Tensor, Tensor]:
        samples, channels, *space = x.shape
        area = torch.Size(space).numel()
        return cast(
            tuple[Tensor, Tensor, Tensor],
            torch.ops.aten.native_group_norm(x.contiguous(), None, None, samples, channels, area, groups, eps),
        )

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Any, ...], output: tuple[Tensor, Tensor, Tensor]) -> None:
        x, ctx.groups, _ = inputs
        _, mean, deviation = output
        ctx.save_for_backward(x, mean, deviation)
        ctx.save_for_forward(x, mean, deviation)
        ctx.mark_non_differentiable(mean, deviation)

    @staticmethod
    def backward(ctx: Any, u: Tensor, *_: Any) -> tuple[Tensor, None, None]:
        x, *moments = ctx.saved_tensors
        point = fixed(x)
        return cast(Tensor, _Symmetric.apply(u, point, *moments, ctx.groups)), None, None

    @staticmethod
    def jvp(ctx: Any, tangent: Tensor, *_: Any) -> tuple[Tensor, None, None]:
        return cast(Tensor, _Symmetric.apply(tangent, *ctx.saved_tensors, ctx.groups)), None, None


def _symmetric(u: Tensor, x: Tensor, mean: Tensor, deviation: Tensor, groups: int) -> Tensor:
    samples, channels, *space = x.shape
    sizes = (samples, channels, torch.Size(space).numel(), groups, [True, False, False])
    kernel = torch.ops.aten.native_group_norm_backward
    return cast(Tensor, kernel(u.contiguous(), x.contiguous(), mean, deviation, None, *sizes)[0])


class _Symmetric(_OverSamples):
    """u ↦ J u of the normalisation at x, which is its own transpose."""

    SAMPLES = 4

    @staticmethod
    def forward(u: Tensor, x: Tensor, mean: Tensor, deviation: Tensor, groups: int) -> Tensor:
        return _symmetric(u, x, mean, deviation, groups)

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Any, ...], _output: Tensor) -> None:
        _, *point, ctx.groups = inputs
        ctx.save_for_backward(*point)

    @staticmethod
    def backward(ctx: Any, v: Tensor) -> tuple[Tensor, None, None, None, None]:
        x, mean, deviation = ctx.saved_tensors
        return _symmetric(v, x, mean, deviation, ctx.groups), None, None, None, None
