"""One line per (method, metric): a number with its 95 % bootstrap interval over samples.

Effects come from edits, codes from unedited pictures; definitions are those of :mod:`diffgeo.metrics`. ``null`` is what
the same score gives, on average, after the factors were shuffled over pictures (codes; ``p`` is the share of
shuffles that score as high), or for edits along random directions (``precision_gain``, whose value is the paired
difference to them; ``p`` is that of the sign test). ``precision_gain_matched`` is that gain over the edits that were
brought to the common strength alone; the interval of either resamples the random directions as well as the samples.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np
import pandas as pd
import torch
from torch import Tensor

from diffgeo.config import DisentanglementConfig
from diffgeo.metrics import disentanglement as codes_metrics
from diffgeo.metrics.edits import edit_precision, targets
from diffgeo.metrics.modular import (
    DCI,
    AttributeDependency,
    EditPrecision,
    EffectDisentanglement,
    FactorVAEScore,
    LocalSuccess,
    MutualInformationGap,
    SeparatedAttributePredictability,
    TransferSuccess,
)
from diffgeo.metrics.statistics import FEWEST, Estimate, monte_carlo_p, resample, sign_test

__all__ = ["scorecard"]

Row = dict[str, Any]
_SHUFFLES = 19
"""Of factors over pictures: the smallest p is 0.05."""
OF_EDITS = ("matched", "gamma", "change", "ssim", "psnr", "clipped_change", "chroma_change", "identity", "s_dir")
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
        found = dict(_effects(delta, cfg)) | dict(_means(table[table["method"] == method], (*OF_EDITS, *own), cfg))
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
    options: dict[str, Any] = {"draws": cfg.draws}
    several = len(changes) > 1
    for name, held_out in (("precision", several), ("precision_own", False)):
        precision = EditPrecision(held_out=held_out, **options)
        precision.update(changes)
        yield name, precision.compute()
    dependency = AttributeDependency(held_out=several, **options)
    dependency.update(changes)
    yield from ((f"dependency_{name}", found) for name, found in dependency.compute().items())
    success = LocalSuccess(moved=cfg.moved, still=cfg.still, **options)
    success.update(changes)
    yield "local_success", success.compute()
    if several:
        transfer = TransferSuccess(moved=cfg.moved, still=cfg.still, **options)
        transfer.update((changes.sum(dim=0) - changes) / (len(changes) - 1), changes)
        yield "transfer_success", transfer.compute()
    effects = EffectDisentanglement(**options)
    effects.update(changes)
    yield from ((f"effect_{name}", found) for name, found in effects.compute().items())


def _means(table: pd.DataFrame, columns: tuple[str, ...], cfg: DisentanglementConfig) -> Iterator[tuple[str, Estimate]]:
    """Plain columns: a mean over directions a sample, then over samples; infinite and missing values are left out."""
    for column in columns:
        finite = table[column].astype(float)
        finite = finite.where(finite.abs() < math.inf)
        values = finite.groupby(table["sample"], sort=False).mean().dropna()
        if len(values):
            mean = resample(lambda x: x.mean().item(), torch.tensor(values.to_numpy(float)), draws=cfg.draws)
            yield column, mean


def _matched(table: pd.DataFrame, method: str, changes: Tensor) -> Tensor:
    """Which of a method's edits were brought to the common strength, shape (N, K)."""
    flags = table.loc[table["method"] == method, "matched"].tolist()
    return torch.tensor(flags, dtype=torch.bool).reshape(changes.shape[:2])


def _gain(
    pair: tuple[Tensor, Tensor], kept: tuple[Tensor, Tensor], cfg: DisentanglementConfig
) -> tuple[Estimate, float, float]:
    """Edit precision less that of random directions on the same samples, the latter's mean, and the sign test's p.

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
    _, p = sign_test(difference.numpy())
    counted = int((~difference.isnan()).sum())
    if counted < FEWEST:  # of the samples, the others have no edit that counts
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
    dci = DCI(draws=draws, regressor=regressor)
    dci.update(codes, factors)
    nulls = [codes_metrics.dci(codes, z, regressor=regressor) for z in shuffled]
    for name, found in dci.compute().items():
        yield f"dci_{name[0]}", found, np.array([getattr(null, name) for null in nulls])
    for name, metric, score in (
        ("mig", MutualInformationGap(draws=draws, bins=10), lambda x, y: codes_metrics.mig(x, y, bins=10)),
        ("sap", SeparatedAttributePredictability(draws=draws), codes_metrics.sap),
        ("factor_vae", FactorVAEScore(draws=draws), codes_metrics.factor_vae_score),
    ):
        metric.update(codes, factors)
        yield name, metric.compute(), np.array([score(codes, z) for z in shuffled])
