"""Sections of the page: for every study its question, findings, pictures, charts and tables."""

from __future__ import annotations

import logging
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

import pandas as pd

from diffgeo.metrics.statistics import mean_interval
from diffgeo.report.charts import charts_of
from diffgeo.report.charts.curvedness import PATHS
from diffgeo.report.charts.toolkit import Chart, embed
from diffgeo.report.formatting import counted, name, timestep
from diffgeo.report.page.findings import Finding, reading_of
from diffgeo.report.page.reading import PROVENANCE, Run
from diffgeo.report.page.tables import Column, Table, as_table
from diffgeo.report.page.traversals import global_edits, picture_uri, traversals

log = logging.getLogger(__name__)

__all__ = ["TITLES", "Section", "claims_table", "sections"]

TITLES = {
    "discovery": ("Traversals", "What changes when a latent moves along its own leading directions?"),
    "global_consistency": ("Shared directions", "Does one direction do the same to samples it was not made from?"),
    "spectrum": ("Spectrum", "How many directions matter, and does the spectrum flatten as the noise falls?"),
    "frequency": ("Frequencies", "Are directions coarse near noise and fine near the picture?"),
    "curvedness": ("Curved paths", "How much does the tangent space turn on the way from one sample to another?"),
    "tangent_distance": ("Distances of tangent spaces", "How alike are the tangent spaces of samples and timesteps?"),
    "prompts": ("Prompts", "Do similar prompts have similar tangent spaces?"),
    "dataset_complexity": ("Data sets", "Do simpler data give more consistent tangent spaces?"),
    "ablation": ("Other directions and edits", "What is lost when directions are found, or walked, in another way?"),
    "disentanglement": ("Scorecard", "What does each direction change, what else changes, and how does that compare?"),
}
"""Study → title and question, in the order of the page."""

_RAW_CELLS = 6_000
"""Cells of a table that the page holds beside its summary; the file has all."""


@dataclass(frozen=True, slots=True)
class Drawn:
    """A chart as the page holds it.

    Attributes:
        chart: with its texts.
        spec: for the browser.
    """

    chart: Chart
    spec: dict[str, Any]


@dataclass(frozen=True, slots=True)
class Tabs:
    """Charts of which one is shown, picked by name.

    Attributes:
        id: unique in the page.
        label: what is picked.
        charts: by name; a single one, without a label, is shown as it is.
    """

    id: str
    label: str
    charts: dict[str, Drawn]

    @property
    def wide(self) -> bool:
        """Whether they need the page's whole width."""
        return any(drawn.chart.wide for drawn in self.charts.values())


@dataclass(frozen=True, slots=True)
class Viewer:
    """Pictures with sliders."""

    id: str
    type: str
    data: dict[str, Any]
    note: str = ""


@dataclass(frozen=True, slots=True)
class Pictures:
    """Edited pictures in labelled rows and columns."""

    id: str
    caption: str
    columns: Sequence[str]
    rows: list[dict[str, Any]]
    pixelated: bool


@dataclass(frozen=True, slots=True)
class Raw:
    """A table as it lies in the run folder, built by the page when it is opened."""

    id: str
    file: str
    data: dict[str, Any]


@dataclass(slots=True)
class Section:
    """One study on the page."""

    id: str
    title: str
    question: str
    findings: list[Finding] = field(default_factory=list)
    note: str = ""
    viewer: Viewer | None = None
    charts: Sequence[Tabs] = ()
    pictures: Sequence[Pictures] = ()
    tables: Sequence[Table] = ()
    raw: Sequence[Raw] = ()


def sections(run: Run, found: Sequence[Finding]) -> list[Section]:
    """A section for every study that the run was asked for, with its findings; one without rows says so."""
    known = [study for study in TITLES if study in run.studies]
    known += [study for study in run.studies if study not in TITLES]  # somebody's own
    return [_drawn(run, study, [f for f in found if f.study == study]) for study in known]


def _drawn(run: Run, study: str, found: list[Finding]) -> Section:
    """A section; what stands in its place where its tables are not what this version writes."""
    try:
        return _section(run, study, found)
    except Exception as error:  # one study's tables must not cost the others their page
        log.warning("%s: the section %s could not be drawn", run.folder, study, exc_info=True)
        note = f"This section could not be drawn from tables/{study}.parquet ({type(error).__name__}: {error})."
        return Section(study, *_title(study), found, note)


