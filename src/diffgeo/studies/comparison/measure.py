r"""The field's methods of editing, at equal change of the picture.

:mod:`diffgeo.studies.comparison.methods` says what each method is. Every edit of every sample is brought to the same
perceptual change, as in ``ablation``; γ differs, the change does not. Of each edit the study measures

    local_success      exactly one attribute moves (:func:`diffgeo.metrics.edits.local_success`)
    transfer_success   its direction moves the same attribute of the next sample the same way, at the same change;
                       NaN if it is no local success
    precision          change of the attribute that moves most over the mean change of the others
    ssim               structural similarity with the unedited picture
    locality           share of the change outside the sample's mask, 0 to 1; chance is what ``random`` has
    off_data           distance from the data, if they are known
    passes             what finding the direction took: products with a Jacobian, or pictures through the network

Attributes are in standard deviations over unedited pictures. A direction's sign is as it was found.

Equal change of the whole picture favours edits that spread. So where there are masks, the edits are also brought to one
change inside the mask, Δ_in = √(mean of Δx² there), the median of the edits of ∂x̂0/∂x on the first sample; table
``comparison_inside`` has the same measures then, what changes outside of the mask, and ``spill``, the ratio of the two.

Table ``comparison_ranks``: for every measure the methods' mean ranks over samples (1 is best), with Friedman's test of
the hypothesis that they do not differ.
"""

from __future__ import annotations

import logging
from collections.abc import Iterator, Sequence
from statistics import median
from typing import cast

import numpy as np
import pandas as pd
import torch
from scipy.stats import friedmanchisquare, rankdata
from torch import Tensor
from torchmetrics.functional.image import structural_similarity_index_measure

from diffgeo.config import refusal
from diffgeo.metrics import edits as scores
from diffgeo.metrics.statistics import mean_interval
from diffgeo.results import Result, Row
from diffgeo.session import Context, Sample
from diffgeo.studies.comparison.methods import SHARED, Methods
from diffgeo.studies.comparison.settings import ComparisonConfig
from diffgeo.studies.disentanglement.reference import Reference, reference_pictures
from diffgeo.studies.disentanglement.settings import DisentanglementConfig
from diffgeo.studies.shared.matching import TOL, Edit, Matched, match_edits

__all__ = ["Inside", "ranks", "run"]

log = logging.getLogger(__name__)

BETTER = {
    "local_success": 1,
    "transfer_success": 1,
    "precision": 1,
    "ssim": 1,
    "locality": -1,
    "off_data": -1,
    "spill": -1,
}
"""Measures by which methods are ranked: 1 if larger is better."""


class Inside:
    """How much a picture changes inside a mask; a :class:`~diffgeo.metrics.perceptual.PerceptualDistance`.

    Args:
        mask: boolean, shape (H, W).
    """

    name = "rms inside the mask"

    def __init__(self, mask: Tensor) -> None:
        self.mask = mask

    def __call__(self, a: Tensor, b: Tensor) -> Tensor:
        """√(mean of (a − b)² over the mask's pixels and the channels), shape (B,), on the CPU."""
        change: Tensor = (a - b)[..., self.mask].square().mean(dim=(1, 2)).sqrt().cpu()
        return change


def run(context: Context, cfg: ComparisonConfig) -> Result:
    """Edit ``cfg.samples`` samples by every method.

    With no attribute predictor, or too few pictures, the result is empty and a warning says so.

    Raises:
        ConfigError: the run can have none of the methods.
    """
    predictor, samples = context.predictor, context.samples.first(cfg.training + cfg.samples)
    training, edited = samples[: cfg.training], samples[cfg.training :]
    if predictor is None or not edited:
        missing = "an attribute predictor (predictor=…)" if predictor is None else f"{cfg.training + 1} pictures"
        log.warning("comparison was left out: it needs %s", missing)
        return Result("comparison", pd.DataFrame())
    [(t_frac, t)] = context.times_of([cfg.t_frac], "study.comparison.t_frac")
    codes = DisentanglementConfig(codes=cfg.pictures)
    reference = reference_pictures(context, codes, predictor, [t])
    methods = Methods(context, cfg, t, training, reference)
    if left_out := [name for name in cfg.methods if name not in methods.names]:
        reason = "without data.masks there is no loco, without an attribute neither asyrp nor supervised"
        if not methods.names:
            raise refusal("study.comparison.methods", cfg.methods, f"others too, as {reason}")
        log.warning("comparison leaves out %s: %s", ", ".join(left_out), reason)
    study = _Study(context, cfg, t, methods, reference, edited)
    for sample in context.track(edited, "comparison"):
        study.edit(sample)
    where = {"t_frac": t_frac, "t": t}
    tables = {name: pd.DataFrame([{**where, **row} for row in rows]) for name, rows in study.tables().items() if rows}
    if not (table := tables.pop("edits", pd.DataFrame())).empty:
        tables["ranks"] = pd.DataFrame([{**where, **row} for row in ranks([table, *tables.values()])])
    tensors = {"frames": torch.cat(study.frames)} if study.frames else {}
    return Result("comparison", table, _scalars(table, tables), tensors, tables)


