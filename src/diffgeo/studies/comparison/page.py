"""What a run's page shows of the study ``comparison``, beside its charts."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pandas as pd

from diffgeo.report.formatting import name, timestep
from diffgeo.report.pictures import Pictures, picture_grid
from diffgeo.report.reading import Run
from diffgeo.report.summaries import INTERVALS, N_COLUMN, mean_column, mean_columns, means_of, means_table, p_column
from diffgeo.report.tables import Column, Table, as_table
from diffgeo.studies.comparison.transfer import transferred

_METHOD = Column("method", "method", name)
PUBLISHED = {
    "local": (0.32, 0.14, 0.16, 0.60),
    "eps": (0.37, 0.24, 0.13, 0.66),
    "asyrp": (0.47, 0.58, 0.22, 0.68),
    "loco": (0.80, 0.91, 0.08, 0.71),
    "NoiseCLR": (0.32, 0.66, 0.14, 0.68),
    "BlendedDiffusion": (0.55, np.nan, 0.03, 0.94),
}
"""Method → local success, transfer success, LPIPS and SSIM of LOCO Edit's Table 1; the last two are not made here."""


def tables(run: Run) -> list[Table]:
    """Tables for a paper."""
    table = run.table("comparison")
    assert table is not None
    table = table.assign(transferred=transferred(table))
    parts = {"inside": _inside, "target": _target, "strengths": _strengths, "composed": _composed, "ranks": _ranks}
    found = [(make, run.table(f"comparison_{part}")) for part, make in parts.items()]
    return [
        _means(table),
        *([_published(table)] if table["method"].isin(PUBLISHED).any() else []),
        *(make(part) for make, part in found if part is not None),
    ]


def _means(table: pd.DataFrame) -> Table:
    columns = [
        _METHOD,
        *mean_columns("local_success"),
        mean_column("success that transfers", "transferred"),
        mean_column("likeness of transfer", "transfer"),
        mean_column(name(table["perceptual_measure"].iloc[0]), "change"),
        *mean_columns("ssim", "precision", "locality", "off_data", "residual_change"),
        Column("passes", "passes"),
        Column("share matched", "matched"),
    ]
    note = (
        f"{INTERVALS} n counts edits. An edit's success transfers if it is a local success and its direction moves the "
        "same attribute of the next sample the same way; likeness is the cosine of the changes of attributes here and "
        f"there. Passes are what finding one set of directions took: Jacobian products, or evaluations of the "
        f"network. At {timestep(float(table['t_frac'].iloc[0]))}."
    )
    return means_table("table-comparison-means", "Methods at equal change", table, ["method"], columns, note=note)


def _published(table: pd.DataFrame) -> Table:
    """Ours beside LOCO Edit's Table 1, in the order of its columns."""
    own = means_of(table[table["method"].isin(PUBLISHED)], ["method"], ["local_success", "transferred", "ssim"])
    others = [one for one in PUBLISHED if one[0].isupper()]
    own = pd.concat([own, pd.DataFrame({"method": others, "n": 0})], ignore_index=True)
    columns = [_METHOD]
    for place, (column, text) in {
        0: ("local_success", "local success"),
        1: ("transferred", "transfer success"),
        3: ("ssim", "SSIM"),
    }.items():
        own[f"published_{column}"] = [PUBLISHED[method][place] for method in own["method"]]
        columns += [mean_column(f"{text}, here", column), Column(f"{text}, published", f"published_{column}")]
    columns.insert(5, Column("LPIPS, published", "published_lpips"))
    own["published_lpips"] = [PUBLISHED[method][2] for method in own["method"]]
    columns.append(N_COLUMN)
    note = (
        "Published: LOCO Edit, Table 1, photographs of faces, success as judged by people, edits not of equal change. "
        "Here: portraits with known factors, success by an attribute predictor, edits of equal change, so that LPIPS "
        "or its stand-in is the same for all; it differs at equal change of an attribute. Our transfer counts edits "
        "that fail as failures. "
        "The numbers do not compare; their order may. Asyrp here is a mean "
        f"difference of h, without its training. {INTERVALS}"
    )
    return as_table("table-comparison-published", "Beside LOCO Edit's table", own, columns, note=note)


