"""What the exact tangent space says of the papers' claims."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pandas as pd

from diffgeo.claims import Claim, Tables, Values, at_time, first_last


def _paths(tables: Tables) -> pd.DataFrame:
    """Shares at the sampler's own x_t, in as many directions as the data have dimensions there."""
    table = tables["tangent_truth"]
    return table[(table["kind"] == "path") & (table["n"] == table["tangent_rank"])]


def _coarse_falls(tables: Tables) -> Values:
    """Share of coarse factors' tangents in the directions of h less that of fine ones, T minus the lowest t."""
    table = _paths(tables)
    shares = table[(table["map"] == "h") & (table["factor"] != "span")]
    wide = shares.pivot_table(index=["sample", "t_frac"], columns="scale", values="share")
    ahead = (wide["coarse"] - wide["fine"]).rename("ahead").reset_index()
    return -first_last(ahead, "sample", "t_frac", "ahead")


def _above(other: str, when: str | float) -> Callable[[Tables], Values]:
    """Share of the data's tangent space in the directions of h, less that in those of another map.

    Args:
        other: the map.
        when: ``max`` or ``min``, an end of the timesteps, or a fraction of T.
    """

    def measure(tables: Tables) -> Values:
        table = _paths(tables)
        spans = table[(table["factor"] == "span") & (table["scale"] == "all")]
        t_frac = getattr(spans["t_frac"], when)() if isinstance(when, str) else when
        spans = at_time(spans, t_frac)
        wide = spans.pivot_table(index="sample", columns="map", values="share")
        return np.asarray(wide["h"] - wide[other])

    return measure


SPAN = (
    "The tangent space of the data is known exactly at every portrait: the share of its span in as many leading "
    "directions as it has dimensions."
)

CLAIMS: tuple[Claim, ...] = (
    Claim(
        "P23a Fig. 4",
        "p23a/fig4",
        "true tangents of coarse above fine factors, share in the directions of h, T minus the lowest t",
        _coarse_falls,
        asserts="Directions go from coarse attributes at T to fine ones nearer the picture.",
        because="Which factors a portrait can change in is known: share of each one's true tangent in the directions "
        "of h, without a predictor.",
        refuted="Directions hold more of the coarse factors' tangents at the lowest t than at T.",
    ),
    *(
        Claim(
            "P23a Fig. 12",
            "p23a/fig12",
            f"share of the data's true tangent space in directions of ∂h/∂x above {name}, at {when}",
            _above(other, end),
            asserts=f"Directions of h hold more of what the data can change in than those of {name}, at {when}.",
            because=SPAN,
            refuted=f"Directions of {name} hold more.",
        )
        for other, name in (("x0", "∂x̂0/∂x"), ("eps", "∂ε/∂x"))
        for end, when in (("max", "T"), ("min", "the lowest t"))
    ),
    *(
        Claim(
            "P23a Fig. 12 by t",
            "p23a/fig12",
            f"share of the data's true tangent space in directions of ∂h/∂x above {name}, at 0.5T",
            _above(other, 0.5),
            asserts=f"Directions of h hold more of what the data can change in than those of {name}, at 0.5T.",
            because=SPAN,
            refuted=f"Directions of {name} hold more.",
        )
        for other, name in (("x0", "∂x̂0/∂x"), ("eps", "∂ε/∂x"))
    ),
)
