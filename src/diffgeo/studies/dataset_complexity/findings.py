"""What the study ``dataset_complexity`` found, in sentences."""

from __future__ import annotations

from collections.abc import Iterator

from diffgeo.report.findings import Finding, claim_of, tested
from diffgeo.report.reading import Run

__all__ = ["findings"]


def findings(run: Run) -> Iterator[Finding]:
    """The main findings of a run; none if this study left no rows."""
    table = run.table("dataset_complexity")
    rows = [claim_of(run, "p23b/datasets", end) for end in ("at T", "at the lowest t")]
    if table is None or None in rows:
        return
    models = list(table["data_model"].unique())
    at_top, at_low = (tested(row) for row in rows if row is not None)
    yield Finding(
        "dataset_complexity",
        "One network per kind of data cannot tell whether simpler data give more consistent tangent spaces.",
        f"Samples of {models[-1]} lie further apart than those of {models[0]} by {at_top} at T and by {at_low} at the "
        "lowest t, as a share of the largest possible distance.",
    )
