"""One line per (method, metric): a number with its 95 % interval over samples, Student's of means, else by resampling.

Effects come from edits, codes from unedited pictures; definitions are those of :mod:`diffgeo.metrics`. ``null`` is what
the same score gives, on average, after the factors were shuffled over pictures (codes; ``p`` is the share of
shuffles that score as high), or for edits along random directions (``precision_gain``, whose value is the paired
difference to them; ``p`` is that of the sign-flip test). ``precision_gain_matched`` is that gain over the edits that
were brought to the common strength alone; the interval of either resamples the random directions as well as the
samples.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping
from functools import partial
from typing import Any

import numpy as np
import pandas as pd
import torch
from torch import Tensor

from diffgeo.metrics import disentanglement as codes_metrics
from diffgeo.metrics.edits import attribute_dependency, edit_precision, local_success, targets, transfer_success
from diffgeo.metrics.statistics import (
    INTERVAL_FROM,
    Estimate,
    mean_interval,
    monte_carlo_p,
    resample,
    resample_all,
    sign_flip_test,
)
from diffgeo.results import Row
from diffgeo.studies.disentanglement.settings import DisentanglementConfig

_SHUFFLES = 19
"""Of factors over pictures: the smallest p is 0.05."""
OF_EDITS = (
    "matched",
    "gamma",
    "x_change",
    "change",
    "ssim",
    "psnr",
    "clipped_change",
    "chroma_change",
    "identity",
    "s_dir",
)
"""Columns of the edits' table that are averaged as they are."""


def scorecard(
    edited: tuple[pd.DataFrame, Mapping[str, Tensor]],
    codes: Mapping[str, Tensor],
    factors: Tensor,
    cfg: DisentanglementConfig,
    *,
    own: tuple[str, ...] = (),
) -> list[Row]:
    """Rows of the scorecard of one timestep.

    Args:
        edited: (table of edits, Δa of shape (N, K, A) by method).
        codes: shape (N', K) by method.
        factors: shape (N', A').
        cfg: of the study.
        own: columns of the edits' table that hold metrics of the user's own.
    """
    table, changes = edited
    baseline = changes.get("random")
    rows: list[Row] = []
    for method, delta in changes.items():
        found = dict(_effects(delta, cfg)) | dict(_means(table[table["method"] == method], (*OF_EDITS, *own)))
        rows += [_row(method, name, estimate) for name, estimate in found.items()]
        if baseline is not None and method != "random":
            everything = torch.ones(delta.shape[:2], dtype=torch.bool), torch.ones(baseline.shape[:2], dtype=torch.bool)
            alike = _matched(table, method, delta), _matched(table, "random", baseline)
            for name, kept in (("precision_gain", everything), ("precision_gain_matched", alike)):
                gain, null, p = _gain((delta, baseline), kept, cfg)
                rows.append(_row(method, name, gain, null) | {"p": p})
    for method, code in codes.items():
        for name, estimate, shuffled in _of_codes(code, factors, cfg):
            p = monte_carlo_p(estimate.value, shuffled)
            rows.append(_row(method, name, estimate, float(shuffled.mean())) | {"p": p})
    return rows


def _row(method: str, metric: str, estimate: Estimate, null: float = math.nan) -> Row:
    ends = {"value": estimate.value, "low": estimate.low, "high": estimate.high}
    return {"method": method, "metric": metric, **ends, "n": estimate.n, "null": null, "p": math.nan}


def _effects(changes: Tensor, cfg: DisentanglementConfig) -> Iterator[tuple[str, Estimate]]:
    several, success = len(changes) > 1, {"moved": cfg.moved, "still": cfg.still}
    chosen, own = targets(changes, held_out=several), targets(changes, held_out=False)
    dependency_mean, dependency_max = attribute_dependency(changes, chosen)
    means = {
        "precision": edit_precision(changes, chosen),
        "precision_own": edit_precision(changes, own),
        "dependency_mean": dependency_mean,
        "dependency_max": dependency_max,
        "local_success": local_success(changes, **success),
    }
    if several:
        elsewhere = (changes.sum(dim=0) - changes) / (len(changes) - 1)
        means["transfer_success"] = transfer_success(elsewhere, changes, **success)
    for name, values in means.items():
        yield name, _mean(values.double().nanmean(dim=1))

    def scores(rows: Tensor) -> tuple[float, float, float]:
        effects = rows.abs().mean(dim=0)
        return *codes_metrics.importance_scores(effects)[:2], codes_metrics.effect_gap(effects)

    found = resample_all(scores, changes, draws=cfg.draws)
    yield from zip(("effect_disentanglement", "effect_completeness", "effect_gap"), found, strict=True)
    vote = codes_metrics.effect_vote if several else lambda _: math.nan
    yield "effect_vote", resample(vote, changes, draws=cfg.draws, halves=True)


