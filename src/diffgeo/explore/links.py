"""What is shown, as the query of the page's address: a reload or a bookmark comes back to it."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import fields, replace
from urllib.parse import parse_qs, urlencode

from diffgeo.errors import DataError
from diffgeo.explore.painting import mask_of
from diffgeo.explore.parts import Choice
from diffgeo.explore.session import LIMIT, Explorer

_WEIGHTS = "weights"


def link_of(choice: Choice, weights: Sequence[float]) -> str:
    """``?sample=0&t_frac=0.5&…&weights=1.5,-1``: a choice and the weights of its directions."""
    words = {f.name: value for f in fields(Choice) if (value := getattr(choice, f.name)) is not None}
    words["pool"] = choice.pool or "none"
    used = list(weights)
    while used and not used[-1]:
        used.pop()
    if used:
        words[_WEIGHTS] = ",".join(f"{w:g}" for w in used)
    return "?" + urlencode(words, safe=",")


def linked(query: str, explorer: Explorer) -> tuple[Choice, tuple[float, ...]]:
    """The choice and weights of a query; what it leaves open is the explorer's start.

    Args:
        query: with or without its question mark; words that the page does not know are ignored.
        explorer: whose times, blocks and sources are allowed.

    Raises:
        DataError: a value is out of range or no number, or the mask does not fit.
    """
    given = {key: values[-1] for key, values in parse_qs(query.lstrip("?")).items()}
    start = explorer.start
    try:
        choice = replace(
            start,
            sample=int(given.get("sample", start.sample)),
            t_frac=round(float(given.get("t_frac", start.t_frac)), 6),
            block=given.get("block", start.block),
            pool={"none": None}.get(given["pool"], given["pool"]) if "pool" in given else start.pool,
            rank=int(given.get("rank", start.rank)),
            source=given.get("source", start.source),  # type: ignore[arg-type]
            strength=float(given.get("strength", start.strength)),
        )
        choice = replace(choice, mask=given.get("mask", start.mask) if choice.source == "mask" else None)
        weights = tuple(float(w) for w in given.get(_WEIGHTS, "0").split(","))
    except ValueError:
        raise DataError(
            "the link holds a value that is no number", "leave out what follows the question mark"
        ) from None
    count = None if explorer.files is None else len(explorer.files)
    fits = (
        0 <= choice.sample <= 2**31 and (count is None or choice.sample < count),
        any(math.isclose(choice.t_frac, t, abs_tol=1e-4) for t in explorer.times),
        choice.block in explorer.blocks,
        choice.pool in (None, "sum"),
        1 <= choice.rank <= max(32, start.rank),
        choice.source in explorer.sources,
        0 < choice.strength <= max(0.15, start.strength),
        len(weights) <= choice.rank,
        all(abs(w) <= LIMIT for w in weights),
    )
    if not all(fits):
        raise DataError("the link asks for what this model does not have", "leave out what follows the question mark")
    if choice.source == "mask":
        mask_of(choice.mask or "", *explorer.context.model.picture_shape)
    return choice, weights
