"""What the study ``dataset_complexity`` found, in sentences."""

from __future__ import annotations

from collections.abc import Iterator

from diffgeo.report.findings import Finding, claim_of, headline, tested
from diffgeo.report.reading import Run

__all__ = ["findings"]


def findings(run: Run) -> Iterator[Finding]:
    """The main findings of a run; none if this study left no rows."""
    table, row = run.table("dataset_complexity"), claim_of(run, "p23b/datasets")
    if table is None or row is None:
        return
    models = list(table["data_model"].unique())
    yield Finding(
        "dataset_complexity",
        headline(
            row,
            "Simpler data have more consistent tangent spaces",
            "Simpler data do not have more consistent tangent spaces: theirs lie further apart",
            "simpler data have more consistent tangent spaces",
        ),
        f"Samples of {models[-1]} lie further apart than those of {models[0]} by {tested(row)}, as a share "
        "of the largest possible distance.",
    )
