"""The order of the papers' experiments, ``PAPER/ITEM``."""

from __future__ import annotations

PAPERS = ("p23a", "p23b", "loco", "asyrp")
"""Folders of ``conf/experiment/``; other packages' come last."""


def order_of(experiment: str) -> tuple[int, bool, int, str]:
    """Sorts experiments as the papers do: by paper, tables before figures, both by number.

    >>> sorted(["p23a/fig10", "p23b/samples", "p23a/fig9", "p23a/table1"], key=order_of)
    ['p23a/table1', 'p23a/fig9', 'p23a/fig10', 'p23b/samples']
    """
    paper, _, item = experiment.partition("/")
    digits = "".join(character for character in item if character.isdigit())
    rank = PAPERS.index(paper) if paper in PAPERS else len(PAPERS)
    return rank, not item.startswith("table"), int(digits or 0), item
