"""The command ``diffgeo-report``: any number of runs in one table, grouped, compared and drawn; pages made anew."""

from __future__ import annotations

import sys
from pathlib import Path

from diffgeo.cli import worded_errors
from diffgeo.errors import ConfigError

__all__ = ["main"]

_HELP = """\
diffgeo-report: any number of runs in one table.

Usage: diffgeo-report FOLDER [FOLDER ...] [by=[KEY,...]] [where=[KEY=VALUE,...]] [show=[SCALAR,...]] [table=NAME]
                      [sql="..."] [out=FOLDER]
       diffgeo-report page FOLDER [FOLDER ...]

  FOLDER     a run folder, or one that holds some: outputs, a sweep
  by         settings to group by; those in which the runs differ, if left out (seed is averaged over)
  where      only runs with these settings: where=[svd.rank=50,feature.pool=sum]
  show       scalars as in run.json: show=[discovery/residual_max]; all that differ, if left out
  table      also gather the rows of this table of every run, with the settings in which they differ: table=spectrum
  sql        instead, answer a question over `runs` and the studies' tables:
             sql='select run, count(*) from discovery group by run'
  out        where to write; outputs/report if left out

Writes runs.csv (a row a run), groups.csv (mean and 95 % interval over the runs of a group), TABLE.csv, each as Parquet
too, and a figure per scalar, and prints the groups.
With `page` first, it writes report.html of every run in these folders again, without computing anything.
"""
WORDS = ("by", "where", "show", "table", "sql", "out")


def main() -> None:
    """Entry point of the console command."""
    words = sys.argv[1:]
    if not words or {"--help", "-h"} & set(words):
        print(_HELP, end="")
        return
    with worded_errors():
        if words[0] == "page":
            _write_pages(words[1:])
        else:
            _execute(words)


def _write_pages(words: list[str]) -> None:
    """Write the page of every run under the given folders, and print the paths."""
    if not words:
        raise ConfigError("no folder is given to diffgeo-report page; see diffgeo-report --help")

    from diffgeo import gathering
    from diffgeo.report.page import write_page

    for folder in gathering.find_runs([Path(word) for word in words]):
        print(write_page(folder), flush=True)


def _execute(words: list[str]) -> None:
    folders = [Path(word) for word in words if word.partition("=")[0] not in WORDS]
    given = dict(word.split("=", 1) for word in words if word.partition("=")[0] in WORDS and "=" in word)
    unknown = [str(f) for f in folders if "=" in str(f) and not f.exists()]
    if unknown or not folders:
        raise ConfigError(
            f"{unknown[0] if unknown else 'no folder'} is given to diffgeo-report; see diffgeo-report --help"
        )
    lists = {key: [w.strip() for w in given.get(key, "").strip("[]").split(",") if w.strip()] for key in WORDS[:3]}

    import pandas as pd

    from diffgeo import gathering
    from diffgeo.report.figures.comparison import comparison
    from diffgeo.results import atomic

    runs = gathering.matching(gathering.read_runs(gathering.find_runs(folders)), lists["where"])
    if runs.empty:
        raise ConfigError(f"where={given['where']} fits no run; leave out a condition")
    if "sql" in given:
        print(gathering.query(runs, given["sql"]).to_string(index=False))
        return
    out = Path(given.get("out", "outputs/report"))
    by = lists["by"] or [key for key in gathering.differing(runs) if key not in ("seed", "model.source")]
    scalars = gathering.compared(runs, lists["show"])
    groups = gathering.grouped(runs, by, scalars)
    tables: dict[str, pd.DataFrame] = {"runs": runs, "groups": groups}
    if "table" in given:
        tables[given["table"]] = gathering.study_rows(runs, given["table"])
    for name, table in tables.items():
        with atomic(out / f"{name}.csv") as path:
            table.to_csv(path, index=False)
        with atomic(out / f"{name}.parquet") as path:
            table.to_parquet(path, index=False)
    for path in comparison(groups, by, out / "figures"):
        print(path)
    print(f"{len(runs)} runs, {len(groups.drop_duplicates(by)) if by else 1} groups: {out}")
    print(groups.to_string(index=False, float_format=lambda x: f"{x:.4g}"))


if __name__ == "__main__":
    main()
