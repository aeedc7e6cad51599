"""What the study ``disentanglement`` found, in sentences."""

from __future__ import annotations

from collections.abc import Iterator

from diffgeo.report.findings import FEWEST, Finding, joined, lean
from diffgeo.report.formatting import intervals, name, p_value, timestep
from diffgeo.report.reading import Run


def findings(run: Run) -> Iterator[Finding]:
    """The main findings of a run; none if this study left no rows."""
    card = run.table("disentanglement_scorecard")
    if card is None:
        return
    gains = card[(card["metric"] == "precision_gain") & card["value"].notna()]
    if gains.empty:
        return
    top = gains[gains["t_frac"] == gains["t_frac"].max()]
    beyond = [r for r in top.to_dict("records") if lean(r["low"], r["high"], r["n"], r["p"]) == "yes"]
    when = timestep(float(top["t_frac"].iloc[0]))
    if beyond:
        headline = (
            f"At {when}, {joined([r['method'] for r in beyond])} directions edit more precisely than random ones."
        )
    elif int(top["n"].max()) < FEWEST:
        headline = f"Too few samples to tell whether edits at {when} are more precise than random ones."
    else:
        headline = f"At {when}, no method edits more precisely than random directions do."
    rows = top.to_dict("records")
    shown = intervals([(r["value"], r["low"], r["high"]) for r in rows])
    parts = [
        f"{name(r['method'])} {estimate} (n = {r['n']}, {p_value(r['p'])})"
        for r, estimate in zip(rows, shown, strict=True)
    ]
    yield Finding(
        "disentanglement", headline, f"Edit precision above random directions at equal change: {'; '.join(parts)}."
    )
