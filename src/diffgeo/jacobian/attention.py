r"""Attention whose derivatives take memory in proportion to the tokens, not to their square.

With the scores S = s·Q Kᵀ + mask, the weights P = softmax(S) by rows and O = P V, the products with its Jacobian are

    Jᵀ u:   D = rowsum(u ∘ O),   G = P ∘ (u Vᵀ − D),   (s·G K,  s·Gᵀ Q,  Pᵀ u);
    J v:    Ṡ = s·(Q̇ Kᵀ + Q K̇ᵀ),   G = P ∘ Ṡ,   Ȯ = G V − rowsum(G) ∘ O + P V̇.

J v is also the transpose of u ↦ Jᵀ u, so that the same two rules serve reverse mode, reverse mode over reverse mode,
and forward mode. P is never kept: blocks of its rows are computed again from Q and K, as in FlashAttention (Dao et al.
2022), and one block serves all columns of a product.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Any, NamedTuple, cast

import torch
from torch import Tensor
from torch.autograd import Function
from torch.autograd.forward_ad import unpack_dual
from torch.nn.functional import scaled_dot_product_attention

__all__ = ["attention", "fixed", "has_derivative"]

_BLOCK_ON_CPU, _BLOCK_ELSEWHERE = 1 << 18, 1 << 26
"""Numbers of P that are made at once: what a processor's cache holds, and what keeps a GPU busy."""


