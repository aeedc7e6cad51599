"""Charts of ``spectrum``: effective dimension and flatness by timestep."""

from __future__ import annotations

from diffgeo.report.charts import Chart, Tables, by_time, in_figure
from diffgeo.studies.spectrum.kinds import of_kind
from diffgeo.studies.spectrum.settings import KINDS

QUANTITIES = {
    "effective_dimension": ("Effective dimension", "effective dimension"),
    "flatness": ("Flatness of the spectrum", "σₙ / σ₁"),
}
"""Column → title and label."""


def charts(tables: Tables) -> list[Chart]:
    """Effective dimension and flatness against t."""
    table = tables["spectrum"]
    caption = (
        f"Of the leading n = {table['rank'].iloc[0]} directions. Thin lines are samples; the thick line is their mean "
        "with its 95 % interval."
    )
    kinds = {words: part for kind, words in KINDS.items() if len(part := of_kind(table, kind))}
    found = []
    for column, (title, label) in QUANTITIES.items():
        values = {
            words if len(kinds) > 1 else "mean over samples": part.rename(columns={"t_frac": "x", column: "y"})[
                ["x", "y", "sample"]
            ]
            for words, part in kinds.items()
        }
        found.append(by_time(f"spectrum-{column}", title, caption, values, label))
    return in_figure(found, "summary")
