r"""The field's methods of editing, at equal change of the picture.

:mod:`diffgeo.studies.comparison.methods` says what each method is. Every edit of every sample is brought to the same
perceptual change, as in ``ablation``; γ differs, the change does not. Of each edit the study measures

    local_success      exactly one attribute moves (:func:`diffgeo.metrics.edits.local_success`)
    transfer_success   its direction moves the same attribute of the next sample the same way, at the same change;
                       NaN if it is no local success (ranks and means count that as no success that transfers,
                       :func:`diffgeo.studies.comparison.transfer.transferred`)
    transfer           cosine of all attributes' changes at its own sample and at the next, whether a success or not
    precision          change of the attribute that moves most over the mean change of the others
    ssim               structural similarity with the unedited picture
    locality           share of the change outside the sample's mask, 0 to 1; chance is what ``random`` has
    off_data           distance from the data, if they are known
    passes             what finding the direction took: products with a Jacobian, or evaluations of the network for
                       pictures on their way to t

Attributes are in standard deviations over unedited pictures. A direction's sign is as it was found.

Equal change of the whole picture favours edits that spread. So where there are masks, the edits are also brought to one
change inside the mask, Δ_in = √(mean of Δx² there), the median of the edits of ∂x̂0/∂x on the first sample; table
``comparison_inside`` has the same measures then, what changes outside of the mask, and ``spill``, the ratio of the two.

Where an attribute is named, they are also brought to one change of it, ``effect`` standard deviations, towards the
other side of its mean; a direction is turned if it moved it the other way at equal change of the picture. Table
``comparison_target`` has what that costs: the perceptual ``change``, the change of the other attributes
(``off_target``), ``precision`` of this attribute, and the measures above. An edit that cannot reach it has ``matched``
false, and comes last in ranks.

Table ``comparison_strengths``: the edits of methods that are told an attribute at :data:`SHARES` s of their strength,
with the ``departure`` from proportion ‖Δa(s) − sΔa(1)‖ / ‖sΔa(1)‖, the ``cosine`` of Δa(s) and sΔa(1), and
``off_data``.

Table ``comparison_composed``, if ``compose`` names several masks: whether LOCO's edits in them add up
(:mod:`diffgeo.studies.comparison.composition`).

Table ``comparison_ranks``: for every measure the methods' mean ranks over samples (1 is best), with Friedman's test of
the hypothesis that they do not differ.
"""

from __future__ import annotations

import logging
from collections.abc import Iterator, Mapping, Sequence
from itertools import product
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
from diffgeo.results import Result, Row, frames_of
from diffgeo.session import Context, Sample
from diffgeo.studies.comparison import composition
from diffgeo.studies.comparison.change_measures import Inside, OfAttribute
from diffgeo.studies.comparison.methods import SHARED, TOLD, Methods
from diffgeo.studies.comparison.settings import METHODS, ComparisonConfig
from diffgeo.studies.comparison.transfer import transferred
from diffgeo.studies.disentanglement.reference import Reference, reference_pictures
from diffgeo.studies.disentanglement.settings import DisentanglementConfig
from diffgeo.studies.shared.matching import Edit, Matched, match_edits, pictures, turned

log = logging.getLogger(__name__)

BETTER = {
    "change": {
        "local_success": 1,
        "transferred": 1,
        "transfer": 1,
        "precision": 1,
        "ssim": 1,
        "locality": -1,
        "off_data": -1,
    },
    "inside": {"spill": -1},
    "target": {"change": -1, "off_target": -1, "ssim": 1, "locality": -1, "off_data": -1},
}
"""Measures by which methods are ranked, by what change is held equal: 1 if larger is better."""
SHARES = (0.5, -1.0)
"""Of the strength that equal change of the picture takes; the effects there tell whether edits are proportional."""


