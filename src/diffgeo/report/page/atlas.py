"""The atlas: what of the papers holds, and where. Claims down, networks across, on one page and in one table.

Data flows one way: the networks' rows of :func:`diffgeo.claims.decide` ─▶ one long table (``atlas.parquet``, ``.csv``)
─▶ the page (``atlas.html``) and the LaTeX table (``atlas.tex``). Either can be made again from the table alone.

The false discovery rate is that of each network's own claims, so that a network's verdicts do not depend on which
others stand beside it.
"""

from __future__ import annotations

import json
import math
import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd
from markupsafe import Markup

from diffgeo.claims import Claim, described, reading_of
from diffgeo.config import Plain
from diffgeo.errors import DataError
from diffgeo.metrics.statistics import SIGNIFICANT
from diffgeo.report.formatting import counted, in_words, interval, name
from diffgeo.report.page.templates import asset, environment, installed_version
from diffgeo.report.verdicts import RULE, labels, style_of, words_of
from diffgeo.results import Row, atomic, write_csv
from diffgeo.run_folders import PAGE
from diffgeo.studies import all_claims

_FILE = "atlas"
_SYMBOLS = {"holds": "+", "contradicted": "−", "not found": "0", "too few to tell": "?"}

_VERDICTS = ("holds", "contradicted", "not found", "too few to tell")
_FACTS = ("runs", "samples", "took", "device", "machine", "commit", "begun", "torch")


@dataclass(frozen=True)
class Told:
    """What one network's runs say.

    Attributes:
        network: its name.
        folder: of its runs.
        rows: of :func:`diffgeo.claims.decide`, one per claim that could be judged.
        unsuitable: experiments that cannot be asked of it, with the reason.
    """

    network: str
    folder: Path
    rows: Sequence[Row]
    unsuitable: dict[str, str]


def write_atlas(told: Sequence[Told], folder: Path, command: str) -> Path:
    """Write ``atlas.parquet``, ``.csv``, ``.tex``, ``.json`` (how it was made) and ``.html``.

    Args:
        told: of every network, left to right.
        folder: where to.
        command: that gives these numbers.

    Returns:
        The page.
    """
    found = table(told, folder)
    facts: Plain = {"command": command, "networks": {one.network: _made(one) for one in told}}
    with atomic(folder / f"{_FILE}.parquet") as path:
        found.to_parquet(path, index=False)
    with atomic(folder / f"{_FILE}.csv") as path:
        write_csv(found.drop(columns="values"), path)
    texts = {"json": json.dumps(facts, indent=2), "tex": latex(found), "html": page(found, facts)}
    for suffix, text in texts.items():
        with atomic(folder / f"{_FILE}.{suffix}") as path:
            path.write_text(text, encoding="utf-8")
    return folder / f"{_FILE}.html"


def table(told: Sequence[Told], folder: Path) -> pd.DataFrame:
    """A row per claim and network, in the order of the papers.

    Args:
        told: of every network.
        folder: of the atlas; runs are named from there.

    Returns:
        network, label, source, experiment, quantity, role, unit, published, ours, low, high, n, p, q, holm, values,
        verdict, reading, remark, not_converged, commit (of the run) and run. A claim that was not judged has NaN and
        n = 0, and its reading says why: ``cannot be asked``, with the reason in ``remark``, or ``not run``.
    """
    claims = all_claims()
    named = labels([{"source": claim.source} for claim in claims])
    rows = []
    for one in told:
        judged = {(row["source"], row["experiment"], row["quantity"]): row for row in one.rows}
        for label, claim in zip(named, claims, strict=True):
            key = claim.source, claim.experiment, claim.quantity
            row = judged.get(key)
            rows.append(
                {"network": one.network, "label": label}
                | (_unjudged(claim, one) if row is None else _judged(row, folder))
            )
    return pd.DataFrame(rows)


def _judged(row: Row, folder: Path) -> Row:
    run = Path(os.path.relpath(row["run"], folder)).as_posix()
    kept = {key: value for key, value in row.items() if key not in ("comparable", "expected")}
    facts = json.loads((Path(row["run"]) / "run.json").read_text(encoding="utf-8"))
    return kept | {"reading": reading_of(row), "commit": str(facts["commit"] or "")[:10], "run": run}


