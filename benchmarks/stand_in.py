r"""How well stand-ins order edits by their distance from the data, where that distance is known.

    python benchmarks/stand_in.py --samples 8

edits FactorFaces portraits along local, random and principal directions, both ways, at several lengths, and compares
``off_data`` of the edited pictures, the distance from the nearest portrait, with measures that need no renderer:

    residual at …     the denoising residual (diffgeo.metrics.residual) at a fraction of T
    change            perceptual distance from the unedited picture
    difference        root mean square difference from it

The last two know nothing of the data, only how far an edit went: a stand-in has to order edits better than they do.
Spearman's ρ is taken within every portrait, over all of its edits, over those of one length, and over those of one kind
of direction (means over lengths, or kinds); the mean over portraits has Student's interval.
"""

from __future__ import annotations

import argparse
from collections.abc import Iterator, Sequence
from typing import Any

import pandas as pd
import torch
from scipy.stats import spearmanr
from torch import Tensor

from diffgeo.api import settings
from diffgeo.geometry import pca_directions
from diffgeo.metrics.residual import denoising_residual
from diffgeo.metrics.statistics import mean_interval
from diffgeo.runner.prepare import prepare
from diffgeo.session import Context, Sample
from diffgeo.studies.shared.matching import Edit, features, gradients_in_h, pictures, random_in_x, straight

LENGTHS = (0.25, 0.5, 1.0, 2.0)
"""Multiples of ``edit.strength``."""
RESIDUALS_AT = (0.02, 0.05, 0.1, 0.2, 0.4)
"""Fractions of T."""
PCA_SAMPLES = 64
SCOPES: dict[str, list[str]] = {"all edits": [], "edits of one length": ["length"], "edits of one kind": ["kind"]}
"""By what the edits of a portrait are taken apart before they are ranked."""


def kinds(context: Context, sample: Sample, t: int, k: int, components: Tensor) -> Iterator[Edit]:
    """Edits of every kind at a sample's x_t, k each; components of h, shape (m, k)."""
    x, reach = context.latents.of(sample, t), float(context.editor.gammas[-1])
    yield from straight(context, "local", context.bases.of(sample, t).V[:, :k], reach)
    yield from straight(context, "random", random_in_x(context, k, sample), reach)
    yield from straight(context, "pca", gradients_in_h(context, components, x, t), reach)


def edited(context: Context, t: int, directions: int) -> pd.DataFrame:
    """One row per edited picture: portrait, kind, direction, length, distance from the data, and all stand-ins."""
    components = pca_directions(features(context, PCA_SAMPLES, t), directions).U
    distance, rows = context.data_distance, []
    if distance is None:
        raise SystemExit(f"the data of {context.model.source} are not known in closed form")
    for sample in context.samples:
        edits = list(kinds(context, sample, t, directions, components))
        original = context.decoder(context.latents.of(sample, t)[None], t, sample)
        for length in LENGTHS:
            for sign in (-1, 1):
                found, _ = pictures(context, sample, t, edits, [sign * length * edit.limit for edit in edits])
                values = {"off_data": distance(found), "change": context.perceptual(found, original)}
                values["difference"] = (found - original).square().mean(dim=(1, 2, 3)).sqrt()
                for at in RESIDUALS_AT:
                    values[f"residual at {at:g} T"] = denoising_residual(context.model, found, t_frac=at)
                for i, edit in enumerate(edits):
                    place = {"sample": sample.index, "kind": edit.variant, "direction": edit.direction * sign}
                    measured = {name: value[i].item() for name, value in values.items()}
                    rows.append(place | {"length": length} | measured)
    return pd.DataFrame(rows)


def correlations(table: pd.DataFrame, stand_in: str, by: Sequence[str]) -> list[float]:
    """Spearman's ρ of a stand-in with ``off_data``, one number per portrait: the mean over its groups."""

    def within(edits: pd.DataFrame) -> float:
        groups = [group for _, group in edits.groupby(list(by))] if by else [edits]
        return sum(float(spearmanr(one["off_data"], one[stand_in]).statistic) for one in groups) / len(groups)

    return [within(edits) for _, edits in table.groupby("sample")]


def summary(table: pd.DataFrame) -> Iterator[dict[str, Any]]:
    """One row per stand-in: mean and interval over portraits, by scope."""
    for stand_in in [name for name in table if str(name).startswith("residual")] + ["change", "difference"]:
        cells = {scope: mean_interval(correlations(table, str(stand_in), by)) for scope, by in SCOPES.items()}
        yield {"stand-in": stand_in, **{scope: f"{m:.2f} [{a:.2f}, {b:.2f}]" for scope, (m, a, b) in cells.items()}}


def main() -> None:
    """Print the table as Markdown."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--samples", type=int, default=16, help="portraits")
    parser.add_argument("--directions", type=int, default=2, help="of every kind")
    parser.add_argument("--edit", type=float, default=1.0, help="where portraits are edited, as a fraction of T")
    parser.add_argument("--csv", help="file for all edits")
    parser.add_argument("overrides", nargs="*", help="further settings, such as model=factor_faces_t2i prompt='a face'")
    asked = parser.parse_args()
    fixed = ["study=[ablation]", "tracking=none", "store.enabled=false", "device=cpu", "scale=small"]
    cfg = settings(*fixed, f"scale.samples={asked.samples}", f"schedule.edit=[{asked.edit}]", *asked.overrides)
    context = prepare(cfg)
    [(fraction, t)] = context.edit_times
    with torch.no_grad():
        table = edited(context, t, asked.directions)
    if asked.csv:
        table.to_csv(asked.csv, index=False)
    lengths = table.groupby(["kind", "length"])["off_data"].mean().unstack()
    print(f"{context.model.source}, edits at {fraction:.3g} T, {len(table)} edits of {asked.samples} portraits")
    print(f"mean off_data by length in units of edit.strength:\n{lengths.round(3).to_string()}")
    for i, found in enumerate(summary(table)):
        if i == 0:
            print("| " + " | ".join(found) + " |\n" + "|---" * len(found) + "|")
        print("| " + " | ".join(map(str, found.values())) + " |")


if __name__ == "__main__":
    main()
