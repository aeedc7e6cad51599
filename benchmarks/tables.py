"""Tables of what was measured: a row per case, as files, as Markdown, and against the bars."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pandas as pd
from cases import EXACT, TOL, Settings

from diffgeo.results import atomic


def summarise(rows: list[Settings], where: Settings) -> pd.DataFrame:
    """One row a case: the median of its seconds, and how many repeats there were."""
    table = pd.DataFrame(rows)
    for column in ("solver", "settings", "seconds", "passes", "ms_per_pass", "angle", "error_s", "residual", "gap"):
        if column not in table:
            table[column] = None
    keys = ["kind", "architecture", "resolution", "rank", "chunk_size", "solver", "settings"]
    table[keys] = table[keys].where(table[keys].notna(), "")
    parts = []
    for _, group in table.groupby(keys, sort=False):
        finished = group[group["status"] == "ok"]
        row = (finished if len(finished) else group).iloc[0].copy()
        if len(finished):
            seconds = finished["seconds"].astype(float)
            row["seconds"], row["seconds_min"], row["seconds_max"] = seconds.median(), seconds.min(), seconds.max()
        row["repeats"] = len(finished)
        parts.append(row.drop("repeat"))
    result = pd.DataFrame(parts).reset_index(drop=True)
    with_passes = result["ms_per_pass"].isna() & result["seconds"].notna()
    result["ms_per_pass"] = result["ms_per_pass"].astype(float)
    result.loc[with_passes, "ms_per_pass"] = (
        1000 * result["seconds"].astype(float) / result["passes"].astype(float).clip(lower=1)
    )[with_passes]
    for column in ("rank", "chunk_size", "resolution", "m", "d", "parameters"):
        result[column] = result[column].astype(int)
    for column in ("seconds", "passes", "angle", "error_s", "residual", "gap"):
        result[column] = result[column].astype(float)
    return result.assign(**where)


MARKDOWN = {
    "check": ["solver", "settings", "rank", "error_h", "error_jvp", "error_vjp", "error_adjoint", "error_s", "angle"],
    "solver": [
        *("solver", "settings", "passes", "seconds", "ms_per_pass"),
        *("angle", "angle_median", "within_0.1", "error_s", "residual", "peak_mib"),
    ],
    "start": ["settings", "angle", "within_0.1"],
    "chunk": ["solver", "chunk_size", "ms_per_pass", "peak_mib"],
    "resolution": ["resolution", "settings", "passes", "seconds", "ms_per_pass", "residual", "peak_mib"],
    "points": ["settings", "passes", "seconds", "ms_per_pass", "residual", "peak_mib"],
    "rank": ["rank", "settings", "passes", "seconds", "ms_per_pass", "residual", "peak_mib"],
}
"""Columns of the printed tables; status is added where something is not ok."""


def markdown(table: pd.DataFrame) -> str:
    """The tables of each architecture."""
    first = table.iloc[0]
    lines = [f"{first['device_name']}, torch {first['torch']}, {first['threads']} threads; {first['machine']}"]
    for name, rows in table.groupby("architecture", sort=False):
        top = rows.iloc[0]
        lines += ["", f"## {name}", "", f"{top['parameters'] / 1e6:.2f} M parameters, J is {top['m']} x {top['d']}"]
        for kind, columns in MARKDOWN.items():
            part = rows[rows["kind"] == kind]
            if not len(part):
                continue
            shown = [*columns, *(["status"] if (part["status"] != "ok").any() else [])]
            shown = [column for column in shown if column in part]
            fits = sorted(set(part["chunk_size"])) if kind != "chunk" else []
            lines += ["", f"### {kind}" + (f" (chunk_size {', '.join(map(str, fits))})" if fits else ""), ""]
            lines += ["| " + " | ".join(shown) + " |", "|" + "---|" * len(shown)]
            for _, row in part.iterrows():
                lines.append("| " + " | ".join(cell(row[column]) for column in shown) + " |")
    return "\n".join(lines) + "\n"


FEWEST = {1: 296, 2: 324, 3: 342, 4: 360, 6: 396, 8: 448}
"""By block size: passes that the shipped model's spectrum asks for (rank 50, 1e-3 rad), medians of ``bound.py``."""


def bars(table: pd.DataFrame) -> list[str]:
    """What a basis of 50 on the shipped model is held to, and what was measured; nothing for other runs."""
    rows = table[(table["architecture"] == "embedded") & (table["kind"] == "solver") & (table["status"] == "ok")]
    if rows.empty or set(rows["rank"]) != {50}:
        return []
    ours, svds = rows[rows["solver"] == "golub_kahan"], rows[rows["solver"] == "scipy svds"]
    exact = ours[(ours["residual"] <= TOL) & (ours["angle"] <= 1e-3)]
    quickest = exact.sort_values("seconds").head(1)
    width = exact["settings"].str.extract(r"block_size (\d+)", expand=False).astype(float)
    bounded = exact.assign(bound=width.map(FEWEST)).dropna(subset="bound")
    lines = []

    def say_bar(what: str, value: float, limit: float, unit: str, *, least: bool = False) -> None:
        met = value >= limit if least else value <= limit
        sign = "at least" if least else "at most"
        lines.append(f"{'met    ' if met else 'NOT MET'} {what}: {value:.3g} {unit} ({sign} {limit:g})")

    def say_ratio(what: str, theirs: pd.DataFrame, mine: pd.DataFrame, limit: float) -> None:
        if len(theirs) and len(mine):
            say_bar(what, theirs["seconds"].min() / mine["seconds"].min(), limit, "times", least=True)

    for what, column in (("fewest passes", "passes"), ("quickest", "seconds")):
        best = bounded.sort_values(column).head(1)
        over = (best["passes"] / best["bound"]).max() if len(best) else float("inf")
        say_bar(f"cold, to 1e-3 rad, {what}, over the fewest that its block size allows", over, 1.1, "times")
    for products, least in (("released", 25), ("ours", 12)):
        iterated = rows[(rows["solver"] == "papers") & (rows["settings"] == f"products {products}, iterations 50")]
        say_ratio(f"quicker than the released 50 iterations, products {products}", iterated, quickest, least)
    arpack = svds[svds["settings"].str.contains("arpack")]
    equal = ours[ours["residual"] <= max(arpack["residual"].min(), EXACT)] if len(arpack) else ours.head(0)
    say_ratio("quicker than scipy svds, equally exact", arpack, equal, 1)
    say_ratio("quicker than scipy svds told the same tolerance", svds[svds["residual"] <= TOL], quickest, 1)
    return lines


def cell(value: Any) -> str:
    """A number with what digits it deserves."""
    if isinstance(value, float):
        if value != value:
            return ""
        if value.is_integer() and abs(value) < 1e6:
            return str(int(value))
        return f"{value:.2f}" if 0.1 <= abs(value) < 1e3 else f"{value:.0f}" if abs(value) >= 1e3 else f"{value:.1e}"
    return str(value)


def write(rows: list[Settings], out: Path, where: Settings) -> pd.DataFrame:
    """All rows so far as CSV, Parquet and Markdown."""
    table = summarise(rows, where)
    for suffix in (".csv", ".parquet", ".md"):
        with atomic(out / f"solvers{suffix}") as temporary:
            if suffix == ".csv":
                table.to_csv(temporary, index=False)
            elif suffix == ".parquet":
                table.to_parquet(temporary, index=False)
            else:
                temporary.write_text(markdown(table))
    return table