def _inside(table: pd.DataFrame) -> Table:
    columns = [
        _METHOD,
        mean_column("change outside", "outside"),
        mean_column("outside / inside", "spill"),
        *mean_columns("local_success", "ssim", "precision", "off_data", "residual_change"),
        Column("share matched", "matched"),
    ]
    note = f"{INTERVALS} Changes are root mean squares per pixel value, in pictures of [−1, 1]."
    caption = "Methods at equal change inside the mask"
    return means_table("table-comparison-inside", caption, table, ["method"], columns, note=note)


def _target(table: pd.DataFrame) -> Table:
    """Means over the edits that reach the change of the attribute."""
    wanted, size = name(table["wanted"].iloc[0]), float(table["change_wanted"].iloc[0])
    shown = [
        mean_column(name(table["perceptual_measure"].iloc[0]), "change"),
        mean_column("change of the others", "off_target"),
        *mean_columns("precision", "ssim", "locality", "off_data", "residual_change"),
    ]
    means = _of_those_that_reach_it(table, ["method"], shown)
    columns = [_METHOD, Column("share that reach it", "reached"), *shown, N_COLUMN]
    note = (
        f"All edits move {wanted} by {size:g} standard deviations, towards the other side of its mean. Means are over "
        "the n edits that reach this; ranks count the others as last. Changes of others are in standard deviations. "
        f"{INTERVALS}"
    )
    return as_table("table-comparison-target", f"Methods at equal change of {wanted}", means, columns, note=note)


def _of_those_that_reach_it(table: pd.DataFrame, keys: list[str], shown: Sequence[Column]) -> pd.DataFrame:
    """Means over the edits that reach the change, and the share of those."""
    share = table.groupby(keys, sort=False)["matched"].mean().rename("reached").reset_index()
    means = means_of(table[table["matched"]], keys, [column.sources[0] for column in shown])
    found = share.merge(means, on=keys, how="left")
    return found.assign(n=found["n"].fillna(0).astype(int))


def _strengths(table: pd.DataFrame) -> Table:
    columns = [
        _METHOD,
        Column("share of the strength", "share"),
        mean_column("departure from proportion", "departure"),
        mean_column("cosine", "cosine"),
        *mean_columns("off_data", "residual_change"),
    ]
    note = f"Of the changes of all attributes; 0 and 1 are proportional to the strength. {INTERVALS}"
    caption = "Effects at other strengths"
    return means_table("table-comparison-strengths", caption, table, ["method", "share"], columns, note=note)


def _composed(table: pd.DataFrame) -> Table:
    """Means over the edits that reach the change inside their mask."""
    shown = [
        mean_column("departure in its mask", "departure"),
        mean_column("departure of the whole from the sum", "interaction"),
        *mean_columns("off_data"),
        mean_column("that of all edits at once", "off_data_all"),
        *mean_columns("residual_change"),
        mean_column("that of all edits at once", "residual_change_all"),
    ]
    means = _of_those_that_reach_it(table, ["method", "mask"], shown)
    columns = [
        _METHOD,
        Column("mask", "mask", name),
        Column("share that reach the change", "reached"),
        *shown,
        N_COLUMN,
    ]
    note = (
        "One edit in each mask, alone and all at once, as plain steps; as shares of the change by the edit alone, and "
        f"of the sum of all changes. 0: edits add up. Of edits that reach the change inside their mask. {INTERVALS}"
    )
    return as_table("table-comparison-composed", "Edits in several masks at once", means, columns, note=note)


AT = {"change": "the picture", "inside": "inside the mask", "target": "the attribute"}
"""What change is held equal, in words."""


def _ranks(table: pd.DataFrame) -> Table:
    columns = [
        *([Column("equal change of", "at", lambda at: AT[at])] if "at" in table else []),
        Column("measure", "measure", name),
        _METHOD,
        Column("mean rank", "mean_rank"),
        p_column("p", "p"),
        N_COLUMN,
    ]
    note = "1 is best; ties share their rank. p is of Friedman's test that the methods do not differ; n counts samples."
    return as_table("table-comparison-ranks", "Ranks of methods", table, columns, note=note)


def pictures(run: Run) -> list[Pictures]:
    """The first sample, edited by every method, all changed equally."""
    table, frames = run.table("comparison"), run.pictures("comparison")
    if table is None or frames is None:
        return []
    mine = table[table["sample"] == table["sample"].iloc[0]]
    caption = f"{mine['name'].iloc[0]}: edits of equal change, at {timestep(float(mine['t_frac'].iloc[0]))}"
    edits = mine.assign(moves=mine["attribute"])
    return [picture_grid("pictures-comparison", caption, edits, frames, original=int(mine["frame"].min()) - 1)]