def _means(table: pd.DataFrame, columns: tuple[str, ...]) -> Iterator[tuple[str, Estimate]]:
    """Plain columns: a mean over directions per sample, then over samples; infinite and missing values are left out."""
    for column in columns:
        finite = table[column].astype(float).where(lambda values: np.isfinite(values))
        values = finite.groupby(table["sample"], sort=False).mean().dropna()
        if len(values):
            yield column, _mean(torch.tensor(values.to_numpy(float)))


def _mean(values: Tensor) -> Estimate:
    """Of one value per sample."""
    return Estimate(*mean_interval(values.numpy()), len(values))


def _matched(table: pd.DataFrame, method: str, changes: Tensor) -> Tensor:
    """Which of a method's edits were brought to the common strength, shape (N, K)."""
    flags = table.loc[table["method"] == method, "matched"].tolist()
    return torch.tensor(flags, dtype=torch.bool).reshape(changes.shape[:2])


def _gain(
    pair: tuple[Tensor, Tensor], kept: tuple[Tensor, Tensor], cfg: DisentanglementConfig
) -> tuple[Estimate, float, float]:
    """Edit precision less that of random directions on the same samples, the latter's mean, and the sign-flip test's p.

    Args:
        pair: Δa of the method (N, K, A), and of random directions (N, K', A).
        kept: which edits count, (N, K) and (N, K').
        cfg: of the study.
    """
    method, random = (
        torch.where(keep, edit_precision(delta, targets(delta, held_out=len(delta) > 1)).double(), torch.nan)
        for delta, keep in zip(pair, kept, strict=True)
    )
    per_sample = method.nanmean(dim=1)
    generator = torch.Generator().manual_seed(0)

    def gain(rows: Tensor, other: Tensor) -> float:
        return (rows - other.nanmean(dim=1)).nanmean().item()

    def resampled(rows: Tensor, other: Tensor) -> float:  # the random directions are a draw as well
        return gain(rows, other[:, torch.randint(other.shape[1], (other.shape[1],), generator=generator)])

    spread = resample(resampled, per_sample, random, draws=max(cfg.draws, 1000))
    difference = per_sample - random.nanmean(dim=1)
    p = sign_flip_test(difference.numpy())
    counted = int((~difference.isnan()).sum())
    if counted < INTERVAL_FROM:  # of the samples, the others have no edit that counts
        spread = spread._replace(low=math.nan, high=math.nan)
    return spread._replace(value=gain(per_sample, random), n=counted), random.nanmean().item(), p


def _of_codes(
    codes: Tensor, factors: Tensor, cfg: DisentanglementConfig
) -> Iterator[tuple[str, Estimate, np.ndarray[Any, Any]]]:
    """(name, score, what shuffled factors give); every draw and shuffle fits all regressors anew."""
    draws = max(20, cfg.draws // 10)
    generator = torch.Generator().manual_seed(0)
    shuffled = [factors[torch.randperm(len(factors), generator=generator)] for _ in range(_SHUFFLES)]
    regressor: Any = cfg.regressor

    def dci(codes: Tensor, z: Tensor) -> tuple[float, ...]:
        found = codes_metrics.dci(codes, z, regressor=regressor)
        return found.disentanglement, found.completeness, found.informativeness

    found = resample_all(dci, codes, factors, draws=draws, halves=True)
    nulls = np.array([dci(codes, z) for z in shuffled])
    for i, name in enumerate(("dci_d", "dci_c", "dci_i")):
        yield name, found[i], nulls[:, i]
    scores: dict[str, Callable[[Tensor, Tensor], float]] = {
        "mig": partial(codes_metrics.mig, bins=10),
        "sap": codes_metrics.sap,
        "factor_vae": codes_metrics.factor_vae_score,
    }
    for name, score in scores.items():
        estimate = resample(score, codes, factors, draws=draws, halves=True)
        yield name, estimate, np.array([score(codes, z) for z in shuffled])
