r"""Every block of a network as the feature map: which one plays the part of h?

The papers take h from the bottleneck of a U-Net. A transformer has no bottleneck, and other blocks of a U-Net can be
asked as well. At a sample's x_t, with ∂h/∂x = U S Vᵀ of the whole h of a block, a row per (sample, timestep, block,
map) of table ``blocks`` has

    tangent_share         ‖V_nᵀB‖²_F / n, the share of the data's tangent space that the leading n directions hold; n is
                          its dimension and ``chance`` = n/d (:mod:`diffgeo.studies.shared.portraits`). NaN if the data
                          are not known in closed form
    effective_dimension   (Σ s²)² / Σ s⁴ of the leading ``rank`` singular values
    condition, log_spread s_1 / s_rank, and the standard deviation of log s: 1 and 0 for an isometry
    vitality              how different, by the run's perceptual measure, x̂0(x, t) looks if the block is skipped
                          (:mod:`diffgeo.diffusion.skipping`); the same for all maps of a block
    depth                 the share of the network's multiply-adds up to the end of the block

The maps are what ``feature.tap`` knows, the block's output, the update that it adds and the normalised output; and
``trimmed``, the output without the channels whose root mean square at x is above ``massive`` times the median channel's
(massive activations, arXiv 2402.17762, of which transformers have a few). ``left_out`` is their number.

Table ``blocks_consistency``, a row per pair of samples: ‖U_nᵀU'_n‖²_F / n, how far two samples share their directions
of h, and n/m, which random ones of the m-dimensional H do (n k / (m m'), if the trimmed maps of the two have m and m'
dimensions, k of them in common). Table ``blocks_edits``, a row per edit: the leading
directions of every block (of its first map), and random ones, brought to one perceptual change
(:mod:`diffgeo.studies.shared.matching`).
"""

from __future__ import annotations

import logging
import math
from collections.abc import Callable, Iterator
from dataclasses import replace
from itertools import combinations
from typing import Any

import pandas as pd
import torch
from torch import Tensor

from diffgeo.data.tangent import TangentSpace
from diffgeo.diffusion.block_listing import Block, list_blocks
from diffgeo.diffusion.skipping import without_block
from diffgeo.errors import ConfigError
from diffgeo.geometry import effective_dimension, isometry
from diffgeo.metrics.edits import edit_precision
from diffgeo.results import Result, Row
from diffgeo.session import Context, Sample
from diffgeo.session.bases import MapName
from diffgeo.studies.blocks.settings import BlocksConfig
from diffgeo.studies.shared.matching import Edit, match_edits, random_in_x, straight
from diffgeo.studies.shared.portraits import sampled_portraits, share_of_span
from diffgeo.svd import LocalBasis

log = logging.getLogger(__name__)

Span = tuple[int, Tensor, list[int]]
"""Sample, directions of H, shape (m, n), and the channels of h that they leave out."""
Directions = dict[tuple[int, int, str], Tensor]
"""(sample, timestep, block) → directions of X that are edited, shape (d, k)."""


