"""What a run's page shows of the study ``disentanglement``, beside its charts."""

from __future__ import annotations

from diffgeo.metrics.statistics import INTERVAL_FROM
from diffgeo.report.formatting import name, timestep
from diffgeo.report.metric_names import MEANINGS
from diffgeo.report.pictures import Pictures, picture_grid
from diffgeo.report.reading import Run
from diffgeo.report.summaries import T_COLUMN, p_column
from diffgeo.report.tables import Column, Table, as_table

_MEANINGS = MEANINGS | {
    "precision": f"{MEANINGS['precision']}; an edit's target is the attribute that its direction moves most on all "
    "other samples",
    "change": f"{MEANINGS['change']}, which is made equal for all methods",
}
_OWN = "a metric of your own (metric.extra), averaged over edits"


def tables(run: Run) -> list[Table]:
    """Tables for a paper."""
    card, rescoring = run.table("disentanglement_scorecard"), run.table("disentanglement_rescoring")
    tables = []
    if rescoring is not None:
        keys = ["t_frac", "method", "direction", "label", "confidence", "samples"]
        labels = rescoring[keys].drop_duplicates()
        columns = [
            T_COLUMN,
            Column("method", "method", name),
            Column("direction", "number"),
            Column("automatic label (share of samples)", "label", name),
            Column("confidence", "confidence"),
            Column("n", "samples"),
        ]
        labels = labels.assign(number=labels["direction"] + 1)
        note = "The share says on how many samples the label that the others give comes true."
        tables.append(as_table("table-rescoring-labels", "Automatic labels of directions", labels, columns, note=note))
    if card is not None:
        columns = [
            T_COLUMN,
            Column("method", "method", name),
            Column("metric", "metric", name, explain=lambda metric: _MEANINGS.get(metric, _OWN)),
            Column("value", ("value", "low", "high")),
            Column("null", "null"),
            p_column("p", "p"),
            Column("n", "n"),
        ]
        note = (
            f"Brackets hold 95 % intervals over samples (Student's of means, else by resampling); fewer than "
            f"{INTERVAL_FROM} are too few for one. The null is what shuffled factors give (codes), or the precision "
            "of random directions (beside a gain over them)."
        )
        known = card[card["value"].notna()]
        glossary = {name(metric): _MEANINGS.get(metric, _OWN) for metric in dict.fromkeys(known["metric"])}
        scorecard = as_table(
            "table-scorecard", "Scorecard", known, columns, note=note, total=len(card), glossary=glossary
        )
        tables.insert(0, scorecard)
    return tables


def pictures(run: Run) -> list[Pictures]:
    """The first scored sample at the first timestep, edited by every method."""
    table, frames = run.table("disentanglement"), run.pictures("disentanglement")
    if table is None or frames is None:
        return []
    mine = table[(table["t"] == table["t"].iloc[0]) & (table["sample"] == table["sample"].iloc[0])]
    mine = mine[mine["direction"] < 6]
    when = timestep(float(mine["t_frac"].iloc[0]))
    caption = f"{mine['name'].iloc[0]}: edits of equal change at {when}, each with its target"
    edits = mine.assign(moves=mine["target"])
    return [picture_grid("pictures-scorecard", caption, edits, frames, original=int(mine["frame"].min()) - 1)]
