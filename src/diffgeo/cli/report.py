"""The command ``diffgeo-report``: any number of runs in one table, grouped, compared and drawn; pages made anew."""

from __future__ import annotations

from pathlib import Path

from diffgeo.cli.words import Command, Words, listed
from diffgeo.errors import ConfigError

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
        "by=[KEY,...]": "settings to group by; the fewest that tell the runs apart if left out (seed is averaged over)",
        "where=[KEY=VALUE,...]": "only runs with these settings: where=[svd.rank=50,feature.pool=sum]",
        "show=[SCALAR,...]": "scalars as in run.json: show=[discovery/residual_max]; all that differ, if left out",
        "table=NAME": "also gather the rows of this table of every run, with the settings in which they differ",
        "sql=QUERY": "instead, answer a question over the table runs and the studies' tables (diffgeo[report])",
        "out=FOLDER": "where to write; outputs/report if left out",
    },
    about=(
        "Writes runs.csv (a row a run), groups.csv (mean and 95 % interval over the runs of a group), TABLE.csv, each "
        "as Parquet too, and a figure per scalar, and prints the groups.",
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

    from diffgeo import gathering
    from diffgeo.report.page import write_page

    for folder in gathering.find_runs(folders):
        print(write_page(folder), flush=True)


def _execute(words: Words) -> None:
    folders, given = [Path(word) for word in words.plain], words.given
    if words.plain[:1] == ["page"]:
        _write_pages(folders[1:])
        return
    if not folders:
        raise ConfigError("no folder is given to diffgeo-report", "see diffgeo-report --help")
    lists = {key: listed(given.get(key, "")) for key in ("by", "where", "show")}

    import pandas as pd

    from diffgeo import gathering
    from diffgeo.report.figures.comparison import comparison
    from diffgeo.results import atomic

    runs = gathering.matching(gathering.read_runs(gathering.find_runs(folders)), lists["where"])
    if runs.empty:
        raise ConfigError(f"where={given['where']} fits no run", "leave out a condition")
    if "sql" in given:
        print(gathering.query(runs, given["sql"]).to_string(index=False))
        return
    out = words.path("out", Path("outputs/report"))
    by = lists["by"] or gathering.deciding(runs)
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
