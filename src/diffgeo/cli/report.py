"""The command ``diffgeo-report``: any number of runs in one table, grouped, compared and drawn; pages made anew."""

from __future__ import annotations

import json
import sys
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from diffgeo.cli.words import Command, Words, listed
from diffgeo.errors import ConfigError, DataError, OutputError
from diffgeo.report.formatting import counted
from diffgeo.run_folders import remove

if TYPE_CHECKING:
    import pandas as pd

LIST = "report.json"
"""Lists the files of a report, which the next one in its folder removes."""

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
    by, where, show = (listed(given.get(key, "")) for key in ("by", "where", "show"))

    from diffgeo.report.runs import find_runs, matching, query, read_runs

    runs = matching(read_runs(find_runs(folders)), where)
    if runs.empty:
        raise ConfigError(f"where={given['where']} fits no run", "leave out a condition")
    if "sql" in given:
        print(query(runs, given["sql"]).to_string(index=False))
        _warn_of(runs)
        return
    _compare(runs, by, show, given.get("table"), words.path("out", Path("outputs/report")))


def _compare(runs: pd.DataFrame, asked: list[str], show: list[str], study: str | None, out: Path) -> None:
    """Write the tables and figures of a report, and print its groups.

    Args:
        runs: as :func:`diffgeo.report.runs.read_runs` gives them, those that did not complete included.
        asked: settings to group by.
        show: scalars; all that differ if empty.
        study: a study's table, whose rows are gathered.
        out: where to write.
    """
    from diffgeo.report.comparison import comparison, stem_of
    from diffgeo.report.runs import MARK, ambiguous_times, compared, deciding, grouped, pivot, study_rows

    shown = runs[runs["left_out"] == ""]
    if shown.empty:
        raise DataError(f"none of these runs completed ({_why(runs)})", "give others, or ask by sql=")
    by, scalars = deciding(shown, asked), compared(shown, show)
    groups = grouped(shown, by, scalars)
    tables = {"runs": runs, "groups": groups} | ({} if study is None else {study: study_rows(shown, study)})
    figures = [f"figures/{stem_of(scalar)}{kind}" for scalar in scalars if by for kind in (".png", ".svg")]
    _make_room(out, [*(f"{name}{kind}" for name in tables for kind in (".csv", ".parquet")), *figures])
    _write(tables, out)
    for path in comparison(groups, by, out / "figures"):
        print(path)
    number = len(groups.drop_duplicates(by)) if by else 1
    print(f"{counted(len(shown), 'run')}, {counted(number, 'group')}: {out}")
    if asked and (others := by[len(asked) :]):
        print(f"The runs differ in {', '.join(others)} as well, and are told apart by that; where= chooses some.")
    if more := len(runs) - len(shown):
        are = "is" if more == 1 else "are"
        print(f"{counted(more, 'more run')} {are} in no mean: {_why(runs)}; see left_out in runs.csv.")
    print(pivot(groups, by).to_string())
    if groups["unconverged"].any():
        print(f"{MARK} rests on local bases that missed their tolerance; see unconverged in groups.csv.")
    for told in ambiguous_times(shown, scalars):
        print(f"Warning: {told}.", file=sys.stderr)
    _warn_of(shown)


def _write(tables: Mapping[str, pd.DataFrame], out: Path) -> None:
    from diffgeo.results import atomic, write_csv

    for name, table in tables.items():
        with atomic(out / f"{name}.csv") as path:
            write_csv(table, path)
        with atomic(out / f"{name}.parquet") as path:
            table.to_parquet(path, index=False)


def _warn_of(runs: pd.DataFrame) -> None:
    """Name the runs some of whose local bases missed their tolerance."""
    for run, missed in zip(runs["run"], runs["not_converged"], strict=True):
        if missed:
            print(f"Warning: {run}: {missed}.", file=sys.stderr)


def _make_room(out: Path, files: Sequence[str]) -> None:
    """Remove the files of an earlier report, as its list tells, and list those of this one.

    Args:
        out: the report's folder.
        files: that this report will write there.

    Raises:
        OutputError: a file is in the way that no report wrote, or the folder cannot be written.
    """
    from diffgeo.results import atomic

    if (out / "run.json").exists():
        raise OutputError(f"{out} is a run's folder", "choose another folder with out=")
    try:
        listed = json.loads((out / LIST).read_text(encoding="utf-8"))
        earlier = [str(file) for file in listed["files"]]
    except FileNotFoundError:
        earlier = list(files) if _of_an_earlier_version(out) else []
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise OutputError(f"{out / LIST} is not of a report of diffgeo", "choose another folder with out=") from error
    for file in files:
        if file not in earlier and (out / file).exists():
            raise OutputError(f"{out / file} is not of a report of diffgeo", "choose another folder with out=")
    remove(out, earlier, ("", "figures"), "out=")
    with atomic(out / LIST) as path:
        path.write_text(json.dumps({"files": list(files)}, indent=2) + "\n", encoding="utf-8")


def _of_an_earlier_version(out: Path) -> bool:
    """Whether a report is there that lists no files, as those of earlier versions."""
    try:
        with (out / "runs.csv").open(encoding="utf-8") as file:
            return file.readline().startswith("run,status,")
    except (OSError, ValueError):
        return False


def _why(runs: pd.DataFrame) -> str:
    """How many runs are left out, by reason."""
    reasons = Counter(reason.partition(" ")[0] for reason in runs["left_out"] if reason)
    words = {"repeats": "repeat others"}
    return ", ".join(f"{count} {words.get(reason, reason)}" for reason, count in reasons.items())


if __name__ == "__main__":
    main()
