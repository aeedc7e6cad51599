"""The results that the documentation states, all from the tables in ``docs/results``, most from ``atlas.csv``.

    diffgeo-paper models=[factor_faces] out=OUT …
    python tools/results.py OUT          # the atlas of OUT becomes the documentation's, and all pages follow
    python tools/results.py OUT --join   # its claims join those that are there, and replace the same ones
    python tools/results.py              # the pages alone

A page says where a number comes from in a comment behind it, which no reader sees, with what its sentence was written
for: a verdict, or of a second measure or control whether its interval lies ``above 0``, ``below 0`` or ``around 0``.
The number is written by this tool; a finding that is no longer the table's is an error, since then the sentence has to
be written anew:

    directions of h reach further: 0.42 [0.28, 0.56] <!-- factor_faces: P23a Fig. 9 a, holds -->.

A result that is written by hand is an error, too (``by_hand``): an interval or a p-value outside of what this tool
writes, or a verdict in a paragraph without a number of its own.

All claims of a network stand between ``<!-- results: factor_faces -->`` and ``<!-- end -->``; those of all networks,
side by side with verdict, mean and interval, between ``<!-- results: all -->`` and ``<!-- end -->``; their verdicts
alone, figure by figure, between ``<!-- results: overview -->`` and ``<!-- end -->``.

What no claim asks has a table of its own, ``blocks.csv`` and others (``docs/results/README.md``). A comment names the
file and the row, network first; rows that are no sentence's are a table of the page, between
``<!-- table: blocks, factor_faces -->`` and ``<!-- end -->``:

    it holds 0.31 [0.28, 0.33], p = 0.008 <!-- blocks: factor_faces, share, up.1 less mid, 0.25 T --> more

Such a number lies above 0 unless its comment ends in ``, below 0`` or ``, around 0``.
"""

from __future__ import annotations

import argparse
import json
import math
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pandas as pd

from diffgeo.claims import decide, reading_of
from diffgeo.report.formatting import interval, p_value
from diffgeo.report.page.atlas import latex, page
from diffgeo.report.verdicts import labels
from diffgeo.results import write_csv
from diffgeo.studies import all_claims

__all__ = ["RESULTS", "by_hand", "copy", "joined", "pages", "read", "written"]

ROOT = Path(__file__).resolve().parent.parent
RESULTS = ROOT / "docs" / "results"

Row = dict[str, Any]
_SIDES = ("above 0", "below 0", "around 0")
_RATES = ("p", "q", "holm")
_P = r"p [=<] \d[\d.]*\d"
_NUMBER = rf"(?:[-−]?\d[\d.]*(?: \[[^\]]*\]| ± \d[\d.]*| to [-−]?\d[\d.]*)?(?:, {_P})?|\b{_P})"
_STATED = re.compile(
    rf"{_NUMBER}(?P<gap> ?)(?P<comment><!-- (?P<network>\w+): (?P<label>[^,>]+), (?P<verdict>[^>]+) -->)"
)
_CODE = re.compile(r"^```.*?^```|`[^`\n]*`", re.DOTALL | re.MULTILINE)
_INTERVAL_OR_P = re.compile(r"\d \[[-−]?\d[\d.]*, [-−]?\d[\d.]*\]|\bp = ?0?\.\d+")
_VERDICT = re.compile(r"(?<!\*)\b(?:not found|contradicted)\b(?!\*)")
_TABLE = re.compile(
    r"(?P<start><!-- (?:results:|table: (?P<file>\w+),) (?P<network>\w+) -->\n).*?(?P<end><!-- end -->)", re.DOTALL
)


def read(folder: Path = RESULTS) -> dict[tuple[str, str], Row]:
    """Rows of the atlas that were asked, by network and label, and of the other tables, by file and what they are."""
    rows = {(row["network"], row["label"]): row for row in _table_of(folder).to_dict("records") if row["n"]}
    for path in sorted(set(folder.glob("*.csv")) - {folder / "atlas.csv"}):
        for row in pd.read_csv(path, dtype=str, keep_default_na=False).to_dict("records"):
            what = (row["network"], row["what"], row["of"], row["t"] and f"{row['t']} T")
            rows[path.stem, ", ".join(filter(None, what))] = row
    return rows


