r"""Singular spectra by timestep (P23a, Fig. 3b): does the spectrum flatten as t → 0?

x_t comes from two kinds of places, the column ``kind``:

    path      the run's samples on their way by DDIM
    noised    a x0 + b ε of as many known pictures: portraits with known factors if the model's data are known, else the
              pictures of ``data.images``; a model without either has none, and the log says so

One row per (kind, sample, timestep): the effective dimension r = (Σ s²)² / Σ s⁴ of the leading ``rank`` directions (as
many for a flat spectrum, 1 for a single direction); on all n directions of the run's local bases the flatness
s_n / s_1, and the gap behind the last. Of the whole J, whose ‖J‖²_F is estimated by random probes
(:func:`diffgeo.svd.energy`): the share of ‖J‖²_F that the n directions hold, and how many directions hold half of it,
NaN if more than n. Claims are tested over samples, and rest on the paths alone, as the headline numbers do.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from functools import partial

import pandas as pd
import torch
from torch import Tensor

from diffgeo.geometry import effective_dimension, half_energy_rank
from diffgeo.metrics.statistics import sign_flip_test
from diffgeo.results import Result
from diffgeo.session import Context
from diffgeo.studies.shared.portraits import known_portraits
from diffgeo.studies.spectrum.settings import SpectrumConfig

log = logging.getLogger(__name__)

_NOISE = 9_800_000
"""First seed of the noise of pictures."""
_Latents = tuple[str, int, str, Callable[[int], Tensor]]
"""kind, number, name, and t ↦ x_t."""


def run(context: Context, cfg: SpectrumConfig) -> Result:
    """Summarise the spectra of local bases; those of the samples are shared with other studies of the run."""
    rows = []
    found: list[_Latents] = []
    if "path" in cfg.kinds:
        found += [("path", one.index, one.name, partial(context.latents.of, one)) for one in context.samples]
    if "noised" in cfg.kinds:
        found += _noised(context)
    places = [(*one, t_frac, t) for one in found for t_frac, t in context.edit_times]
    for kind, index, name, latent, t_frac, t in context.track(places, "spectrum"):
        x = latent(t)
        basis = context.bases.of(context.samples[index], t) if kind == "path" else context.bases.at(x, t)
        energy = context.bases.energy(x, t, basis)
        rows.append(
            {
                "kind": kind,
                "sample": index,
                "name": name,
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


def _noised(context: Context) -> list[_Latents]:
    """(``noised``, number, name, t ↦ x_t) of as many known pictures as there are samples."""
    if context.known_factors:
        portraits = known_portraits(context, len(context.samples))
        return [("noised", one.index, one.name, partial(one.latent, context)) for one in portraits]
    pictures = [(one.index, one.name, one.x0) for one in context.samples if one.x0 is not None]
    if not pictures:
        log.warning("spectrum: no picture of %s's data is known, data.images gives some", context.model.name)
    return [("noised", i, name, partial(_with_noise, context, i, x0)) for i, name, x0 in pictures]


def _with_noise(context: Context, index: int, x0: Tensor, t: int) -> Tensor:
    """A picture's x_t, shape (C, H, W); one draw of noise serves all timesteps."""
    generator = torch.Generator().manual_seed(_NOISE + context.cfg.seed + index)
    return context.model.schedule.add_noise(x0, torch.randn(x0.shape, generator=generator).to(x0), t)


def _scalars(table: pd.DataFrame) -> dict[str, float]:
    """Of the paths, or of the known pictures if those alone were measured."""
    scalars, table = {}, table[table["kind"] == table["kind"].iloc[0]]
    for t_frac, part in table.groupby("t_frac", sort=False):
        scalars[f"effective_dimension/t_{t_frac:g}"] = float(part["effective_dimension"].mean())
    by_time = table.pivot(index="sample", columns="t_frac", values="effective_dimension").dropna()
    if by_time.shape[1] >= 2 and len(by_time):
        flattened = (by_time[by_time.columns.min()] - by_time[by_time.columns.max()]).to_numpy()
        scalars["flattens_share"], scalars["flattens_p"] = float((flattened > 0).mean()), sign_flip_test(flattened)
    return scalars