def attention(
    query: Tensor,
    key: Tensor,
    value: Tensor,
    attn_mask: Tensor | None = None,
    dropout_p: float = 0.0,
    is_causal: bool = False,
    scale: float | None = None,
    enable_gqa: bool = False,
) -> Tensor:
    """:func:`torch.nn.functional.scaled_dot_product_attention` by the rules of this module.

    Args:
        query: Q, shape (…, L, E).
        key: K, shape (…, S, E).
        value: V, shape (…, S, F).
        attn_mask: added to the scores, or True if a token may be seen; broadcasts to (…, L, S).
        dropout_p: above 0, torch's own function is called.
        is_causal: the i-th row sees tokens up to the i-th alone.
        scale: s; 1/√E if None.
        enable_gqa: several heads of Q share one of K and V.

    Returns:
        O, shape (…, L, F); 0 in a row that may see no token. A mask with a derivative goes to torch's function, too,
        and so does one beside ``is_causal``, which torch refuses.
    """
    if dropout_p > 0 or (attn_mask is not None and (is_causal or has_derivative(attn_mask))):
        more = {"scale": scale, "enable_gqa": enable_gqa}
        return scaled_dot_product_attention(query, key, value, attn_mask, dropout_p, is_causal, **more)  # type: ignore[arg-type]
    if enable_gqa:
        key, value = (x.repeat_interleave(query.shape[-3] // x.shape[-3], dim=-3) for x in (key, value))
    masks = () if attn_mask is None else (attn_mask,)
    lead = torch.broadcast_shapes(*(x.shape[:-2] for x in (query, key, value, *masks)))
    q, k, v = (x.expand(*lead, *x.shape[-2:]) for x in (query, key, value))
    how = _How(1 / math.sqrt(q.shape[-1]) if scale is None else scale, is_causal)
    return cast(Tensor, _Attend.apply(q, k, v, attn_mask, how))


def has_derivative(tensor: Tensor) -> bool:
    """Whether derivatives are taken by a tensor, in reverse or in forward mode."""
    return tensor.requires_grad or unpack_dual(tensor).tangent is not None


class _How(NamedTuple):
    """The settings: the factor s, and whether causal."""

    scale: float
    causal: bool


class _Weights:
    """P, a block at a time.

    Matrices are kept in the layout in which a processor multiplies them quickest: the long dimension, that of the
    tokens, last. It is four times quicker than the other one for heads of eight channels.

    Args:
        q: Q, shape (*lead, L, E).
        k: K, shape (*lead, S, E).
        mask: broadcasts to (*lead, L, S).
        how: the settings.
    """

    def __init__(self, q: Tensor, k: Tensor, mask: Tensor | None, how: _How) -> None:
        lead = q.shape[:-2]
        self.q, self.k, self.causal = _flat(q, 0) * how.scale, _wide(_flat(k, 0)), how.causal
        self.masks, self.which = mask, q.new_zeros(0, dtype=torch.long)
        if mask is not None:
            self.masks = mask.reshape(-1, *mask.shape[-2:]) if mask.ndim > 1 else mask.reshape(1, 1, -1)
            own = torch.arange(len(self.masks), device=q.device)
            self.which = own.reshape(mask.shape[:-2]).expand(lead).reshape(-1)

    def blocks(self) -> Iterator[tuple[slice, slice, Tensor]]:
        """Which matrices and which of their rows are made together, and their P."""
        (count, rows, _), tokens = self.q.shape, self.k.shape[1]
        most = max(1, (_BLOCK_ON_CPU if self.q.device.type == "cpu" else _BLOCK_ELSEWHERE) // max(tokens, 1))
        height = max(1, min(rows, most))
        width = max(1, most // height)
        for first in range(0, count, width):
            for row in range(0, rows, height):
                matrices, some = slice(first, min(count, first + width)), slice(row, min(rows, row + height))
                yield matrices, some, self._block(matrices, some)

    def _block(self, matrices: slice, rows: slice) -> Tensor:
        s = torch.bmm(self.q[matrices, rows], self.k[matrices].mT)
        if self.causal:
            row = torch.arange(rows.start, rows.stop, device=s.device)[:, None]
            s.masked_fill_(torch.arange(s.shape[2], device=s.device) > row, -math.inf)
        if self.masks is None:
            return s.softmax(-1)
        part = (self.masks[:, rows] if self.masks.shape[1] > 1 else self.masks)[self.which[matrices]]
        s = s.masked_fill_(~part, -math.inf) if part.dtype == torch.bool else s.add_(part)
        blind = s.amax(-1, keepdim=True) == -math.inf
        return s.softmax(-1).masked_fill_(blind, 0.0)


def _flat(x: Tensor, columns: int) -> Tensor:
    """(*columns, *lead, L, E) as (C, N, L, E); without columns as (N, L, E)."""
    shape, space = x.shape[:columns], x.shape[-2:]
    count = x.shape[columns:-2].numel()
    return x.reshape(*([shape.numel()] if columns else []), count, *space)


def _wide(x: Tensor) -> Tensor:
    """The same matrices, laid out in memory by columns."""
    return x.mT.contiguous().mT


def _forward(q: Tensor, k: Tensor, v: Tensor, mask: Tensor | None, how: _How) -> Tensor:
    """O, shape (*lead, L, F)."""
    weights, values = _Weights(q, k, mask, how), _wide(_flat(v, 0))
    o = q.new_empty(*weights.q.shape[:2], v.shape[-1])
    for matrices, rows, p in weights.blocks():
        o[matrices, rows] = torch.bmm(p, values[matrices])
    return o.reshape(*q.shape[:-1], v.shape[-1])


class _Point(NamedTuple):
    """Where derivatives are taken: Q, K, V, the mask and O."""

    q: Tensor
    k: Tensor
    v: Tensor
    mask: Tensor | None
    o: Tensor


def _pull(u: Tensor, at: _Point, how: _How, needs: tuple[bool, bool]) -> tuple[Tensor, ...]:
    """Jᵀ u, shape (*columns, …): the part of Q if ``needs[0]``, those of K and V if ``needs[1]``."""
    shape = u.shape[: u.ndim - at.o.ndim]
    weights, values, flat = _Weights(at.q, at.k, at.mask, how), _wide(_flat(at.v, 0)), _flat(u, len(shape))
    flat = flat if shape else flat[None]
    d = (flat * _flat(at.o, 0)).sum(-1, keepdim=True)
    into_q = flat.new_empty(len(flat), *weights.q.shape) if needs[0] else None
    into_k, into_v = (
        flat.new_zeros(len(flat), *x.mT.shape).mT if needs[1] else None for x in (weights.k, values)
    )  # by columns, as K and V
    for matrices, rows, p in weights.blocks():
        for c in range(len(flat)):
            part = flat[c, matrices, rows]
            g = torch.baddbmm(d[c, matrices, rows], part, values[matrices].mT, beta=-1).mul_(p)
            if into_q is not None:
                into_q[c, matrices, rows] = torch.bmm(g, weights.k[matrices]).mul_(how.scale)
            if into_k is not None and into_v is not None:
                into_k[c, matrices].mT.baddbmm_(weights.q[matrices, rows].mT, g)
                into_v[c, matrices].mT.baddbmm_(part.mT, p)
    found = ((into_q, at.q), (into_k, at.k), (into_v, at.v))
    return tuple(image.reshape(*shape, *like.shape) for image, like in found if image is not None)


def _push(tangents: tuple[Tensor | None, ...], at: _Point, how: _How) -> Tensor:
    """J v of tangents of Q, K and V, shape (*columns, …) each; None stands for zeros."""
    shape = next(x.shape[: x.ndim - at.o.ndim] for x in tangents if x is not None)
    weights, values, o = _Weights(at.q, at.k, at.mask, how), _wide(_flat(at.v, 0)), _flat(at.o, 0)
    flats = [None if x is None else _flat(x, len(shape)) for x in tangents]
    dq, dk, dv = (x if x is None or shape else x[None] for x in flats)
    count = shape.numel()
    left, right = weights.q.expand(count, *weights.q.shape), weights.k.expand(count, *weights.k.shape)
    if dq is not None and dk is not None:  # [Q̇ Q] [K K̇]ᵀ, one product
        left, right = torch.cat([dq * how.scale, left], dim=-1), torch.cat([right, dk], dim=-1)
    elif dq is not None:
        left = dq * how.scale
    elif dk is not None:
        right = dk
    right, dv = _wide(right), None if dv is None else _wide(dv)
    out = o.new_zeros(count, *o.shape)
    for matrices, rows, p in weights.blocks():
        for c in range(count):
            image = out[c, matrices, rows]
            if dq is not None or dk is not None:
                g = torch.bmm(left[c, matrices, rows], right[c, matrices].mT).mul_(p)
                image += torch.bmm(g, values[matrices]).sub_(g.sum(-1, keepdim=True) * o[matrices, rows])
            if dv is not None:
                image += torch.bmm(p, dv[c, matrices])
    return out.reshape(*shape, *at.o.shape)


class _Attend(Function):
    """(Q, K, V) ↦ O."""

    @staticmethod
    def forward(q: Tensor, k: Tensor, v: Tensor, mask: Tensor | None, how: _How) -> Tensor:
        return _forward(q, k, v, mask, how)

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Any, ...], output: Tensor) -> None:
        *point, ctx.how = inputs
        ctx.set_materialize_grads(False)
        ctx.save_for_backward(*point, output)
        ctx.save_for_forward(*point, output)

    @staticmethod
    def backward(ctx: Any, u: Tensor | None) -> tuple[Tensor | None, ...]:
        of_q, *of_others = ctx.needs_input_grad[:3]
        q, k, v, mask, o = ctx.saved_tensors
        point = (fixed(q), fixed(k), fixed(v), mask, fixed(o))
        return *_pulled(u, point, ctx.how, (of_q, any(of_others))), None, None

    @staticmethod
    def jvp(ctx: Any, *tangents: Any) -> Tensor | None:
        return _pushed(tangents[:3], ctx.saved_tensors, ctx.how)

    @staticmethod
    def vmap(info: Any, in_dims: Any, *inputs: Any) -> tuple[Any, Any]:
        """Copies are one more leading dimension."""
        *parts, mask, how = inputs
        if in_dims[3] is not None:
            raise NotImplementedError("vmap over the mask of an attention")
        spread = [_spread(part, dim, info.batch_size) for part, dim in zip(parts, in_dims, strict=False)]
        return _Attend.apply(*spread, mask, how), 0


class _Linear(Function):
    """A map that is linear in its leading arguments, at a point; vmap over both, or over the former alone."""

    LINEAR: int
    """How many of the arguments it is linear in."""

    @classmethod
    def vmap(cls, info: Any, in_dims: Any, *inputs: Any) -> tuple[Any, Any]:
        """Columns come first; copies of the point are one more leading dimension behind them."""
        size, n = info.batch_size, cls.LINEAR
        point, dims = list(inputs[n : n + 5]), in_dims[n : n + 5]
        if dims[3] is not None:
            raise NotImplementedError("vmap over the mask of an attention")
        copies = any(dim is not None for dim in dims)
        if copies:
            point = [x if i == 3 else _spread(x, dim, size) for i, (x, dim) in enumerate(zip(point, dims, strict=True))]
        place = 0
        if copies:  # behind the columns that there are
            ready = next((x, dim) for x, dim in zip(inputs[:n], in_dims, strict=False) if x is not None)
            place = ready[0].ndim - (ready[1] is not None) - (point[0].ndim - 1)
        leading = [
            x if x is None else _spread(x, dim, size, place) for x, dim in zip(inputs[:n], in_dims, strict=False)
        ]
        found = cls.apply(*leading, *point, *inputs[n + 5 :])
        return found, place if isinstance(found, Tensor) else (place,) * len(found)


class _Pull(_Linear):
    """u ↦ Jᵀ u."""

    LINEAR = 1

    @staticmethod
    def forward(u: Tensor, *rest: Any) -> tuple[Tensor, ...]:
        *point, how, needs = rest
        return _pull(u, _Point(*point), how, needs)

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Any, ...], _output: Any) -> None:
        _, *point, ctx.how, ctx.needs = inputs
        ctx.set_materialize_grads(False)
        ctx.save_for_backward(*point)

    @staticmethod
    def backward(ctx: Any, *tangents: Tensor | None) -> tuple[Any, ...]:
        of_q, of_others = ctx.needs
        of_query = tangents[:1] if of_q else (None,)
        of_key_and_value = tangents[-2:] if of_others else (None, None)
        return _pushed(of_query + of_key_and_value, ctx.saved_tensors, ctx.how), *[None] * 7


