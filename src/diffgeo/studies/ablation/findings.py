"""What the study ``ablation`` found, in sentences."""

from __future__ import annotations

from collections.abc import Iterator

from diffgeo.report.findings import Finding, claim_of, headline, tested
from diffgeo.report.reading import Run


def findings(run: Run) -> Iterator[Finding]:
    """The main findings of a run; none if this study left no rows."""
    table, row = run.table("ablation"), claim_of(run, "p23a/fig9", "residual, random − local, at equal change")
    if table is None or row is None:
        return
    yield Finding(
        "ablation",
        headline(
            row,
            "Random directions damage pictures more than local ones",
            "Random directions damage pictures less than local ones",
            "random directions damage pictures more than local ones",
        ),
        f"At equal perceptual change, the network's denoising residual along them less that along local ones is "
        f"{tested(row)}.",
    )