def run(context: Context, cfg: ComparisonConfig) -> Result:
    """Edit ``cfg.samples`` samples by every method.

    With no attribute predictor, or too few pictures, the result is empty and a warning says so.

    Raises:
        ConfigError: the run can have none of the methods.
    """
    count = cfg.training if cfg.training is not None else 3 * ("global" in (cfg.methods or METHODS))
    predictor, samples = context.predictor, context.samples.first(count + cfg.samples)
    training, edited = samples[:count], samples[count:]
    if predictor is None or not edited:
        missing = "an attribute predictor (predictor=…)" if predictor is None else f"{count + 1} pictures"
        log.warning("comparison was left out: it needs %s", missing)
        return Result("comparison", pd.DataFrame())
    [(t_frac, t)] = context.times_of([cfg.t_frac], "study.comparison.t_frac")
    codes = DisentanglementConfig(codes=cfg.pictures)
    reference = reference_pictures(context, codes, predictor, [t])
    methods = Methods(context, cfg, t, training, reference)
    if left_out := [name for name in cfg.methods or METHODS if name not in methods.names]:
        reason = "without masks there is no loco, without an attribute neither asyrp nor supervised"
        if not methods.names:
            raise refusal("study.comparison.methods", cfg.methods, f"others too, as {reason}")
        asked = cfg.methods != ComparisonConfig().methods
        log.log(logging.WARNING if asked else logging.INFO, "comparison leaves out %s: %s", ", ".join(left_out), reason)
    if methods.masks:
        for sample in edited:  # one that cannot be had is told before anything is edited
            methods.masks.of(sample)
    for sample in edited if methods.places else ():
        methods.apart(sample)
    study = _Study(context, cfg, t, methods, reference, edited)
    for sample in context.track(edited, "comparison"):
        study.edit(sample)
    where = {"t_frac": t_frac, "t": t}
    tables = {name: pd.DataFrame([{**where, **row} for row in rows]) for name, rows in study.tables().items() if rows}
    scalars = _scalars(tables) if "change" in tables else {}
    if tables:
        tables["ranks"] = pd.DataFrame([{**where, **row} for row in ranks(tables)])
    methods.say_seconds()
    frames = {"frames": study.frames, "composed": study.composed_frames}
    tensors = {name: torch.cat(parts) for name, parts in frames.items() if parts}
    return Result("comparison", tables.pop("change", pd.DataFrame()), scalars, tensors, tables)


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
        self.effects: list[Row] = []
        self.shares: list[Row] = []
        self.composed: list[Row] = []
        self.composed_frames: list[Tensor] = []
        self.inside_each: float | None = None  # the change inside each mask of several, once a sample has set it
        wanted = methods.attribute
        self.wanted = reference.names.index(wanted) if wanted in reference.names else None
        if wanted is not None and self.wanted is None:
            log.warning("comparison has no equal change of %s, which hardly varies among unedited pictures", wanted)
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
        mine = [edits[i][0] for i in own]  # the first ones
        self.rows += self._rows(sample, mine, matched, changes)
        self.frames.append(frames_of(torch.cat([matched.original, matched.edited[own]])))
        if self.methods.masks:
            self.part += self._inside(sample, mine, matched.edited[own], matched.original)
        if self.wanted is not None:
            self.effects += self._of_attribute(sample, mine, matched, changes, self.wanted)
        self.shares += self._at_shares(sample, mine, matched, changes)
        if self.methods.places:
            self.composed += self._composed(sample)

    def tables(self) -> dict[str, list[Row]]:
        """Rows by table, with what needs all samples."""
        for row in self.rows:
            key = row["method"], row["direction"], row["sample"]
            moved = self.moved.get(key)
            transfer = alike = torch.tensor(torch.nan)
            if moved is not None:
                transfer = scores.transfer_success(self.own[key], moved, moved=self.cfg.moved, still=self.cfg.still)
                alike = _cosine(self.own[key], moved)
            row |= {"transfer_success": transfer.item(), "transfer": alike.item()}
        more = {"target": self.effects, "strengths": self.shares, "composed": self.composed}
        return {"change": self.rows, "inside": self.part, **more}

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
        outside = scores.locality(edited - original, self._mask(sample).float()) if self.methods.masks else None
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
                **{key: value for key, value in found.row(i).items() if key != "change"},
                "inside": found.changes[i].item(),
                "outside": spilt[i].item(),
                "spill": spilt[i].item() / found.changes[i].item(),
                "mask_share": mask.float().mean().item(),
            }

    def _of_attribute(
        self, sample: Sample, edits: list[Edit], matched: Matched, changes: Tensor, wanted: int
    ) -> Iterator[Row]:
        """The same edits at one change of the wanted attribute, from what they did at equal change of the picture."""
        known, original = self.reference.attributes[:, wanted], matched.original
        now = self.context.predictor(original)[0, self.reference.columns[wanted]]  # type: ignore[misc]
        side = -1 if now > known.mean() else 1
        moved = changes[: len(edits), wanted].cpu() * side
        back = (moved < 0).tolist()
        tried = [turned(edit) if turn else edit for edit, turn in zip(edits, back, strict=True)]
        start = matched.gammas[: len(edits)] * (self.cfg.effect / moved.abs().clamp_min(1e-6)).clamp(0.25, 4)
        measure = OfAttribute(self._attributes, wanted, side)
        found = match_edits(self.context, sample, self.t, tried, self.cfg.effect, start=start, measure=measure)
        effects, cost = self._attributes(found.edited, original), self.context.perceptual(found.edited, original)
        which = torch.full((len(edits),), wanted, device=effects.device)
        precision, (others, _) = scores.edit_precision(effects, which), scores.attribute_dependency(effects, which)
        for i, row in enumerate(self._measures(sample, edits, found.edited, original, effects)):
            yield row | {
                **found.row(i),
                "effect": found.changes[i].item(),
                "change": cost[i].item(),
                "perceptual_measure": self.context.perceptual.name,
                "wanted": self.reference.names[wanted],
                "turned": back[i],
                "precision": precision[i].item(),
                "off_target": others[i].item(),
            }

    def _at_shares(self, sample: Sample, edits: list[Edit], matched: Matched, changes: Tensor) -> Iterator[Row]:
        """How proportional the effects of the told methods' edits are to their strength."""
        told = [i for i, edit in enumerate(edits) if edit.variant in TOLD]
        if not told:
            return
        gammas = [share * matched.gammas[i].item() for share in SHARES for i in told]
        shown, _ = pictures(self.context, sample, self.t, [edits[i] for i in told] * len(SHARES), gammas)
        found, own = self._attributes(shown, matched.original), self.context.measured(shown, matched.original)
        for k, (share, i) in enumerate(product(SHARES, told)):
            effect = found[k]
            expected = share * changes[i]
            yield {
                "sample": sample.index,
                "name": sample.name,
                "method": edits[i].variant,
                "direction": edits[i].direction,
                "share": share,
                "gamma": gammas[k],
                "departure": ((effect - expected).norm() / expected.norm()).item(),
                "cosine": _cosine(effect, expected).item(),
                **{name: values[k] for name, values in own.items()},
                **{f"delta_{name}": value for name, value in zip(self.reference.names, effect.tolist(), strict=True)},
            }

    def _composed(self, sample: Sample) -> Iterator[Row]:
        """Edits in several masks, alone and at once."""
        limit, null_rank = self.context.editor.gammas[-1].item() * self.cfg.limit, self.cfg.null_rank
        inside = self.inside if self.inside_each is None else self.inside_each
        found = composition.composed(
            self.context, sample, self.t, self.methods.apart(sample), null_rank=null_rank, limit=limit, inside=inside
        )
        self.inside_each, before = found.inside, sum(map(len, self.composed_frames))
        self.composed_frames.append(frames_of(found.pictures))
        for row in found.rows:
            yield row | {key: row[key] + before for key in ("frame", "frame_all")}

    def _mask(self, sample: Sample) -> Tensor:
        return self.methods.masks.of(sample)