def run(context: Context, cfg: BlocksConfig) -> Result:
    """Compare the blocks of the model's network at every sample's x_t."""
    setting = "study.blocks.t_fracs"
    times = context.edit_times if cfg.t_fracs is None else context.times_of(cfg.t_fracs, setting)
    samples, blocks = context.samples.first(cfg.samples), _blocks(context, cfg)
    spaces: dict[int, TangentSpace] = {}
    if context.known_factors:
        near = sampled_portraits(context, samples, cfg.residual, "study.blocks.residual")
        spaces = {one.index: one.space for one in near}
    rows: list[Row] = []
    pairs: list[Row] = []
    found: Directions = {}
    places = [(t_frac, t, block) for t_frac, t in times for block in blocks]
    for t_frac, t, block in context.track(places, "blocks"):
        where: Row = {"t_frac": t_frac, "t": t, "log_snr": context.model.schedule.log_snr(t)}
        where |= {"block": block.name, "depth": block.share}
        images: dict[str, list[Span]] = {name: [] for name in cfg.maps}
        for sample in samples:
            vitality = _vitality(context, sample, t, block.name)
            space = spaces.get(sample.index)
            for name, basis, left_out in _bases(context, cfg, sample, t, block.name, space):
                here = {"sample": sample.index, **where, "map": name}
                here |= _geometry(basis, space, cfg.rank)
                rows.append(here | {"vitality": vitality, "left_out": len(left_out)})
                images[name].append((sample.index, basis.U[:, : _dimension(space, cfg.rank)], left_out))
                if name == cfg.maps[0]:
                    found[sample.index, t, block.name] = basis.V[:, : cfg.directions]
        for name, spans in images.items():
            assert block.shape is not None
            pairs += [where | {"map": name} | row for row in _consistency(spans, block.shape[0])]
    edits: list[Row] = []
    if cfg.directions and context.predictor is not None:
        edited = [(sample, t_frac, t) for sample in samples for t_frac, t in times]
        for sample, t_frac, t in context.track(edited, "edits of blocks"):
            edits += [{"t_frac": t_frac, "t": t} | row for row in _edits(context, cfg, sample, t, found)]
    table = pd.DataFrame(rows)
    more = {"consistency": pd.DataFrame(pairs), "edits": pd.DataFrame(edits)}
    more = {name: one for name, one in more.items() if len(one)}
    return Result("blocks", table, {} if table.empty else _scalars(table), more_tables=more)


def _blocks(context: Context, cfg: BlocksConfig) -> list[Block]:
    """The blocks that are compared, in the order of the network; those without an image are left out.

    Raises:
        ConfigError: a block of ``study.blocks.blocks`` has no image.
    """
    asked = context.model.blocks if cfg.blocks is None else cfg.blocks
    listed = list_blocks(context.model, asked)
    refused = [block for block in listed if block.shape is None]
    if refused and cfg.blocks is not None:
        raise ConfigError(f"study.blocks.blocks: {refused[0].reason}", "leave it out")
    for block in refused:
        log.info("block %s is left out: %s", block.name, block.reason)
    return [block for block in listed if block.shape is not None]


def _bases(
    context: Context, cfg: BlocksConfig, sample: Sample, t: int, block: str, space: TangentSpace | None
) -> Iterator[tuple[str, LocalBasis, list[int]]]:
    """(map, local basis, channels left out) of a block at a sample's x_t; no update if the block changes the shape."""
    x, rank = context.latents.of(sample, t), max(cfg.rank, 0 if space is None else space.rank)
    output = replace(context.cfg.feature, block=block, pool=None, tap="output")
    whole: LocalBasis | None = None
    for name in cfg.maps:
        if name != "trimmed":
            feature = replace(output, tap=name)
            try:
                basis = context.bases.at(x, t, feature=feature, rank=rank)
            except ConfigError:
                if name == "update":
                    continue
                raise
            whole = basis if name == "output" else whole
            yield name, basis, []
            continue
        f, left_out = trimmed(context.bases.feature_map(t, output), x, cfg.massive)
        if left_out:
            called = MapName(t, block, output=f"{block} without channels {left_out}")
            yield name, context.bases.of_map(f, x, name=called, rank=rank), left_out
        else:
            yield name, whole or context.bases.at(x, t, feature=output, rank=rank), []


def trimmed(f: Callable[[Tensor], Tensor], x: Tensor, massive: float) -> tuple[Callable[[Tensor], Tensor], list[int]]:
    """A feature map without its channels of massive activations at a point.

    Args:
        f: feature map to (C, rows, columns).
        x: the point, shape of f's argument.
        massive: how many times the median channel's root mean square over the places a channel's may be.

    Returns:
        The map, and the channels that are left out.
    """
    with torch.no_grad():
        size = f(x).square().mean(dim=(-2, -1)).sqrt()
    kept = size <= massive * size.median()
    return lambda y: f(y)[..., kept, :, :], (~kept).nonzero()[:, 0].tolist()


def _dimension(space: TangentSpace | None, rank: int) -> int:
    """n: that of the data if it is known."""
    return rank if space is None else space.rank