class _Study:
    """What the study gathers, sample by sample.

    Args:
        context: of the run.
        cfg: of the study.
        t: edit timestep.
        methods: find directions.
        reference: unedited pictures.
        samples: that are edited.
    """

    def __init__(
        self,
        context: Context,
        cfg: ComparisonConfig,
        t: int,
        methods: Methods,
        reference: Reference,
        samples: Sequence[Sample],
    ) -> None:
        self.context, self.cfg, self.t, self.methods, self.reference = context, cfg, t, methods, reference
        self.samples, self.target = list(samples), cfg.change
        self.inside: float | None = None  # the change inside the mask, once a sample has set it
        self.rows: list[Row] = []
        self.part: list[Row] = []
        self.frames: list[Tensor] = []
        self.own: dict[tuple[str, int, int], Tensor] = {}  # Δa of (method, direction) at a sample, by its index
        self.moved: dict[tuple[str, int, int], Tensor] = {}  # Δa on the next sample, likewise by where it was found
        self.gammas: dict[tuple[str, str, int], list[float]] = {}

    def edit(self, sample: Sample) -> None:
        """All edits of one sample, along its own directions and along those of the sample before."""
        place = self.samples.index(sample)
        before = self.samples[place - 1] if len(self.samples) > 1 else None
        edits = [(edit, sample) for name in self.methods.names for edit in self.methods.edits(name, sample, sample)]
        if before is not None:
            names = [name for name in self.methods.names if name not in SHARED]
            edits += [(edit, before) for name in names for edit in self.methods.edits(name, sample, before)]
        matched = self._matched("change", sample, [edit for edit, _ in edits])
        self.target = matched.target
        changes = self._attributes(matched.edited, matched.original)
        own = [i for i, (_, source) in enumerate(edits) if source is sample]
        for (edit, source), change in zip(edits, changes, strict=True):
            kept = self.own if source is sample else self.moved
            kept[edit.variant, edit.direction, source.index] = change
            if before is not None and source is sample and edit.variant in SHARED:
                self.moved[edit.variant, edit.direction, before.index] = change
        self.rows += self._rows(sample, [edits[i][0] for i in own], matched, changes)
        shown = torch.cat([matched.original, matched.edited[own]]).clamp(-1, 1)
        self.frames.append(((shown + 1) * 127.5).round().to(torch.uint8).cpu())
        if self.context.masks:
            self.part += self._inside(sample, [edits[i][0] for i in own], matched.edited[own], matched.original)

    def tables(self) -> dict[str, list[Row]]:
        """Rows by table, with what needs all samples."""
        for row in self.rows:
            key = row["method"], row["direction"], row["sample"]
            moved = self.moved.get(key)
            transfer = torch.tensor(torch.nan)
            if moved is not None:
                transfer = scores.transfer_success(self.own[key], moved, moved=self.cfg.moved, still=self.cfg.still)
            row["transfer_success"] = transfer.item()
        return {"edits": self.rows, "inside": self.part}

    def _matched(
        self, what: str, sample: Sample, edits: list[Edit], target: float | None = None, measure: Inside | None = None
    ) -> Matched:
        """All edits at one change, from what matched the samples before."""
        strength = self.context.editor.gammas[-1].item()
        keys = [(what, edit.variant, edit.direction) for edit in edits]
        start = torch.tensor([median(self.gammas.get(key, [strength])) for key in keys])
        target = self.target if measure is None else target
        found = match_edits(self.context, sample, self.t, edits, target, start=start, measure=measure)
        for key, gamma in zip(keys, found.gammas.tolist(), strict=True):
            self.gammas.setdefault(key, []).append(gamma)
        return found

    def _attributes(self, edited: Tensor, original: Tensor) -> Tensor:
        """Δa of edits (k, 3, H, W) against the original (1, 3, H, W), in standard deviations, shape (k, A)."""
        predictor = self.context.predictor
        assert predictor is not None
        changes = (predictor(edited) - predictor(original))[:, self.reference.columns]
        return scores.standardise(changes, self.reference.attributes)

    def _rows(self, sample: Sample, edits: list[Edit], matched: Matched, changes: Tensor) -> Iterator[Row]:
        """What each of a sample's own edits did at equal perceptual change; they come first in ``matched``."""
        first, count = sum(map(len, self.frames)) + 1, len(edits)
        found = self._measures(sample, edits, matched.edited[:count], matched.original, changes[:count])
        for i, (edit, row) in enumerate(zip(edits, found, strict=True)):
            yield row | {
                "frame": first + i,
                **matched.row(i),
                "perceptual_measure": self.context.perceptual.name,
                "passes": self.methods.found(edit.variant, sample).passes,
            }

    def _measures(
        self, sample: Sample, edits: list[Edit], edited: Tensor, original: Tensor, changes: Tensor
    ) -> Iterator[Row]:
        """Which edit, and what its picture shows."""
        pair = edited.clamp(-1, 1), original.clamp(-1, 1).expand_as(edited)
        ssim = cast(Tensor, structural_similarity_index_measure(*pair, data_range=2.0, reduction="none")).flatten()
        local = scores.local_success(changes, moved=self.cfg.moved, still=self.cfg.still)
        precision = scores.edit_precision(changes, changes.abs().argmax(dim=1))
        outside = scores.locality(edited - original, self._mask(sample).float()) if self.context.masks else None
        own, names = self.context.measured(edited, original), self.reference.names
        for i, edit in enumerate(edits):
            yield {
                "sample": sample.index,
                "name": sample.name,
                "method": edit.variant,
                "direction": edit.direction,
                "local_success": float(local[i]),
                "precision": precision[i].item(),
                "attribute": names[int(changes[i].abs().argmax())],
                "ssim": ssim[i].item(),
                **({} if outside is None else {"locality": outside[i].item()}),
                **{name: values[i] for name, values in own.items()},
                **{f"delta_{name}": changes[i, j].item() for j, name in enumerate(names)},
            }

    def _inside(self, sample: Sample, edits: list[Edit], edited: Tensor, original: Tensor) -> Iterator[Row]:
        """The same edits at one change inside the mask."""
        mask = self._mask(sample)
        inside, outside = Inside(mask), Inside(~mask)
        if self.inside is None:
            at = [i for i, edit in enumerate(edits) if edit.variant == "x0"] or list(range(len(edits)))
            self.inside = inside(edited[at], original).quantile(0.5).item()
        found = self._matched("inside", sample, edits, self.inside, inside)
        spilt = outside(found.edited, found.original)
        changes = self._attributes(found.edited, found.original)
        rows = self._measures(sample, edits, found.edited, found.original, changes)
        for i, row in enumerate(rows):
            yield row | {
                "gamma": found.gammas[i].item(),
                "inside": found.changes[i].item(),
                "change_wanted": found.target,
                "matched": abs(found.changes[i].item() / found.target - 1) <= TOL,
                "outside": spilt[i].item(),
                "spill": spilt[i].item() / found.changes[i].item(),
                "mask_share": mask.float().mean().item(),
            }

    def _mask(self, sample: Sample) -> Tensor:
        return self.context.masks.of(sample)


