"""What the study ``greyness`` found, in sentences."""

from __future__ import annotations

from collections.abc import Iterator

from diffgeo.report.findings import Finding, claim_of, headline, tested
from diffgeo.report.reading import Run


def findings(run: Run) -> Iterator[Finding]:
    """One sentence, in the words that the claim's test allows; none if this study left no rows."""
    tested_claim = claim_of(run, "greyness")
    if tested_claim is None:
        return
    yield Finding(
        "greyness",
        headline(
            tested_claim,
            yes="Directions change brightness more than random ones do",
            opposite="Directions change brightness less than random ones do",
            whether="directions change brightness more than random ones do",
        ),
        f"Their greyness exceeds that of random directions by {tested(tested_claim)}.",
    )