def _section(run: Run, study: str, found: list[Finding]) -> Section:
    title, question = _title(study)
    section = Section(study, title, question, found)
    if run.table(study) is None:
        reason = {"failed": "the run failed", "interrupted": "the run was interrupted"}.get(run.status)
        why = f", because {reason} before it" if reason else "; the log says why it was left out"
        section.note = f"This study left no rows{why}."
        return section
    section.charts = _charts(run, study)
    section.tables = _SUMMARIES[study](run) if study in _SUMMARIES else ()
    section.raw = [_raw(stem, table) for stem, table in run.tables.items() if _belongs(stem, study) and len(table)]
    if study == "discovery":
        section.viewer = _traversal_viewer(run)
    elif study == "global_consistency":
        section.viewer = _global_viewer(run)
    elif study == "ablation":
        section.pictures = _ablation_pictures(run)
    elif study == "disentanglement":
        section.pictures = _scorecard_pictures(run)
    return section


def _charts(run: Run, study: str) -> list[Tabs]:
    """A study's charts, in their order; those among which a reader picks, together."""
    groups: dict[str, Tabs] = {}
    for chart in charts_of(study, run.tables):
        label, choice = chart.pick or ("", "")
        together = groups.setdefault(label or chart.id, Tabs(f"tabs-{chart.name}", label, {}))
        together.charts[choice] = Drawn(chart, embed(chart))
    return list(groups.values())


def _title(study: str) -> tuple[str, str]:
    own = name(study)
    return TITLES.get(study, (own[:1].upper() + own[1:], "A study that the page has no charts for: its tables, whole."))


def _belongs(stem: str, study: str) -> bool:
    return stem == study or stem.startswith(f"{study}_")