def _table_of(folder: Path) -> pd.DataFrame:
    table = pd.read_csv(folder / "atlas.csv", keep_default_na=False, na_values=[""])
    text = table.columns.difference(["ours", "low", "high", "n", "p", "q", "holm"])
    table[text] = table[text].astype(object).fillna("")
    return table


def written(text: str, rows: Mapping[tuple[str, str], Row]) -> str:
    """The text of a page with its numbers and tables as they are in the rows.

    Raises:
        ValueError: a comment names no row or table, or a verdict that is not the row's.
    """

    def number(match: re.Match[str]) -> str:
        what, _, side = f"{match['label']}, {match['verdict']}".rpartition(", ")
        if side not in _SIDES:
            what, side = f"{what}, {side}", _SIDES[0]
        measured = rows.get((match["network"], what))
        if measured and "mean" in measured:  # not the atlas's
            if (now := _side(measured)) != side:
                raise ValueError(f"{match['comment']} is now {now}: write its sentence anew")
            return _measured(measured) + match["gap"] + match["comment"]
        row = rows.get((match["network"], match["label"]))
        if row is None:
            raise ValueError(f"{match['comment']} names no row of docs/results")
        if (now := _standing(row)) != match["verdict"]:
            raise ValueError(f"{match['comment']} is now {now}: write its sentence anew")
        return interval(row["ours"], row["low"], row["high"]) + match["gap"] + match["comment"]

    def table(match: re.Match[str]) -> str:
        of = match["network"]
        if file := match["file"]:
            measured = (row for (name, _), row in rows.items() if name == file)
            found = [row for row in measured if row["network"] == of and row["role"] == "table"]
            if not found:
                raise ValueError(f"{match['start'].strip()} names no table of docs/results")
            return match["start"] + _table_of_measured(found) + match["end"]
        wide = {"all": _across, "overview": _overview}.get(of)
        body = wide(rows) if wide else _table([row for (name, _), row in rows.items() if name == of])
        return match["start"] + body + match["end"]

    return _TABLE.sub(table, _STATED.sub(number, text))


def by_hand(text: str) -> list[str]:
    """Results that nothing here writes: intervals, p-values, and verdicts whose paragraph has no number of the atlas.

    Code is left out, and so are verdicts in bold, as their definitions are.
    """
    text = _CODE.sub("", _TABLE.sub("", text))
    found = _INTERVAL_OR_P.findall(_STATED.sub("", text))
    paragraphs = re.split(r"\n\s*\n|\n(?=- |\|)", text)
    return found + [one.strip() for one in paragraphs if _VERDICT.search(one) and not _STATED.search(one)]


def _standing(row: Row) -> str:
    """What a row says: its verdict, or on which side of 0 the interval of a row without one lies."""
    return str(row["reading"]) if row["verdict"] else _side(row)


def _side(row: Row) -> str:
    """On which side of 0 a row's interval lies, or its mean if it has none."""
    if "mean" in row and not (row["mean"] or row["low"]):
        return _SIDES[0]  # p alone
    low, high = (float(row["mean"] if row[end] == "" else row[end]) for end in ("low", "high"))
    return _SIDES[0] if low > 0 else _SIDES[1] if high < 0 else _SIDES[2]


def _measured(row: Row) -> str:
    """The number of a row that is not the atlas's, with the digits that it has there."""
    number, low, high, deviation = (row[column].replace("-", "−") for column in ("mean", "low", "high", "sd"))
    number += f" ± {deviation}" if deviation else f" [{low}, {high}]" if number and low else ""
    p = row["p"] and f"p {row['p'] if row['p'].startswith('<') else '= ' + row['p']}"
    return ", ".join(filter(None, (number or (low and f"{low} to {high}"), p)))


def _table_of_measured(rows: list[Row]) -> str:
    """What was measured of down, what was measured across, with the timestep if there are several."""
    several = len({row["t"] for row in rows}) > 1
    titles = [f"{row['what']} at {row['t']} T" if several else row["what"] for row in rows]
    cells = {(row["of"], title): _measured(row) for row, title in zip(rows, titles, strict=True)}
    titles, down = list(dict.fromkeys(titles)), list(dict.fromkeys(row["of"] for row in rows))
    lines = [f"| | {' | '.join(titles)} |", "|---" * (1 + len(titles)) + "|"]
    lines += [f"| {of} | {' | '.join(cells[of, title] for title in titles)} |" for of in down]
    return "\n".join(lines) + "\n"


