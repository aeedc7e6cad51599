"""One line per (method, metric): a number with its 95 % bootstrap interval over samples.

Effects come from edits, codes from unedited pictures; definitions are those of :mod:`diffgeo.metrics`. ``null`` is what
the same score gives after the factors were shuffled over pictures (codes), or for edits along random directions
(``precision_gain``, whose value is the paired difference to them; ``p`` is that of the sign test).
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from typing import Any

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
from diffgeo.metrics.statistics import Estimate, resample, sign_test

__all__ = ["scorecard"]

Row = dict[str, Any]
OF_EDITS = ("matched", "gamma", "change", "ssim", "psnr", "clipped_change", "chroma_change", "identity", "s_dir")
"""Columns of the edits' table that are averaged as they are."""


def scorecard(
    edited: tuple[pd.DataFrame, Mapping[str, Tensor]],
    codes: Mapping[str, Tensor],
    factors: Tensor,
    cfg: DisentanglementConfig,
) -> list[Row]:
    """Rows of the scorecard of one timestep.

    Args:
        edited: (table of edits, Δa of shape (N, K, A) by method).
        codes: shape (N', K) by method.
        factors: shape (N', A').
        cfg: of the study.
    """
    table, changes = edited
    baseline = changes.get("random")
    rows: list[Row] = []
    for method, delta in changes.items():
        found = dict(_effects(delta, cfg)) | dict(_means(table[table["method"] == method], cfg))
        rows += [_row(method, name, estimate) for name, estimate in found.items()]
        if baseline is not None and method != "random":
            gain, null, p = _gain(delta, baseline, cfg)
            rows.append(_row(method, "precision_gain", gain, null) | {"p": p})
    for method, code in codes.items():
        rows += [_row(method, name, estimate, null) for name, estimate, null in _of_codes(code, factors, cfg)]
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


def _means(table: pd.DataFrame, cfg: DisentanglementConfig) -> Iterator[tuple[str, Estimate]]:
    """Plain columns: a mean over directions a sample, then over samples; infinite and missing values are left out."""
    for column in OF_EDITS:
        finite = table[column].astype(float)
        finite = finite.where(finite.abs() < math.inf)
        values = finite.groupby(table["sample"], sort=False).mean().dropna()
        if len(values):
            mean = resample(lambda x: x.mean().item(), torch.tensor(values.to_numpy(float)), draws=cfg.draws)
            yield column, mean


def _gain(changes: Tensor, baseline: Tensor, cfg: DisentanglementConfig) -> tuple[Estimate, float, float]:
    """Edit precision less that of random directions on the same samples, the latter's mean, and the sign test's p."""
    per_sample = []
    for delta in (changes, baseline):
        precision = edit_precision(delta, targets(delta, held_out=len(delta) > 1))
        per_sample.append(precision.double().mean(dim=1))
    difference = resample(lambda x: x.mean().item(), per_sample[0] - per_sample[1], draws=max(cfg.draws, 1000))
    _, p = sign_test((per_sample[0] - per_sample[1]).numpy())
    return difference, per_sample[1].mean().item(), p


def _of_codes(codes: Tensor, factors: Tensor, cfg: DisentanglementConfig) -> Iterator[tuple[str, Estimate, float]]:
    draws = max(20, cfg.draws // 10)  # every draw fits all regressors anew
    shuffled = factors[torch.randperm(len(factors), generator=torch.Generator().manual_seed(0))]
    regressor: Any = cfg.regressor
    dci = DCI(draws=draws, regressor=regressor)
    dci.update(codes, factors)
    null = codes_metrics.dci(codes, shuffled, regressor=regressor)
    for name, found in dci.compute().items():
        yield f"dci_{name[0]}", found, getattr(null, name)
    for name, metric, score in (
        ("mig", MutualInformationGap(draws=draws, bins=10), lambda x, y: codes_metrics.mig(x, y, bins=10)),
        ("sap", SeparatedAttributePredictability(draws=draws), codes_metrics.sap),
        ("factor_vae", FactorVAEScore(draws=draws), codes_metrics.factor_vae_score),
    ):
        metric.update(codes, factors)
        yield name, metric.compute(), score(codes, shuffled)