def _unjudged(claim: Claim, one: Told) -> Row:
    reason = one.unsuitable.get(claim.experiment, "")
    missing = dict.fromkeys(("ours", "low", "high", "p", "q", "holm"), math.nan)
    return described(claim) | {
        **missing,
        "n": 0,
        "values": [],
        "remark": reason,
        "not_converged": "",
        "run": "",
        "commit": "",
        "verdict": "",
        "reading": "cannot be asked" if reason else "not run",
    }


def _made(one: Told) -> Plain:
    """How a network's runs were made: its weights, versions, commits, and how long all took."""
    folders = dict.fromkeys(row["run"] for row in one.rows)
    runs = [json.loads((Path(folder) / "run.json").read_text(encoding="utf-8")) for folder in folders]
    if not runs:
        return {}
    return {
        "digest": runs[0]["model"].get("digest"),
        "samples": max(len(facts["samples"]) for facts in runs),
        "commits": sorted({str(facts["commit"]) for facts in runs}),
        "versions": runs[0]["versions"],
        "device": sorted({facts["device"] for facts in runs}),
        "machine": sorted({facts["machine"] for facts in runs if "machine" in facts}),
        "started": min(facts["started"] for facts in runs),
        "seconds": round(sum(facts["duration"] for facts in runs)),
        "runs": len(runs),
    }


def latex(found: pd.DataFrame) -> str:
    """The claims with a verdict as a LaTeX table (booktabs): a column per network, ``+ 0.42 [0.28, 0.56]``."""
    claims = found[found["role"].isin(["claim", "value"])]
    lines = []
    for label, part in claims.groupby("label", sort=False):
        cells = {row["network"]: _latex_cell(row) for row in part.to_dict("records")}
        lines.append({"claim": label, "measured": part["quantity"].iloc[0]} | cells)
    shown = pd.DataFrame(lines)
    text: str = shown.rename(columns=name).to_latex(
        index=False, escape=True, column_format="ll" + "l" * (shown.shape[1] - 2)
    )
    return text.replace("−", "$-$").replace("≥", r"$\geq$").replace("‖", r"$\Vert$")


def _latex_cell(row: dict[Any, Any]) -> str:
    if not row["n"]:
        return "–"
    symbol = _SYMBOLS.get(str(row["verdict"]), "")
    return f"{symbol} {interval(row['ours'], row['low'], row['high'])} (n = {row['n']})".strip()


def page(found: pd.DataFrame, facts: Plain, *, links: bool = True) -> str:
    """The atlas as HTML, one file that needs no network.

    Args:
        found: of :func:`table`.
        facts: ``command`` and ``networks``, as ``atlas.json`` has them.
        links: whether cells lead to the runs' own pages, which must then lie beside it.

    Raises:
        DataError: a table without rows.
    """
    if found.empty:
        raise DataError("the atlas has no rows", "run diffgeo-paper models=[...]")
    networks = list(dict.fromkeys(found["network"]))
    judged = found[found["role"] == "claim"]
    lines = _lines(found, networks, links)
    return (
        environment()
        .get_template("atlas.html.j2")
        .render(
            css=asset("page.css") + asset("atlas.css"),
            networks=[_head(one, facts["networks"].get(one, {}), judged[judged["network"] == one]) for one in networks],
            groups=[line for line in lines if line["role"] == "claim"],
            values=[line for line in lines if line["role"] == "value"],
            more=[line for line in lines if line["role"] in ("second", "control")],
            made_titles=("network", *_VERDICTS, *_FACTS),
            summary=_summary(judged),
            command=facts["command"],
            version=installed_version(),
            rule=RULE,
        )
    )


def _lines(found: pd.DataFrame, networks: Sequence[str], links: bool) -> list[Plain]:
    """What the page prints of every claim that at least one network was asked."""
    claims: dict[Any, Claim] = {(claim.source, claim.experiment, claim.quantity): claim for claim in all_claims()}
    lines: list[Plain] = []
    for key, part in found.groupby(["source", "experiment", "quantity"], sort=False):
        rows = part.set_index("network", drop=False).to_dict("index")
        if not part["n"].any():
            continue
        width = max(map(_reach, rows.values()))
        said = {column: part[column].iloc[0] for column in ("label", "quantity", "published", "role", "unit")}
        cells = [_cell(rows[network], width, links) for network in networks]
        words = words_of(claims.get(key))  # a package that is gone leaves none
        lines.append(said | {"words": words, "cells": cells})
    return lines