def _table(rows: list[Row]) -> str:
    lines = ["| claim | measure | mean, 95 % interval | n | p | q | Holm | verdict |", "|---" * 8 + "|"]
    for row in rows:
        mean = interval(row["ours"], row["low"], row["high"])
        rates = [
            p_value(row[one]).removeprefix("p ").removeprefix("= ") if row[one] == row[one] else "–" for one in _RATES
        ]
        measure = f"{row['quantity']} ({row['remark']})" if row["remark"] else row["quantity"]
        verdict = f"{row['reading']}{' (not converged)' if row['not_converged'] else ''}"
        cells = (row["label"], str(measure).replace("|", "\\|"), mean, row["n"], *rates, verdict)
        lines.append(f"| {' | '.join(map(str, cells))} |")
    return "\n".join(lines) + "\n"


def _across(rows: Mapping[tuple[str, str], Row]) -> str:
    """Claims down, networks across: verdict, mean and interval; without those that none of the networks can answer."""
    rows = {key: row for key, row in rows.items() if "verdict" in row}
    networks = list(dict.fromkeys(network for network, _ in rows))
    told = {key: row for key, row in rows.items() if row["verdict"] not in ("", "not comparable")}
    claims = {label: row["quantity"] for (_, label), row in told.items()}
    lines = [f"| claim | measure | {' | '.join(map('`{}`'.format, networks))} |", "|---" * (2 + len(networks)) + "|"]
    for label, quantity in claims.items():
        cells = [_cell(rows.get((network, label))) for network in networks]
        measure = str(quantity).replace("|", "\\|")
        lines.append(f"| {label} | {measure} | {' | '.join(cells)} |")
    return "\n".join(lines) + "\n"


_SIGNS = {"holds": "✓", "contradicted": "✗", "not found": "○", "too few to tell": "?"}


def _overview(rows: Mapping[tuple[str, str], Row]) -> str:
    """Figures down with what they claim, networks across: a sign for each claim of a figure."""
    networks = list(dict.fromkeys(network for (network, _), row in rows.items() if "verdict" in row))
    lines = [f"| claims of | | {' | '.join(map('`{}`'.format, networks))} |", "|---" * (2 + len(networks)) + "|"]
    claims = [claim for claim in all_claims() if claim.role == "claim"]
    for source in dict.fromkeys(claim.source for claim in claims):
        own = {one: [rows[one, label] for label in _labels_of(source) if (one, label) in rows] for one in networks}
        signs = {one: "".join(_SIGNS.get(row["verdict"], "") for row in found) for one, found in own.items()}
        asserted, *others = [claim.asserts.rstrip(" .…") for claim in claims if claim.source == source]
        asserted += f", and {len(others)} more" if others else ""
        if any(signs.values()):
            lines.append(f"| {source} | {asserted} | {' | '.join(signs[one] or '–' for one in networks)} |")
    return "\n".join(lines) + "\n"


def _labels_of(source: str) -> list[str]:
    """Labels of a source's claims, in order."""
    named = labels([{"source": claim.source} for claim in all_claims()])
    return [
        label
        for label, claim in zip(named, all_claims(), strict=True)
        if claim.source == source and claim.role == "claim"
    ]


def _cell(row: Row | None) -> str:
    if row is None:
        return "–"
    reading = f"{row['reading']} (not converged)" if row["not_converged"] else row["reading"]
    return f"{reading}, {interval(row['ours'], row['low'], row['high'])}"


def pages() -> list[Path]:
    """The pages that may state results."""
    return [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]


