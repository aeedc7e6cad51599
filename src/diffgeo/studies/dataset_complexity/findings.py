"""What the study ``dataset_complexity`` found, in sentences."""

from __future__ import annotations

from collections.abc import Iterator

from diffgeo.report.findings import Finding, claim_of, tested
from diffgeo.report.formatting import counted
from diffgeo.report.reading import Run
from diffgeo.results import Row


def findings(run: Run) -> Iterator[Finding]:
    """The main findings of a run; none if this study left no rows."""
    table = run.table("dataset_complexity")
    found = (claim_of(run, "p23b/datasets", end) for end in ("at T", "at the lowest t"))
    rows = [row for row in found if row is not None]
    if table is None or len(rows) < 2:
        return
    at_top, at_low = map(tested, rows)
    simplest, most_complex = table["data"].unique()[[0, -1]]
    trainings = table.groupby("data", sort=False)["training"].nunique()
    if trainings.min() < 2:
        told = "One network per kind of data cannot tell whether simpler data give more consistent tangent spaces."
    else:
        top, low = map(_side, rows)
        where = f"{top} at T and at the lowest t" if top == low else f"{top} at T and {low} at the lowest t"
        told = f"Over trainings, tangent spaces of simpler data are {where}."
    counts = ", ".join(f"{counted(count, 'training')} on {data}" for data, count in trainings.items())
    yield Finding(
        "dataset_complexity",
        told,
        f"Samples of {most_complex} lie further apart than those of {simplest} by {at_top} at T and by {at_low} at the "
        f"lowest t, as a share of the largest possible distance ({counts}).",
    )


_SIDES = {"holds": "more alike", "contradicted": "less alike"}


def _side(row: Row) -> str:
    return _SIDES.get(row["verdict"], "neither plainly more nor less alike")