def _cosine(a: Tensor, b: Tensor) -> Tensor:
    """Of changes of attributes, shape (A,) both; NaN if one of them changes none."""
    lengths = a.norm() * b.norm()
    return a @ b / torch.where(lengths > 0, lengths, torch.nan)


def ranks(tables: Mapping[str, pd.DataFrame]) -> Iterator[Row]:
    """Mean ranks of methods by every measure, with Friedman's test.

    Args:
        tables: of edits, by what change is held equal (keys of :data:`BETTER`), with columns ``sample``, ``method``
            and measures; of ``target``, edits that are not ``matched`` come last.

    Returns:
        A row per (at, measure, method): ``mean_rank``, 1 is best and ties share theirs, over the n samples that have a
        value of every method, no row if there are none; ``chi2`` and ``p`` of the test, NaN for fewer than three
        methods or two samples. A method of several directions has their mean, and is last if one of them is not
        ``matched``.
    """
    for at, measures in BETTER.items():
        table = _with_transferred(tables.get(at, pd.DataFrame()))
        for measure in (one for one in measures if one in table):
            value = measures[measure] * table[measure]
            if at == "target":
                value = value.where(table["matched"], -np.inf)
            wide = table.assign(value=value).pivot_table(
                index="sample", columns="method", values="value", sort=False, dropna=False
            )
            wide = wide.dropna()
            if wide.empty:
                continue
            placed = rankdata(-wide.to_numpy(), axis=1)
            chi2, p = np.nan, np.nan
            if wide.shape[1] >= 3 and len(wide) >= 2 and bool((wide.nunique(axis=1) > 1).any()):
                chi2, p = map(float, friedmanchisquare(*placed.T))
            for method, rank in zip(wide.columns, placed.mean(axis=0), strict=True):
                row = {"at": at, "measure": measure, "method": method, "mean_rank": rank}
                yield row | {"n": len(wide), "chi2": chi2, "p": p}


def _with_transferred(table: pd.DataFrame) -> pd.DataFrame:
    return table.assign(transferred=transferred(table)) if "transfer_success" in table else table


def _scalars(tables: Mapping[str, pd.DataFrame]) -> dict[str, float]:
    """Means by method, and by how much more unmasked directions of ∂x̂0/∂x spill than LOCO's."""
    table = tables["change"]
    scalars = {"matched_share": float(table["matched"].mean()), "change": float(table["change_wanted"].iloc[0])}
    for at, measures in BETTER.items():
        part = _with_transferred(tables.get(at, pd.DataFrame()))
        if at == "target" and not part.empty:
            scalars |= {f"reached/{method}": float(found.mean()) for method, found in part.groupby("method")["matched"]}
            part = part[part["matched"]]
        for measure in (one for one in measures if one in part):
            for method, values in part.groupby("method", sort=False)[measure]:
                name = f"{measure}_for_attribute" if at == "target" else measure
                scalars[f"{name}/{method}"] = float(values.mean())
    if "inside" in tables:
        wide = tables["inside"].pivot_table(index="sample", columns="method", values="spill")
        if {"x0", "loco"} <= set(wide):
            mean, low, high = mean_interval((wide["x0"] - wide["loco"]).to_numpy())
            scalars |= {"spill/x0_minus_loco": mean}
            if not np.isnan(low):
                scalars |= {"spill/x0_minus_loco_low": low, "spill/x0_minus_loco_high": high}
    return scalars