def copy(out: Path, into: Path = RESULTS, *, join: bool = False) -> None:
    """Take over an atlas without the runs that it was made from: tables, how it was made, and a page without links.

    Args:
        out: where ``diffgeo-paper models=[…]`` wrote it.
        into: where to.
        join: keep what is there of claims and networks that the new one did not ask; once for each atlas, since the
            time that runs took is added up.
    """
    found, facts = pd.read_parquet(out / "atlas.parquet"), json.loads((out / "atlas.json").read_text(encoding="utf-8"))
    found = found.drop(columns=["values", "run"])
    if join:
        earlier = json.loads((into / "atlas.json").read_text(encoding="utf-8"))
        found, facts = joined(_table_of(into), found), _both(earlier, facts)
    into.mkdir(exist_ok=True)
    write_csv(found, into / "atlas.csv")
    shown = found.assign(run="")
    texts = {"json": json.dumps(facts, indent=2) + "\n", "tex": latex(shown), "html": page(shown, facts, links=False)}
    for suffix, text in texts.items():
        (into / f"atlas.{suffix}").write_text(text, encoding="utf-8")


def joined(earlier: pd.DataFrame, new: pd.DataFrame) -> pd.DataFrame:
    """Rows of two atlases; of an experiment that both asked, the new ones.

    A label counts the claims of a figure, so that those of earlier rows are given anew, as are roles; a claim that is
    gone goes. The
    false discovery rate is that of all claims of a network, so that a verdict may change as others join.
    """
    what = ["source", "experiment", "quantity"]
    known_now = new[[*what, "label", "role"]].drop_duplicates()
    earlier = earlier.drop(columns=["label", "role"]).merge(known_now, on=what)[earlier.columns]
    order = {label: i for i, label in enumerate(new["label"].unique())}
    asked = set(zip(new["network"][new["n"] > 0], new["experiment"][new["n"] > 0], strict=True))
    kept = [key not in asked for key in zip(earlier["network"], earlier["experiment"], strict=True)]
    known = pd.concat([new[new["n"] > 0], earlier[kept], new[new["n"] == 0]])
    never = known.drop_duplicates("label").assign(reading="not run", verdict="", remark="", not_converged="", n=0)
    never[["ours", "low", "high", "p", "q", "holm"]] = float("nan")
    both = pd.concat([known, *(never.assign(network=one) for one in known["network"].unique())], ignore_index=True)
    both = both.drop_duplicates(["network", "label"])
    both = both.assign(place=both["label"].map(order)).sort_values(["network", "place"]).drop(columns="place")
    return pd.concat([_decided(part) for _, part in both.groupby("network", sort=False)], ignore_index=True)


def _decided(network: pd.DataFrame) -> pd.DataFrame:
    rows: list[Row] = network.to_dict("records")  # type: ignore[assignment]
    for row in rows:
        if row["role"] == "claim" and row["reading"] in ("second measure", "control"):  # a role that it had earlier
            row |= {"verdict": "not comparable", "reading": "not comparable"}
        if row["role"] in ("second", "control") and row["n"]:
            row |= {"verdict": "", "reading": reading_of(row | {"verdict": ""}), "q": math.nan, "holm": math.nan}
    tested = [row for row in rows if row["role"] == "claim" and row["n"]]
    for row, now in zip(tested, decide([row | {"comparable": True, "expected": None} for row in tested]), strict=True):
        row |= {"q": now["q"], "holm": now["holm"], "verdict": now["verdict"], "reading": reading_of(now)}
    return pd.DataFrame(rows, columns=network.columns)


def _both(earlier: Row, new: Row) -> Row:
    """How two atlases were made: of a network in both, the runs together."""
    networks = dict(earlier["networks"])
    for name, made in new["networks"].items():
        before = networks.get(name)
        if before and made:
            made = made | {key: made[key] + before[key] for key in ("seconds", "runs")}
            made["commits"] = [*before["commits"], *(one for one in made["commits"] if one not in before["commits"])]
            made["started"] = before["started"]
        networks[name] = made or before
    commands = dict.fromkeys([*earlier["command"].split("\n"), new["command"]])
    return {"command": "\n".join(commands), "networks": networks}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("out", type=Path, nargs="?", help="folder that diffgeo-paper models=[…] wrote its atlas to")
    parser.add_argument("--join", action="store_true", help="keep what the documentation has of other experiments")
    args = parser.parse_args()
    if args.out:
        copy(args.out, join=args.join)
    rows = read()
    for path in pages():
        path.write_text(written(path.read_text(encoding="utf-8"), rows), encoding="utf-8")


if __name__ == "__main__":
    main()