def ranks(tables: Sequence[pd.DataFrame]) -> Iterator[Row]:
    """Mean ranks of methods by every measure, with Friedman's test.

    Args:
        tables: of edits, with columns ``sample``, ``method`` and measures.

    Returns:
        A row per (measure, method): ``mean_rank``, 1 is best and ties share theirs, over the n samples that have a
        value of every method; ``chi2`` and ``p`` of the test, NaN for fewer than three methods or two samples.
    """
    for measure, sign in BETTER.items():
        table = next((one for one in tables if measure in one), None)
        if table is None:
            continue
        wide = table.pivot_table(index="sample", columns="method", values=measure, sort=False).dropna()
        if wide.empty:
            continue
        placed = rankdata(-sign * wide.to_numpy(), axis=1)
        chi2, p = np.nan, np.nan
        if wide.shape[1] >= 3 and len(wide) >= 2 and bool((wide.nunique(axis=1) > 1).any()):
            chi2, p = map(float, friedmanchisquare(*wide.to_numpy().T))
        for method, rank in zip(wide.columns, placed.mean(axis=0), strict=True):
            yield {"measure": measure, "method": method, "mean_rank": rank, "n": len(wide), "chi2": chi2, "p": p}


def _scalars(table: pd.DataFrame, tables: dict[str, pd.DataFrame]) -> dict[str, float]:
    """Means by method, and by how much more unmasked directions of ∂x̂0/∂x spill than LOCO's."""
    if table.empty:
        return {}
    scalars = {"matched_share": float(table["matched"].mean()), "change": float(table["change_wanted"].iloc[0])}
    for measure in BETTER:
        part = next((one for one in (table, *tables.values()) if measure in one), None)
        if part is not None:
            for method, values in part.groupby("method", sort=False)[measure]:
                scalars[f"{measure}/{method}"] = float(values.mean())
    if "inside" in tables:
        wide = tables["inside"].pivot_table(index="sample", columns="method", values="spill")
        if {"x0", "loco"} <= set(wide):
            mean, low, high = mean_interval((wide["x0"] - wide["loco"]).to_numpy())
            scalars |= {"spill/x0_minus_loco": mean}
            if not np.isnan(low):
                scalars |= {"spill/x0_minus_loco_low": low, "spill/x0_minus_loco_high": high}
    return scalars
