"""What the study ``tangent_truth`` found, in sentences."""

from __future__ import annotations

import math
from collections.abc import Iterator

import numpy as np
import pandas as pd

from diffgeo.metrics.statistics import mean_interval, sign_flip_test
from diffgeo.report.findings import FEWEST, Finding, ends, lean, means_of
from diffgeo.report.formatting import counted, interval, timestep
from diffgeo.report.reading import Run


def findings(run: Run) -> Iterator[Finding]:
    """The main findings of a run, from known portraits if it has any; none if it lacks the maps h and x̂0."""
    table = run.table("tangent_truth")
    if table is None:
        return
    own = table[(table["factor"] == "span") & (table["scale"] == "all") & (table["n"] == table["tangent_rank"])]
    own = own[own["kind"] == own["kind"].iloc[0]] if len(own) else own
    if not {"h", "x0"} <= set(own["map"]):
        return
    wide = own.pivot_table(index=["sample", "t_frac", "log_snr"], columns="map", values="share").reset_index()
    first, last = ends(wide)
    samples = counted(wide["sample"].nunique(), "sample")
    words = []
    for t_frac in dict.fromkeys((first, last)):
        part = wide[wide["t_frac"] == t_frac]
        h, x0 = means_of([part["h"], part["x0"]])
        gain = mean_interval((part["h"] - part["x0"]).to_numpy())
        words.append(f"at {timestep(t_frac)} {h} against {x0} (h less x̂0 {interval(*gain)})")
    n, chance = int(own["n"].median()), float(own["null"].mean())
    yield Finding(
        "tangent_truth",
        _headline(wide, first, last),
        f"The leading {n} directions of ∂h/∂x and of ∂x̂0/∂x hold of the {n}-dimensional tangent space of the data: "
        f"{'; '.join(words)}; random directions hold {chance:.2g} ({samples}).",
    )
    found = crossings(wide, "t_frac")
    if first != last and found.notna().any():
        crossed, fraction = int(found.notna().sum()), interval(*mean_interval(found.to_numpy()))
        snr = interval(*mean_interval(crossings(wide).to_numpy()))  # a dash next to noise alone, whose log-SNR is −∞
        yield Finding(
            "tangent_truth",
            "The two maps change places on the way.",
            f"Interpolated between the timesteps measured, the shares of ∂h/∂x and of ∂x̂0/∂x are equal at t/T = "
            f"{fraction}, which is log-SNR {snr} (in {crossed} of {samples}).",
        )


def _headline(wide: pd.DataFrame, first: float, last: float) -> str:
    """Which map sees more of the data's tangent space at either end."""
    outcomes = []
    for t_frac in (first, last):
        part = wide[wide["t_frac"] == t_frac]
        gain = (part["h"] - part["x0"]).to_numpy()
        mean, low, high = mean_interval(gain)
        short = "an interval" if math.isnan(low) else "a test" if len(gain) < FEWEST else ""
        side = "yes" if mean > 0 else "opposite"
        told = side if math.isnan(low) else lean(low, high, len(gain), sign_flip_test(gain))
        outcomes.append(({"few": "yes", "few opposite": "opposite"}.get(told, told), short))
    (top, short), (bottom, _) = outcomes
    proviso = f" in these {counted(wide['sample'].nunique(), 'sample')}, too few for {short}" if short else ""
    names = {"yes": "the bottleneck", "opposite": "the denoiser"}
    if first == last or top == bottom:
        if top not in names:
            return f"Whether h or x̂0 sees more of the data's tangent space at {timestep(first)} stays open."
        return f"{names[top].capitalize()} sees more of the data's tangent space{proviso}."
    if top in names and bottom in names:
        return (
            f"Near noise {names[top]} sees more of the data's tangent space, near the picture {names[bottom]} does"
            f"{proviso}."
        )
    return f"Which of h and x̂0 sees more of the data's tangent space depends on the noise{proviso}."


def crossings(wide: pd.DataFrame, along: str = "log_snr") -> pd.Series[float]:
    """Where the shares of h and x̂0 are equal, by linear interpolation between neighbouring timesteps.

    Args:
        wide: a row per (sample, timestep), with columns ``sample``, ``t_frac``, ``h``, ``x0`` and ``along``.
        along: the column that is interpolated.

    Returns:
        By sample: the crossing nearest to noise, NaN if there is none, or if it is next to an infinite log-SNR.
    """
    found = {}
    for sample, part in wide.sort_values("t_frac", ascending=False).groupby("sample"):
        at, gain = part[along].to_numpy(), (part["h"] - part["x0"]).to_numpy()
        turns = np.flatnonzero(np.sign(gain[:-1]) * np.sign(gain[1:]) < 0)
        if len(turns):
            i = int(turns[0])
            ends = at[i : i + 2]
            weight = gain[i] / (gain[i] - gain[i + 1])
            found[sample] = ends[0] + weight * (ends[1] - ends[0]) if np.isfinite(ends).all() else math.nan
        else:
            found[sample] = math.nan
    return pd.Series(found, dtype=float)