def _geometry(basis: LocalBasis, space: TangentSpace | None, rank: int) -> Row:
    """What a local basis tells about its map."""
    condition, spread = isometry(basis.s[:rank])
    row: Row = {
        "size": basis.U.shape[0],
        "effective_dimension": effective_dimension(basis.s[:rank]),
        "condition": condition,
        "log_spread": spread,
        "tangent_share": math.nan,
        "chance": math.nan,
    }
    if space is not None:
        v = basis.V[:, : space.rank].double().cpu()
        row |= {"tangent_share": share_of_span(v, space.basis), "chance": space.rank / v.shape[0]}
    return row


@torch.no_grad()
def _vitality(context: Context, sample: Sample, t: int, block: str) -> float:
    """How different x̂0 looks without a block; NaN if the block cannot be skipped."""
    model, x = context.model.editor, context.latents.of(sample, t)[None]
    try:
        with without_block(model.unet, block):
            without = model.predict_x0(x, t)
    except ConfigError:
        return math.nan
    pictures = model.decode(torch.cat([model.predict_x0(x, t), without]))
    return context.perceptual(pictures[1:], pictures[:1]).item()


def _consistency(spans: list[Span], channels: int) -> Iterator[Row]:
    """How far pairs of samples share their directions of h, of which each may leave out channels of its own."""
    for (a, first, out_a), (b, second, out_b) in combinations(spans, 2):
        n = min(first.shape[1], second.shape[1])
        u, w = (_whole(one[:, :n], out, channels) for one, out in ((first, out_a), (second, out_b)))
        common = channels - len({*out_a, *out_b})
        yield {
            "sample_a": a,
            "sample_b": b,
            "shared": (u.T @ w).double().square().sum().item() / n,
            "chance": n * common / (first.shape[0] * (channels - len(out_b))),
        }


def _whole(u: Tensor, left_out: list[int], channels: int) -> Tensor:
    """Directions of an h without some of its channels, with zeros in their place."""
    kept = [channel for channel in range(channels) if channel not in left_out]
    whole = u.new_zeros(channels, u.shape[0] // len(kept), u.shape[1])
    whole[kept] = u.unflatten(0, (len(kept), -1))
    return whole.flatten(0, 1)


def _edits(context: Context, cfg: BlocksConfig, sample: Sample, t: int, found: Directions) -> Iterator[Row]:
    """Edits along the directions of every block, and along random ones, at one perceptual change."""
    predictor, own = context.predictor, context.cfg.feature.block
    assert predictor is not None
    reach = context.editor.gammas[-1].item() * cfg.limit
    edits: list[Edit] = []
    for (index, at, block), v in found.items():
        if (index, at) == (sample.index, t):
            edits += straight(context, block, v, reach)
    edits += straight(context, "random", random_in_x(context, cfg.directions, sample), reach)
    matched = match_edits(context, sample, t, edits, cfg.change, reference=own)
    changes = predictor(matched.edited) - predictor(matched.original)
    precision = edit_precision(changes, changes.abs().argmax(dim=1))
    measured = context.measured(matched.edited, matched.original)
    for i, edit in enumerate(edits):
        yield {
            "sample": sample.index,
            "block": edit.variant,
            "direction": edit.direction,
            **matched.row(i),
            "perceptual_measure": context.perceptual.name,
            "attribute": predictor.names[int(changes[i].abs().argmax())],
            "precision": precision[i].item(),
            **{name: values[i] for name, values in measured.items()},
        }


def _scalars(table: pd.DataFrame) -> dict[str, float]:
    """Means over samples of the share of the tangent space, or of the effective dimension if that is not known."""
    column = "tangent_share" if table["tangent_share"].notna().any() else "effective_dimension"
    scalars: dict[str, Any] = {}
    for (name, block, t_frac), part in table.groupby(["map", "block", "t_frac"], sort=False):
        scalars[f"{column}/{name}/{block}/t_{t_frac:g}"] = float(part[column].mean())
    return scalars
