r"""Which attributes move at which timestep: coarse ones early, fine ones late (P23a, section 4.2; Fig. 4)?

An attribute's best timestep is the one at which the largest share of an edit's effect falls on it. Its scale is
measured on the renderer: the wavelength, in shares of the picture, of the mean radial frequency at which the picture
changes when the factor does. The claim is a positive rank correlation of the two over attributes; its interval is
the bootstrap over samples, its p-value that of scales shuffled over attributes. Attributes that are no FactorFaces
factors have no known scale.
"""

from __future__ import annotations

import math
from functools import cache
from typing import Any

import numpy as np
import pandas as pd
import torch
from scipy.stats import spearmanr

from diffgeo.data.factor_faces import FACTOR_NAMES, FACTORS, render, sample_factors
from diffgeo.metrics.spectral import radial_power
from diffgeo.metrics.statistics import INTERVAL_FROM, monte_carlo_p

_SHUFFLES = 999


@cache
def factor_scale(size: int = 32, n: int = 64) -> dict[str, float]:
    """Wavelength of every factor's effect on the picture, as a share of its side: 1 / (mean cycles per picture).

    Each factor goes from −0.5 to 0.5 (a binary one from −1 to 1) on n faces; the mean of the change is left out, as it
    has no wavelength.
    """
    faces = sample_factors(n, generator=torch.Generator().manual_seed(0))
    scales = {}
    for j, factor in enumerate(FACTORS):
        ends, reach = [], 1.0 if factor.kind == "binary" else 0.5
        for value in (-reach, reach):
            moved = faces.clone()
            moved[:, j] = value
            ends.append(render(moved, size))
        change = (ends[1] - ends[0]).double()
        power = radial_power(change[change.flatten(1).norm(dim=1) > 0]).mean(dim=0)[1:]
        cycles = (power * torch.arange(1, len(power) + 1)).sum() / power.sum()
        scales[factor.name] = 1 / cycles.item()
    return scales


def coarse_to_fine(shares: pd.DataFrame, *, seed: int = 0, draws: int = 200) -> tuple[pd.DataFrame, dict[str, float]]:
    """Best timesteps against scales.

    Args:
        shares: columns t_frac, method, place (sample), attribute, share.
        seed: of the bootstrap.
        draws: resamples.

    Returns:
        (the table with columns ``scale`` and ``best_t_frac`` beside, scalars ``coarse_to_fine_rho``, ``…_low``,
        ``…_high``, ``…_p``). The correlation uses the method ``local`` if it is there, else all but ``random``; it
        is missing for fewer than two timesteps or three attributes of known scale.
    """
    scales = factor_scale()
    table = shares.copy()
    table["scale"] = [scales.get(name, math.nan) for name in table["attribute"]]
    wide = table.pivot_table(index=["method", "attribute"], columns="t_frac", values="share", aggfunc="mean")
    best = wide.idxmax(axis=1).rename("best_t_frac").reset_index()
    table = table.merge(best, on=["method", "attribute"])
    methods = set(table["method"])
    chosen = table[table["method"] == "local"] if "local" in methods else table[table["method"] != "random"]
    chosen = chosen[chosen["attribute"].isin(FACTOR_NAMES)]
    if chosen["t_frac"].nunique() < 2 or chosen["attribute"].nunique() < 3:
        return table, {}
    cube = chosen.pivot_table(index="place", columns=["attribute", "t_frac"], values="share", aggfunc="mean")
    names = list(dict.fromkeys(cube.columns.get_level_values(0)))
    times = np.array(sorted(chosen["t_frac"].unique()))
    values = np.stack([cube[name][times].to_numpy() for name in names], axis=1)  # (samples, attributes, timesteps)
    wavelength = np.array([scales[name] for name in names])

    def rho(rows: np.ndarray[tuple[int, ...], np.dtype[np.float64]], scale: Any = wavelength) -> float:
        late = times[rows.mean(axis=0).argmax(axis=1)]
        return float(spearmanr(scale, late).statistic) if np.ptp(late) > 0 else math.nan

    random = np.random.default_rng(seed)
    found = [rho(values[random.integers(len(values), size=len(values))]) for _ in range(draws)]
    kept = np.array([r for r in found if not math.isnan(r)])
    low, high = (
        np.quantile(kept, [0.025, 0.975]) if len(kept) > 1 and len(values) >= INTERVAL_FROM else (math.nan, math.nan)
    )
    ends = {"coarse_to_fine_rho_low": float(low), "coarse_to_fine_rho_high": float(high)}
    null = np.array([rho(values, random.permutation(wavelength)) for _ in range(_SHUFFLES)])
    observed = rho(values)
    return table, {"coarse_to_fine_rho": observed, **ends, "coarse_to_fine_p": monte_carlo_p(observed, null)}
