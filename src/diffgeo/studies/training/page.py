"""What a run's page shows of the study ``training``, beside its charts."""

from __future__ import annotations

from diffgeo.report.reading import Run
from diffgeo.report.summaries import T_COLUMN, mean_column, means_table
from diffgeo.report.tables import Column, Table


def tables(run: Run) -> list[Table]:
    """Tables for a paper: the geometry of every network, its share of the tangent space, and its paths."""
    network = [Column("data", "data"), Column("settings", "settings"), Column("seed", "training_seed")]
    network.append(Column("pictures seen", "images"))
    keys = ["data", "settings", "training_seed", "images"]
    wanted = {
        "training": ("Networks", "t_frac", {"effective_dimension": "effective dimension", "best_match": "best match"}),
        "training_truth": ("Share of the true tangent space", "t_frac", {"share": "share", "chance": "chance"}),
        "training_paths": ("Path lengths", "path", {"length": "length / rad", "length_soft": "length, soft cut / rad"}),
    }
    found = []
    for name, (title, last, values) in wanted.items():
        table = run.table(name)
        if table is not None:
            columns = [
                Column(heading, column)
                if column == "chance"
                else mean_column(heading, column)  # the same of all values
                for column, heading in values.items()
            ]
            by = T_COLUMN if last == "t_frac" else Column(last, last)
            found.append(means_table(f"table-{name}", title, table, [*keys, last], [*network, by, *columns]))
    return found
