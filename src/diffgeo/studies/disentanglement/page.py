"""What a run's page shows of the study ``disentanglement``, beside its charts."""

from __future__ import annotations

from diffgeo.metrics.statistics import INTERVAL_FROM
from diffgeo.report.formatting import name, timestep
from diffgeo.report.pictures import Pictures, picture_grid
from diffgeo.report.reading import Run
from diffgeo.report.summaries import T_COLUMN, p_column
from diffgeo.report.tables import Column, Table, as_table

__all__ = ["METRICS", "pictures", "tables"]

METRICS = {
    "precision": "change of the target over the mean change of the other attributes, |Δa_t| / mean |Δa_j|; an edit's "
    "target is the attribute that its direction moves most on all other samples",
    "precision_own": "the same with the attribute that this edit itself moves most as its target, which flatters",
    "precision_gain": "precision less that of random directions on the same samples; above 0 is better than random",
    "precision_gain_matched": "the same over the edits that were brought to the common change alone",
    "dependency_mean": "mean change of the attributes that are not the target, in standard deviations; low is good",
    "dependency_max": "largest change of an attribute that is not the target, in standard deviations; low is good",
    "local_success": "share of edits that move exactly one attribute by a standard deviation or more and every other "
    "one by less than half of that (study.disentanglement.moved and .still)",
    "transfer_success": "share of edits that move, on a sample left out, the attribute that they move on the others, "
    "the same way",
    "effect_disentanglement": "whether each direction moves one attribute (D of DCI on the mean effects); 0 to 1",
    "effect_completeness": "whether each attribute is moved by one direction (C of DCI on the mean effects); 0 to 1",
    "effect_gap": "how far the direction that moves an attribute most is ahead of the second, as a share; 0 to 1",
    "effect_vote": "share of samples in which a direction moves most what it moves most in the others; 0 to 1",
    "matched": "share of edits that could be brought to the common perceptual change",
    "gamma": "length of the step along the direction, γ",
    "x_change": "how far the latent moved, ‖Δx‖",
    "change": "perceptual change of the picture, which is made equal for all methods",
    "ssim": "structural similarity of the edited to the unedited picture; 1 is equal",
    "psnr": "peak signal-to-noise ratio of the edited to the unedited picture, in dB; higher is closer",
    "clipped_change": "change of the share of values at black or white; above 0 is damage",
    "chroma_change": "change of the mean chroma; far from 0 is damage",
    "identity": "cosine of the two pictures' embeddings in a face network (metric.identity); 1 is the same person",
    "s_dir": "cosine of the change of the picture and of the words for the target, both in CLIP",
    "dci_d": "disentanglement: whether each direction's code predicts one attribute; 0 to 1 (Eastwood & Williams 2018)",
    "dci_c": "completeness: whether each attribute is predicted by one code; 0 to 1 (Eastwood & Williams 2018)",
    "dci_i": "informativeness: how well the codes predict the attributes of pictures left out; 1 is exactly",
    "mig": "mutual information gap: lead of an attribute's most informative code over the second; 0 to 1",
    "sap": "separated attribute predictability: lead of an attribute's most predictive code over the second",
    "factor_vae": "share of groups with one attribute held fixed that are told by the code that varies least",
}
"""What each metric of the scorecard is, in a few words."""
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
            Column("metric", "metric", name, explain=lambda metric: METRICS.get(metric, _OWN)),
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
        glossary = {name(metric): METRICS.get(metric, _OWN) for metric in dict.fromkeys(known["metric"])}
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
