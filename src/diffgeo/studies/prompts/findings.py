"""What the study ``prompts`` found, in sentences."""

from __future__ import annotations

from collections.abc import Iterator

from diffgeo.report.findings import Finding, claim_of, headline, tested
from diffgeo.report.reading import Run


def findings(run: Run) -> Iterator[Finding]:
    """The main findings of a run; none if this study left no rows."""
    if run.table("prompts") is None:
        return
    near, fades = claim_of(run, "p23b/prompts", "common factors"), claim_of(run, "p23b/prompts", "falls")
    if near is not None:
        yield Finding(
            "prompts",
            headline(
                near,
                "Similar prompts have near tangent spaces",
                "Similar prompts have no nearer tangent spaces: they lie further apart",
                "similar prompts have near tangent spaces",
            ),
            f"The rank correlation of what two captions have in common and nearness is {tested(near)}.",
        )
    if fades is not None:
        yield Finding(
            "prompts",
            headline(
                fades,
                "The prompt matters less towards t = 0",
                "The prompt does not matter less towards t = 0: it matters more",
                "the prompt matters less towards t = 0",
            ),
            f"The distance between prompts on their own paths falls by {tested(fades, ' rad')}.",
        )
