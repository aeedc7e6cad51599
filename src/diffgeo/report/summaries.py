"""What the tables of a page are made of: means with intervals, and the columns that many tables have."""

from __future__ import annotations

import math
from collections.abc import Sequence

import pandas as pd

from diffgeo.metrics.statistics import INTERVAL_FROM, mean_interval
from diffgeo.report.formatting import timestep
from diffgeo.report.metric_names import HEADINGS
from diffgeo.report.tables import Column, Table, as_table


def means_of(table: pd.DataFrame, keys: list[str], values: Sequence[str], unit: str = "n") -> pd.DataFrame:
    """Means with 95 % intervals by key: columns VALUE, VALUE_low, VALUE_high, and how many values."""
    rows = []
    for key, part in table.groupby(keys, sort=False):
        row = dict(zip(keys, key, strict=True))
        for value in (v for v in values if v in part):
            mean, low, high = mean_interval(part[value].to_numpy(float))
            row |= {value: mean, f"{value}_low": low, f"{value}_high": high}
        rows.append(row | {unit: len(part)})
    return pd.DataFrame(rows)


def mean_column(heading: str, value: str) -> Column:
    """A column of means with intervals, from the columns of :func:`means_of`."""
    return Column(heading, (value, f"{value}_low", f"{value}_high"))


def mean_columns(*values: str) -> list[Column]:
    """The same of metrics that are headed alike everywhere, as :data:`HEADINGS` says."""
    return [mean_column(HEADINGS[value], value) for value in values]


def p_column(heading: str, source: str) -> Column:
    """A column of p-values."""
    return Column(heading, source, lambda p: "–" if math.isnan(p) else f"{p:.2g}", style=lambda _: "num")


T_COLUMN = Column("t", "t_frac", timestep)
N_COLUMN = Column("n", "n")
INTERVALS = (
    f"Brackets hold Student's 95 % intervals of the mean; fewer than {INTERVAL_FROM} values are too few for one."
)


def means_table(
    identifier: str,
    caption: str,
    table: pd.DataFrame,
    keys: list[str],
    columns: Sequence[Column],
    note: str = INTERVALS,
) -> Table:
    """A table of means by key of those columns that are no keys, with how many values each is of in the last column."""
    values = [one.sources[0] for one in columns if one.sources[0] not in keys]
    return as_table(identifier, caption, means_of(table, keys, values), [*columns, N_COLUMN], note=note)
