r"""Singular spectra by timestep (P23a, Fig. 3b): does the spectrum flatten as t → 0?

One row per (sample, timestep): the effective dimension r = (Σ s²)² / Σ s⁴ of the leading ``rank`` directions (as many
for a flat spectrum, 1 for a single direction); on all n directions of the run's local bases the flatness s_n / s_1,
and the gap behind the last. Of the whole J, whose ‖J‖²_F is estimated by random probes (:func:`diffgeo.svd.energy`):
the share of ‖J‖²_F that the n directions hold, and how many directions hold half of it, NaN if more than n. Claims
are tested over samples.
"""

from __future__ import annotations

import pandas as pd

from diffgeo.geometry import effective_dimension, half_energy_rank
from diffgeo.metrics.statistics import sign_flip_test
from diffgeo.results import Result
from diffgeo.session import Context
from diffgeo.studies.spectrum.settings import SpectrumConfig

__all__ = ["run"]


def run(context: Context, cfg: SpectrumConfig) -> Result:
    """Summarise the spectra of every sample's local bases; they are shared with other studies of the run."""
    rows = []
    places = [(sample, t_frac, t) for sample in context.samples for t_frac, t in context.edit_times]
    for sample, t_frac, t in context.track(places, "spectrum"):
        basis = context.bases.of(sample, t)
        energy = context.bases.energy(sample, t)
        rows.append(
            {
                "sample": sample.index,
                "name": sample.name,
                "t_frac": t_frac,
                "t": t,
                "rank": basis.rank,
                "effective_dimension": effective_dimension(basis.s[: cfg.rank]),
                "flatness": (basis.s[-1] / basis.s[0]).item(),
                "energy": energy,
                "energy_share": basis.s.double().square().sum().item() / energy,
                "half_energy_rank": half_energy_rank(basis.s, energy),
                "singular_value_first": basis.s[0].item(),
                "gap": basis.certificate.gap,
            }
        )
    table = pd.DataFrame(rows)
    return Result("spectrum", table, {} if table.empty else _scalars(table))


def _scalars(table: pd.DataFrame) -> dict[str, float]:
    scalars = {}
    for t_frac, part in table.groupby("t_frac", sort=False):
        scalars[f"effective_dimension/t_{t_frac:g}"] = float(part["effective_dimension"].mean())
    by_time = table.pivot(index="sample", columns="t_frac", values="effective_dimension").dropna()
    if by_time.shape[1] >= 2 and len(by_time):
        flattened = (by_time[by_time.columns.min()] - by_time[by_time.columns.max()]).to_numpy()
        scalars["flattens_share"], scalars["flattens_p"] = (
            float((flattened > 0).mean()),
            sign_flip_test(flattened),
        )
    return scalars
