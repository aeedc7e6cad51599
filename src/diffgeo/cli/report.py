"""The command ``diffgeo-report``: any number of runs in one table, grouped, compared and drawn; pages made anew."""

from __future__ import annotations

import sys
from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING

from diffgeo.cli.words import Command, Words, listed
from diffgeo.errors import ConfigError, DataError

if TYPE_CHECKING:
    import pandas as pd

__all__ = ["COMMAND", "main"]

COMMAND = Command(
    "diffgeo-report",
    "any number of runs in one table.",
    (
        "FOLDER [FOLDER ...] [by=[KEY,...]] [where=[KEY=VALUE,...]] [show=[SCALAR,...]] [table=NAME]",
        "FOLDER sql=QUERY",
        "page FOLDER [FOLDER ...]",
    ),
    {
        "FOLDER": "a run folder, or one that holds some: outputs, a sweep",
        "page": "write report.html of every run there again, without computing anything",
        "by=[KEY,...]": "settings to group by; the fewest that tell the runs apart if left out. Means are over seeds "
        "alone: other settings in which the runs differ are added",
        "where=[KEY=VALUE,...]": "only runs with these settings: where=[svd.rank=50,feature.pool=sum]",
        "show=[SCALAR,...]": "scalars as in run.json: show=[discovery/residual_max]; all that differ, if left out",
        "table=NAME": "also gather the rows of this table of every run, with the settings in which they differ",
        "sql=QUERY": "instead, answer a question over the table runs and the studies' tables (diffgeo[report])",
        "out=FOLDER": "where to write; outputs/report if left out",
    },
    about=(
        "Writes runs.csv (a row per run), groups.csv (mean and 95 % interval over the runs of a group), TABLE.csv, "
        "each as Parquet too, and a figure per scalar, and prints the groups. Runs that did not complete, and those "
        "that repeat another one's settings and seed, are in runs.csv, with the reason in left_out, and in no mean.",
    ),
    examples={
        "diffgeo-report outputs by=[svd.rank,feature.pool]": "a grid of runs, averaged over seeds",
        "diffgeo-report outputs table=spectrum": "all spectra in one table",
        "diffgeo-report outputs sql='select run, count(*) from discovery group by run'": "any question",
    },
    codes=(0, 1, 2, 4, 6, 130),
)


def main() -> None:
    """Entry point of the console command."""
    COMMAND.main(_execute)


def _write_pages(folders: list[Path]) -> None:
    """Write the page of every run under the given folders, and print the paths."""
    if not folders:
        raise ConfigError("no folder is given to diffgeo-report page", "see diffgeo-report --help")

    from diffgeo.report.page import write_page
    from diffgeo.report.runs import find_runs

    for folder in find_runs(folders):
        print(write_page(folder), flush=True)


def _execute(words: Words) -> None:
    folders, given = [Path(word) for word in words.plain], words.given
    if words.plain[:1] == ["page"]:
        _write_pages(folders[1:])
        return
    if not folders:
        raise ConfigError("no folder is given to diffgeo-report", "see diffgeo-report --help")
    lists = {key: listed(given.get(key, "")) for key in ("by", "where", "show")}

    from diffgeo.report.comparison import comparison
    from diffgeo.report.runs import (
        compared,
        deciding,
        find_runs,
        grouped,
        matching,
        pivot,
        query,
        read_runs,
        study_rows,
    )
    from diffgeo.results import atomic, write_csv

    runs = matching(read_runs(find_runs(folders)), lists["where"])
    if runs.empty:
        raise ConfigError(f"where={given['where']} fits no run", "leave out a condition")
    if "sql" in given:
        print(query(runs, given["sql"]).to_string(index=False))
        return
    out = words.path("out", Path("outputs/report"))
    counted = runs[runs["left_out"] == ""]
    if counted.empty:
        raise DataError(f"none of these runs completed ({_why(runs)})", "give others, or ask by sql=")
    by = deciding(counted, lists["by"])
    scalars = compared(counted, lists["show"])
    groups = grouped(counted, by, scalars)
    tables: dict[str, pd.DataFrame] = {"runs": runs, "groups": groups}
    if "table" in given:
        tables[given["table"]] = study_rows(counted, given["table"])
    for name, table in tables.items():
        with atomic(out / f"{name}.csv") as path:
            write_csv(table, path)
        with atomic(out / f"{name}.parquet") as path:
            table.to_parquet(path, index=False)
    for path in comparison(groups, by, out / "figures"):
        print(path)
    print(f"{len(counted)} runs, {len(groups.drop_duplicates(by)) if by else 1} groups: {out}")
    if lists["by"] and (more := by[len(lists["by"]) :]):
        print(f"The runs differ in {', '.join(more)} as well, and are told apart by that; where= chooses some.")
    if len(counted) < len(runs):
        print(f"{len(runs) - len(counted)} more runs are in no mean: {_why(runs)}; see left_out in runs.csv.")
    print(pivot(groups, by).to_string())
    for run, missed in zip(counted["run"], counted["not_converged"], strict=True):
        if missed:
            print(f"Warning: {run}: {missed}.", file=sys.stderr)


def _why(runs: pd.DataFrame) -> str:
    """How many runs are left out, by reason."""
    reasons = Counter(reason.partition(" ")[0] for reason in runs["left_out"] if reason)
    words = {"repeats": "repeat others"}
    return ", ".join(f"{count} {words.get(reason, reason)}" for reason, count in reasons.items())


if __name__ == "__main__":
    main()
