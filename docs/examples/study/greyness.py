r"""Do directions change brightness or colour?

A direction v of pixel space is split into its mean over the channels and the rest. Its greyness is the first part's
share, g = ‖v̄‖² / ‖v‖² with v̄ the mean over channels, repeated: 1 changes brightness alone, 0 colour alone, and a
random direction has 1 / C. One row per (sample, timestep, direction).
"""

from __future__ import annotations

import pandas as pd
from diffgeo.config.studies.greyness import GreynessConfig
from torch import Tensor

from diffgeo.results import Result
from diffgeo.session import Context

__all__ = ["greyness", "run"]


def greyness(v: Tensor, shape: tuple[int, int, int]) -> Tensor:
    """Share of each direction that is the same in all channels, in [0, 1].

    Args:
        v: unit directions as columns, shape (d, n).
        shape: of x, (C, H, W) with C·H·W = d.

    Returns:
        Shape (n,).
    """
    pictures = v.T.unflatten(1, shape)
    grey = pictures.mean(dim=1, keepdim=True).expand_as(pictures)
    return grey.square().sum(dim=(1, 2, 3)) / pictures.square().sum(dim=(1, 2, 3))


def run(context: Context, cfg: GreynessConfig) -> Result:
    """Measure the leading directions of every sample; bases are shared with the other studies of the run."""
    rows = []
    places = [(sample, t_frac, t) for sample in context.samples for t_frac, t in context.edit_times]
    for sample, t_frac, t in context.track(places, "greyness"):
        basis = context.bases.of(sample, t)
        for i, share in enumerate(greyness(basis.V, context.model.latent_shape)[: cfg.directions].tolist()):
            rows.append({"sample": sample.index, "t_frac": t_frac, "t": t, "direction": i, "greyness": share})
    table = pd.DataFrame(rows)
    means = {} if table.empty else table.groupby("t_frac")["greyness"].mean()
    return Result("greyness", table, {f"greyness/t_{t_frac:g}": float(mean) for t_frac, mean in means.items()})