class _Push(_Linear):
    """v ↦ J v."""

    LINEAR = 3

    @staticmethod
    def forward(*inputs: Any) -> Tensor:
        return _push(inputs[:3], _Point(*inputs[3:8]), inputs[8])

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Any, ...], _output: Any) -> None:
        ctx.set_materialize_grads(False)
        ctx.save_for_backward(*inputs[3:8])
        ctx.how = inputs[8]

    @staticmethod
    def backward(ctx: Any, u: Tensor | None) -> tuple[Any, ...]:
        of_q, *of_others = ctx.needs_input_grad[:3]
        return *_pulled(u, ctx.saved_tensors, ctx.how, (of_q, any(of_others))), *[None] * 6


def _pulled(u: Tensor | None, point: tuple[Any, ...], how: _How, needs: tuple[bool, bool]) -> tuple[Tensor | None, ...]:
    """Jᵀ u for Q, K and V; None for what is not needed."""
    if u is None or not any(needs):
        return None, None, None
    found = _Pull.apply(u, *point, how, needs)
    return (found[0] if needs[0] else None), *(found[-2:] if needs[1] else (None, None))


def _pushed(tangents: tuple[Tensor | None, ...], point: tuple[Any, ...], how: _How) -> Tensor | None:
    """J v; None if all tangents are."""
    return None if all(tangent is None for tangent in tangents) else cast(Tensor, _Push.apply(*tangents, *point, how))


def _spread(x: Tensor, dim: int | None, size: int, place: int = 0) -> Tensor:
    """With the dimension that vmap lays out at a place of its own."""
    if dim is not None:
        return x.movedim(dim, place)
    return x.unsqueeze(place).expand(*x.shape[:place], size, *x.shape[place:])


class _Fixed(Function):
    """The point itself; its derivative would be the second one of a layer by x, which is refused here."""

    generate_vmap_rule = True

    @staticmethod
    def forward(x: Tensor) -> Tensor:
        return x.view_as(x)

    @staticmethod
    def setup_context(_ctx: Any, _inputs: tuple[Any, ...], _output: Tensor) -> None:
        pass

    @staticmethod
    def backward(ctx: Any, _: Tensor) -> Tensor:
        raise NotImplementedError(
            "the second derivative of a group norm or an attention by x; leave transposable_layers for it"
        )


def fixed(x: Tensor) -> Tensor:
    """x, whose derivative is refused: rules that use it are linear in something else."""
    return cast(Tensor, _Fixed.apply(x))
