"""Claims as a reader sees them: how many hold, every value of each, and the table of verdicts."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from string import ascii_lowercase

import numpy as np
import pandas as pd

from diffgeo.claims import Claim, reading_of
from diffgeo.metrics.statistics import DETECTABLE, FEWEST, SIGNIFICANT
from diffgeo.report.charts import Chart, strips
from diffgeo.report.formatting import counted
from diffgeo.report.summaries import p_column
from diffgeo.report.tables import Column, Table, as_table
from diffgeo.results import Row

RULE = (
    f"A claim holds if q ≤ {SIGNIFICANT} and the mean is positive, and is contradicted if it is negative. Otherwise "
    f"it is not found if the interval excludes an effect of {DETECTABLE} standard deviations in its favour. If not, or "
    f"with fewer than {FEWEST} values, there are too few to tell."
)
"""How verdicts are given, in words."""


def style_of(reading: object) -> str:
    """The CSS class of a cell that holds a verdict."""
    return f"verdict-{str(reading).replace(' ', '-')}"


def labels(rows: Sequence[Row]) -> list[str]:
    """The source of each row, with a letter if it has several claims: ``P23a Fig. 9 b``."""
    several, met = Counter(row["source"] for row in rows), Counter[str]()
    found = []
    for row in rows:
        letter = f" {ascii_lowercase[met[row['source']]]}" if several[row["source"]] > 1 else ""
        met[row["source"]] += 1
        found.append(f"{row['source']}{letter}")
    return found


def count_of_verdicts(rows: Sequence[Row]) -> str:
    """How many claims hold, in a sentence; empty without claims."""
    claims = [row for row in rows if row["verdict"]]
    count = Counter(row["verdict"] for row in claims)
    parts = {
        "holds": f"{count['holds']} hold",
        "contradicted": f"{count['contradicted']} are contradicted",
        "not found": f"{count['not found']} are not found",
        "too few to tell": f"for {count['too few to tell']} there are too few values to tell",
        "not comparable": f"{count['not comparable']} cannot be compared with this model or so few values",
    }
    told = [text for verdict, text in parts.items() if count[verdict]]
    return f"Of {counted(len(claims), 'claim')}, {', '.join(told)}." if claims else ""


def values_of_claims(rows: Sequence[Row]) -> Chart | None:
    """A dot per sample (pair, training) and row of the table; None without values.

    Claims have different units, so that each is drawn over its root mean square.
    """
    drawn: dict[str, pd.Series[float]] = {}
    for label, row in zip(labels(rows), rows, strict=True):
        values = np.asarray(row["values"], dtype=float)
        if row["role"] != "value" and values.any():
            drawn[label] = pd.Series(values / np.sqrt(np.mean(values**2)))
    if not drawn:
        return None
    caption = (
        "A dot is one sample (or pair, or training), a diamond their mean, each row over its root mean square; right "
        "of 0 agrees with the paper. Rows are those of the table."
    )
    return strips("claims-values", "Every claim, value by value", caption, drawn, "value / root mean square")


def words_of(claim: Claim | None) -> list[tuple[str, str]]:
    """What a claim says, as (heading, sentences); nothing of one that asserts nothing, or is not known any more."""
    if claim is None or not claim.asserts:
        return []
    words = [("", claim.asserts), ("Why this measure:", claim.because), ("What would refute it:", claim.refuted)]
    return [(heading, text) for heading, text in words if text]


def table_of_claims(rows: Sequence[Row], claims: Sequence[Claim] = ()) -> Table | None:
    """The table of verdicts, with what the claims say to unfold; None without rows."""
    if not rows:
        return None
    known = {(claim.source, claim.experiment, claim.quantity): claim for claim in claims}
    shown = [
        row
        | {"label": label, "reading": reading_of(row), "about": _about(row)}
        | {"words": words_of(known.get((row["source"], row["experiment"], row["quantity"])))}
        for label, row in zip(labels(rows), rows, strict=True)
    ]
    columns = [
        Column("source", "label"),
        Column("measured", "about", unfolds="words"),
        Column("published", "published"),
        Column("this run", ("ours", "low", "high")),
        Column("n", "n"),
        p_column("p", "p"),
        p_column("q", "q"),
        p_column("Holm", "holm"),
        Column("verdict", "reading", style=style_of),
    ]
    note = (
        "Brackets hold Student's 95 % interval. p is of the two-sided sign-flip test of the mean, q the false "
        "discovery rate among this table's claims with values enough (Benjamini–Hochberg), Holm the adjusted p by "
        f"which no call at all would be false. {RULE} Controls and second measures have no verdict. Published values "
        "compare on the published model alone."
    )
    return as_table("table-claims", "Claims and verdicts", pd.DataFrame(shown), columns, note=note)


def _about(row: Row) -> str:
    """What a row measures, with its remark and the unit if that is no sample."""
    more = [text for text in (row["remark"], "" if row["unit"] == "sample" else f"per {row['unit']}") if text]
    return f"{row['quantity']} ({'; '.join(more)})" if more else str(row["quantity"])