def _raw(stem: str, table: pd.DataFrame) -> Raw:
    shown = table.drop(columns=[c for c in PROVENANCE if c in table.columns])
    most = max(10, _RAW_CELLS // max(1, shown.shape[1]))
    part = shown.head(most)
    rows = [[_plain(value) for value in row] for row in part.astype(object).to_numpy().tolist()]
    which = f"all {counted(len(table), 'row')}" if len(part) == len(table) else f"the first {most} of {len(table)} rows"
    name = stem if len(part) == len(table) else f"{stem}-first-{most}"
    data = {"columns": list(shown.columns), "rows": rows, "note": f"tables/{stem}.csv, {which}", "name": name}
    return Raw(stem, f"tables/{stem}.csv", data)


def _plain(value: Any) -> Any:
    """A cell as JSON has it, with all digits; None for what is missing."""
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    return value if value is None or isinstance(value, str | int | bool) else str(value)


def _traversal_viewer(run: Run) -> Viewer | None:
    data = traversals(run)
    if data is None:
        return None
    notes = []
    if data["left_out"]:
        notes.append(f"{counted(data['left_out'], 'further sample')} would not fit into one file; tensors/ has all.")
    if not data["lossless"]:
        notes.append("Pictures are compressed here; tensors/discovery.safetensors has them as they are.")
    if data["attributes"]:
        notes.append(
            "Bars show the predicted change of each attribute from the unedited picture (in the middle of a strip)."
        )
    return Viewer("viewer-traversals", "traversals", data, " ".join(notes))


def _global_viewer(run: Run) -> Viewer | None:
    data = global_edits(run)
    if data is None:
        return None
    left = data["left_out"]
    note = f"{counted(left, 'further held-out sample')} would not fit into one file; tensors/ has all." if left else ""
    return Viewer("viewer-global", "global", data, note)


def _ablation_pictures(run: Run) -> list[Pictures]:
    """The first sample, edited by every variant, all changed equally."""
    table, frames = run.table("ablation"), run.pictures("ablation")
    if table is None or frames is None:
        return []
    mine = table[table["sample"] == table["sample"].iloc[0]]
    caption = f"{mine['name'].iloc[0]}: edits of equal change, at {timestep(float(mine['t_frac'].iloc[0]))}"
    edits = mine.assign(method=mine["variant"], frame=mine["frame"] + 1, said=mine.get("attribute"))
    return [_grid("pictures-ablation", caption, edits, frames, original=0)]


def _scorecard_pictures(run: Run) -> list[Pictures]:
    """The first scored sample at the first timestep, edited by every method."""
    table, frames = run.table("disentanglement"), run.pictures("disentanglement")
    if table is None or frames is None:
        return []
    mine = table[(table["t"] == table["t"].iloc[0]) & (table["sample"] == table["sample"].iloc[0])]
    mine = mine[mine["direction"] < 6]
    when = timestep(float(mine["t_frac"].iloc[0]))
    caption = f"{mine['name'].iloc[0]}: edits of equal change at {when}, each with its target"
    edits = mine.assign(said=mine["target"])
    return [_grid("pictures-scorecard", caption, edits, frames, original=int(mine["frame"].min()) - 1)]


def _grid(identifier: str, caption: str, edits: pd.DataFrame, frames: Any, original: int) -> Pictures:
    """One sample's edits: rows are directions, columns methods, the unedited picture first.

    Args:
        identifier: unique in the page.
        caption: what is shown.
        edits: columns ``method``, ``direction``, ``frame`` and ``said`` (an attribute, or missing).
        frames: (N, H, W, 3), uint8.
        original: number of the unedited picture.
    """
    methods = list(edits["method"].unique())
    at = edits.set_index(["direction", "method"])[["frame", "said"]].to_dict("index")
    rows = []
    for k in sorted(edits["direction"].unique()):
        pictures = [{"uri": picture_uri(frames[original]), "alt": "unedited", "caption": ""}]
        for method in methods:
            found = at.get((k, method))
            if found is None:
                pictures.append({"uri": "", "alt": "", "caption": "–"})
                continue
            said = "" if found["said"] is None or pd.isna(found["said"]) else name(found["said"])
            alt = f"{name(method)}, direction {k + 1}{f', moves {said} most' if said else ''}"
            pictures.append({"uri": picture_uri(frames[int(found["frame"])]), "alt": alt, "caption": said})
        rows.append({"name": f"direction {k + 1}", "pictures": pictures})
    return Pictures(identifier, caption, ["unedited", *map(name, methods)], rows, frames.shape[2] <= 64)


def _means(table: pd.DataFrame, keys: list[str], values: Sequence[str], unit: str = "n") -> pd.DataFrame:
    """Means with 95 % intervals by key: columns VALUE, VALUE_low, VALUE_high, and how many values."""
    rows = []
    for key, part in table.groupby(keys, sort=False):
        row = dict(zip(keys, key, strict=True))
        for value in (v for v in values if v in part):
            mean, low, high = mean_interval(part[value].to_numpy(float))
            row |= {value: mean, f"{value}_low": low, f"{value}_high": high}
        rows.append(row | {unit: len(part)})
    return pd.DataFrame(rows)


def _mean(heading: str, value: str) -> Column:
    return Column(heading, (value, f"{value}_low", f"{value}_high"))


def _p(heading: str, source: str) -> Column:
    return Column(heading, source, lambda p: "–" if math.isnan(p) else f"{p:.2g}", style=lambda _: "num")


_T = Column("t", "t_frac", timestep)
_N = Column("n", "n")
_INTERVALS = "Brackets hold 95 % bootstrap intervals of the mean."


def _discovery(run: Run) -> list[Table]:
    table = run.table("discovery")
    assert table is not None
    followed = table[table["path_length"].notna()] if "path_length" in table else table
    columns = [
        Column("sample", "name"),
        _T,
        Column("direction", "number"),
        Column("σ", "singular_value"),
        Column("automatic label", "label", lambda x: "–" if x is None or pd.isna(x) else name(x)),
        Column("low-frequency share of the change", "change_low_share"),
        Column("perceptual length", "path_length"),
        Column("largest step", "largest_step"),
    ]
    rows = followed.assign(number=followed["direction"] + 1)
    note = (
        "A label names the attributes that move most from −γ to +γ, strongest first. The largest step is the share "
        "of a traversal's perceptual length between two neighbouring frames."
    )
    return [as_table("table-labels", "Automatic labels", rows, columns, note=note)]


def _spectrum(run: Run) -> list[Table]:
    table = run.table("spectrum")
    assert table is not None
    means = _means(table, ["t_frac"], ["effective_dimension", "flatness", "half_energy_rank", "singular_value_first"])
    columns = [
        _T,
        _mean("effective dimension", "effective_dimension"),
        _mean("σₙ / σ₁", "flatness"),
        _mean("directions with half of the energy", "half_energy_rank"),
        _mean("σ₁", "singular_value_first"),
        _N,
    ]
    return [as_table("table-spectrum-means", "Spectra by timestep", means, columns, note=_INTERVALS)]


def _frequency(run: Run) -> list[Table]:
    table = run.table("frequency")
    assert table is not None
    means = _means(table[table["radius"] == 0], ["t_frac"], ["low_share", "high_share"])
    columns = [_T, _mean("low-frequency share", "low_share"), _mean("high-frequency share", "high_share"), _N]
    return [as_table("table-frequency-means", "Frequencies by timestep", means, columns, note=_INTERVALS)]


def _global_consistency(run: Run) -> list[Table]:
    table = run.table("global_consistency")
    assert table is not None
    keys = ["t_frac", "method", "direction"]
    means = _means(table, keys, ["best_match", "share"])
    once = table.drop_duplicates(keys)[[*keys, "null_best_match", "p_best_match", "p_share"]]
    means = means.merge(once, on=keys)
    means["direction"] += 1
    columns = [
        _T,
        Column("method", "method"),
        Column("direction", "direction"),
        _mean("best |cos|", "best_match"),
        Column("chance", "null_best_match"),
        _p("p", "p_best_match"),
        _mean("share in the tangent space", "share"),
        _p("p of the share", "p_share"),
        _N,
    ]
    return [
        as_table(
            "table-consistency-means", "Global directions on held-out samples", means, columns,
            note=f"{_INTERVALS} n counts held-out samples; p is by Monte Carlo, under random subspaces.",
        )
    ]  # fmt: skip


def _curvedness(run: Run) -> list[Table]:
    table = run.table("curvedness")
    assert table is not None
    values = ["length", "length_soft", "perceptual_length", "x_length", "h_length", "miss_h"]
    means = _means(table, ["pool", "path"], values)
    means["h"] = means["pool"].map(lambda p: "whole" if p == "none" else "pooled")
    means["label"] = means["path"].map(lambda p: PATHS.get(p, p))
    columns = [
        Column("h", "h"),
        Column("path", "label"),
        _mean("semantic length / rad", "length"),
        _mean("soft length / rad", "length_soft"),
        _mean("perceptual length", "perceptual_length"),
        _mean("length in X", "x_length"),
        _mean("length in H", "h_length"),
        _mean("end misses by", "miss_h"),
        _N,
    ]
    note = f"{_INTERVALS} n counts pairs of samples; one pair has no interval."
    return [as_table("table-curvedness-means", "Paths between samples", means, columns, note=note)]


def _tangent_distance(run: Run) -> list[Table]:
    table = run.table("tangent_distance")
    assert table is not None
    labels = {"sample": "two samples at t", "time": "one sample, two timesteps"}
    rows = table.assign(
        what=table["kind"].map(lambda k: labels.get(k, f"control: {name(k).replace(' ', ' is ')}")),
        apart=(table["t_frac_a"] - table["t_frac_b"]).abs().round(6),
        t_frac=table["t_frac_a"].where(table["kind"] == "sample"),
    )
    rows["at"] = [
        timestep(t) if pd.notna(t) else f"|t − s| = {timestep(d)}"
        for t, d in zip(rows["t_frac"], rows["apart"], strict=True)
    ]
    means = _means(rows, ["what", "at"], ["distance_normalized", "distance", "distance_soft"])
    columns = [
        Column("between", "what"),
        Column("where", "at"),
        _mean("distance / largest", "distance_normalized"),
        _mean("distance / rad", "distance"),
        _mean("soft distance / rad", "distance_soft"),
        _N,
    ]
    note = f"{_INTERVALS} n counts pairs, which share samples: intervals over them are too narrow."
    return [as_table("table-distance-means", "Grassmann distances", means, columns, note=note)]


def _ablation(run: Run) -> list[Table]:
    table = run.table("ablation")
    assert table is not None
    values = ["precision", "off_target", "clipped_change", "chroma_change", "gamma", "matched"]
    means = _means(table.assign(matched=table["matched"].astype(float)), ["variant"], values)
    columns = [
        Column("variant", "variant", name),
        _mean("edit precision", "precision"),
        _mean("off-target change", "off_target"),
        _mean("colours at their limits", "clipped_change"),
        _mean("chroma", "chroma_change"),
        _mean("γ", "gamma"),
        Column("share matched", "matched"),
        _N,
    ]
    note = f"{_INTERVALS} n counts edits; edits of one sample are not independent."
    return [as_table("table-ablation-means", "Variants at equal strength", means, columns, note=note)]


def _disentanglement(run: Run) -> list[Table]:
    card, rescoring = run.table("disentanglement_scorecard"), run.table("disentanglement_rescoring")
    tables = []
    if rescoring is not None:
        keys = ["t_frac", "method", "direction", "label", "confidence", "samples"]
        labels = rescoring[keys].drop_duplicates()
        columns = [
            _T,
            Column("method", "method", name),
            Column("direction", "number"),
            Column("automatic label (share of samples)", "label", name),
            Column("confidence", "confidence"),
            Column("n", "samples"),
        ]
        labels = labels.assign(number=labels["direction"] + 1)
        note = "The share says on how many samples the label that the others give comes true."
        tables.append(as_table("table-rescoring-labels", "Automatic labels of directions", labels, columns, note=note))
    if card is not None:
        columns = [
            _T,
            Column("method", "method", name),
            Column("metric", "metric", name),
            Column("value", ("value", "low", "high")),
            Column("null", "null"),
            _p("p", "p"),
            Column("n", "n"),
        ]
        note = (
            "Brackets hold 95 % bootstrap intervals over samples. The null is what shuffled factors give (codes), or "
            "the precision of random directions (beside a gain over them)."
        )
        known = card[card["value"].notna()]
        tables.insert(0, as_table("table-scorecard", "Scorecard", known, columns, note=note))
    return tables


def _prompts(run: Run) -> list[Table]:
    summary = run.table("prompts_similarity")
    if summary is None:
        return []
    kinds = {"fixed": "the same latent", "path": "own paths"}
    rows = summary.assign(what=summary["kind"].map(lambda k: kinds.get(k, k)))
    columns = [
        _T,
        Column("tangent spaces", "what"),
        Column("guidance", "guidance"),
        Column("mean distance / largest", ("distance_normalized", "low", "high")),
        Column("rank correlation with similarity", "rho"),
        _p("p (Mantel)", "p"),
        Column("prompts", "prompts"),
    ]
    return [as_table("table-prompts-means", "Prompts by timestep", rows, columns, note=_INTERVALS)]


def _dataset_complexity(run: Run) -> list[Table]:
    table = run.table("dataset_complexity")
    assert table is not None
    means = _means(table, ["data_model", "t_frac"], ["distance_normalized", "distance"])
    columns = [
        Column("model", "data_model"),
        _T,
        _mean("distance / largest", "distance_normalized"),
        _mean("distance / rad", "distance"),
        _N,
    ]
    note = f"{_INTERVALS} n counts pairs, which share samples: intervals over them are too narrow."
    return [as_table("table-complexity-means", "Distances between samples", means, columns, note=note)]


_SUMMARIES: dict[str, Callable[[Run], list[Table]]] = {
    "discovery": _discovery,
    "spectrum": _spectrum,
    "frequency": _frequency,
    "global_consistency": _global_consistency,
    "curvedness": _curvedness,
    "tangent_distance": _tangent_distance,
    "ablation": _ablation,
    "disentanglement": _disentanglement,
    "prompts": _prompts,
    "dataset_complexity": _dataset_complexity,
}
"""Study → its tables for a paper."""


def claims_table(run: Run) -> Table | None:
    """The claims that this run can speak to, with their verdicts; None where there are none."""
    if not run.verdicts:
        return None
    rows = pd.DataFrame([row | {"said": reading_of(row)} for row in run.verdicts])
    columns = [
        Column("source", "source"),
        Column("claim", "quantity"),
        Column("published", "published"),
        Column("this run", ("ours", "low", "high")),
        Column("n", "n"),
        _p("p", "p"),
        Column("verdict", "said", style=lambda verdict: f"verdict-{str(verdict).split()[0]}"),
    ]
    note = (
        "A claim holds where the 95 % interval lies above 0 and the sign test has p ≤ 0.05, which takes five values at "
        "least; published values compare on the published model alone."
    )
    return as_table("table-claims", "Claims and verdicts", rows, columns, note=note)
