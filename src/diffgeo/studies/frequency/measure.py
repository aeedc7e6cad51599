r"""How coarse the directions are at each timestep (P23a, Fig. 5b): does the low-frequency share fall from T towards 0?

One row per (sample, timestep, radius): the mean share of the directions' power at that radial frequency, and as
columns of every row the low (below ``low`` of Nyquist) and high share of that sample and timestep. The claim is
tested over samples.
"""

from __future__ import annotations

import pandas as pd

from diffgeo.metrics.spectral import band_share, radial_power
from diffgeo.metrics.statistics import sign_flip_test
from diffgeo.results import Result
from diffgeo.session import Context
from diffgeo.studies.frequency.settings import FrequencyConfig


def run(context: Context, cfg: FrequencyConfig) -> Result:
    """Radial power spectra of the leading directions of every sample's local bases."""
    rows = []
    places = [(sample, t_frac, t) for sample in context.samples for t_frac, t in context.edit_times]
    for sample, t_frac, t in context.track(places, "frequency"):
        v = context.bases.of(sample, t).V[:, : cfg.directions]
        power = radial_power(v.T.reshape(-1, *context.model.latent_shape))
        side = min(context.model.latent_shape[1:])
        low = band_share(power, 0, cfg.low, side).mean().item()
        where = {"sample": sample.index, "name": sample.name, "t_frac": t_frac, "t": t, "directions": v.shape[1]}
        for radius, value in enumerate(power.mean(dim=0).tolist()):
            share = {"radius": radius, "nyquist_fraction": 2 * radius / side, "power": value}
            rows.append({**where, **share, "low_share": low, "high_share": 1 - low})
    table = pd.DataFrame(rows)
    return Result("frequency", table, {} if table.empty else _scalars(table))


def _scalars(table: pd.DataFrame) -> dict[str, float]:
    once = table[table["radius"] == 0]
    scalars = {f"low_share/t_{t:g}": float(part["low_share"].mean()) for t, part in once.groupby("t_frac", sort=False)}
    by_time = once.pivot(index="sample", columns="t_frac", values="low_share").dropna()
    if by_time.shape[1] >= 2 and len(by_time):
        fallen = (by_time[by_time.columns.max()] - by_time[by_time.columns.min()]).to_numpy()
        scalars["falls_share"], scalars["falls_p"] = float((fallen > 0).mean()), sign_flip_test(fallen)
    return scalars
