r"""How much of a direction is the same in all channels.

A direction v in pixel space is split into its mean over the C channels, repeated, v̄, and the rest. Its greyness is
g = ‖v̄‖² / ‖v‖²: 1 if v changes brightness alone, 0 if it changes colour alone, and 1 / C on average over random v. One
row per (sample, timestep, direction).
"""

from __future__ import annotations

import pandas as pd
from torch import Tensor

from diffgeo.results import Result
from diffgeo.session import Context
from diffgeo_greyness.settings import GreynessConfig


def greyness(v: Tensor, shape: tuple[int, int, int]) -> Tensor:
    """g of each direction, in [0, 1].

    Args:
        v: directions as columns, shape (d, n).
        shape: of x, (C, H, W) with C·H·W = d.

    Returns:
        Shape (n,).
    """
    pictures = v.T.unflatten(1, shape)
    grey = pictures.mean(dim=1, keepdim=True).expand_as(pictures)
    return grey.square().sum(dim=(1, 2, 3)) / pictures.square().sum(dim=(1, 2, 3))


def run(context: Context, cfg: GreynessConfig) -> Result:
    """Greyness of the leading directions of every sample's local bases, which other studies of the run share."""
    rows, shape = [], context.model.latent_shape
    places = [(sample, t_frac, t) for sample in context.samples for t_frac, t in context.edit_times]
    for sample, t_frac, t in context.track(places, "greyness"):
        v = context.bases.of(sample, t).V[:, : cfg.directions]
        where = {"sample": sample.index, "t_frac": t_frac, "t": t, "random": 1 / shape[0]}
        rows += [{**where, "direction": i, "greyness": g} for i, g in enumerate(greyness(v, shape).tolist())]
    table = pd.DataFrame(rows)
    means = {} if table.empty else table.groupby("t_frac", sort=False)["greyness"].mean().to_dict()
    return Result("greyness", table, {f"greyness/t_{t_frac:g}": mean for t_frac, mean in means.items()})