def _summary(judged: pd.DataFrame) -> Plain:
    """How many cells say what, in a sentence; the claims that hold everywhere, and those that divide the networks."""
    asked = judged[judged["n"] > 0]
    count = asked["verdict"].value_counts()
    networks = counted(asked["network"].nunique(), "network")
    told = f"{counted(asked['label'].nunique(), 'claim')} on {networks}, {counted(len(asked), 'cell')}: "
    words = {"holds": ("holds", "hold")} | {one: (f"is {one}", f"are {one}") for one in ("contradicted", "not found")}
    told += ", ".join(f"{(k := int(count.get(one, 0)))} {forms[k != 1]}" for one, forms in words.items())
    few, compared = int(count.get("too few to tell", 0)), int(count.drop("not comparable", errors="ignore").sum())
    told += f", and for {few} ({few / max(1, compared):.0%}) there are too few values to tell."
    called = asked[asked["verdict"].isin(["holds", "contradicted"])]
    told += f" By Holm's p, which allows no false call at all, {int((called['holm'] <= SIGNIFICANT).sum())} of these "
    told += f"{len(called)} calls stand."
    verdicts = asked.groupby("label", sort=False)["verdict"].agg(set)
    several = set(asked["label"][asked.duplicated("label")])
    said: dict[Any, Claim] = dict(
        zip(labels([{"source": one.source} for one in all_claims()]), all_claims(), strict=True)
    )
    lists = {
        "Claims that hold on every network that was asked": lambda of: of == {"holds"},
        "Claims that hold on one network and are contradicted on another": {"holds", "contradicted"}.issubset,
    }
    found = {
        title: [(label, said[label].asserts) for label, of in verdicts.items() if label in several and wanted(of)]
        for title, wanted in lists.items()
    }
    return {"told": told, "lists": [(title, claims) for title, claims in found.items() if claims]}


def _head(network: str, made: Plain, judged: pd.DataFrame) -> Plain:
    count = judged["verdict"].value_counts()
    facts = [made.get(key, "–") for key in ("runs", "samples")] + [in_words(made["seconds"]) if made else "–"]
    facts += [", ".join(made.get(key, ())) or "–" for key in ("device", "machine")]
    facts += [" ".join(one[:10] for one in made.get("commits", ())) or "–", made.get("started", "–")[:10]]
    return {
        "name": name(network),
        "counts": [int(count.get(verdict, 0)) for verdict in _VERDICTS],
        "facts": [*facts, made["versions"]["torch"] if made else "–"],
    }


def _reach(row: dict[Any, Any]) -> float:
    """How far from 0 a cell's interval reaches, for the scale that its line of cells shares."""
    return max((abs(row[key]) for key in ("ours", "low", "high") if math.isfinite(row[key])), default=0.0)


def _cell(row: dict[Any, Any], width: float, links: bool) -> Plain:
    limits = [text for text in (row["remark"], row["not_converged"], _rates(row)) if text]
    return {
        "asked": row["n"] > 0,
        "text": interval(row["ours"], row["low"], row["high"]) if row["n"] else "",
        "n": row["n"],
        "reading": f"{row['reading']}{', not converged' if row['not_converged'] else ''}",
        "style": style_of(row["reading"]),
        "network": name(row["network"]),
        "more": "; ".join(limits),
        "glyph": _glyph(row, width) if row["n"] and row["role"] != "value" and width > 0 else "",
        "href": f"{row['run']}/{PAGE}" if links and row["run"] else "",
    }


def _rates(row: dict[Any, Any]) -> str:
    """The false discovery rate and Holm's p of a claim that was tested."""
    return f"q = {row['q']:.2g}, Holm {row['holm']:.2g}" if row["q"] == row["q"] else ""


def _glyph(row: dict[Any, Any], width: float) -> Markup:
    """The interval as a line with a dot, and 0 in the middle; all cells of a claim share the scale."""

    def x(value: float) -> float:
        return round(50 + 46 * value / width, 1)

    parts = ['<line x1="50" x2="50" y1="0" y2="14" class="zero"/>']
    if math.isfinite(row["low"]):
        parts.append(f'<line x1="{x(row["low"])}" x2="{x(row["high"])}" y1="7" y2="7" class="span"/>')
    parts.append(f'<circle cx="{x(row["ours"])}" cy="7" r="3.2"/>')
    return Markup(f'<svg viewBox="0 0 100 14" aria-hidden="true">{"".join(parts)}</svg>')
