"""Many runs as one table: their settings and scalars, and the rows of any study with the settings varied them.

A run is any folder with a ``run.json``. Means are over completed runs that differ in their seeds alone: interrupted and
failed ones are left out, as are those that repeat another one's settings and seed. Settings are flattened to dotted
keys (``svd.rank``); those of studies are called ``study.NAME.key``. The rows of a study are read by DuckDB from the
runs' Parquet files, so that only what is asked for is loaded; columns that some runs lack are empty there.
"""

from __future__ import annotations

import json
import logging
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from diffgeo.composition import results_depend_on
from diffgeo.config import flat
from diffgeo.convergence import Convergence, summary
from diffgeo.errors import ConfigError, DataError
from diffgeo.metrics.statistics import mean_interval
from diffgeo.results import Row
from diffgeo.run_folders import belongs

log = logging.getLogger(__name__)

FACTS = ("run", "status", "left_out", "not_converged", "unconverged", "times")
"""Columns of :func:`read_runs` that are no settings."""
DONE = "completed"
MARK = "†"
"""Stands at means that rest on local bases which missed their tolerance."""
_ROUNDED = 0.005
"""Fractions of T that differ by less are those of one timestep, rounded."""


def find_runs(folders: Sequence[Path]) -> list[Path]:
    """Run folders in and under the given ones, each once, in the order of their names.

    Raises:
        DataError: a folder does not exist, or there is no run at all.
    """
    found: dict[Path, None] = {}
    for folder in folders:
        if not folder.is_dir():
            raise DataError(f"{folder} is no folder", "give run folders, or one that holds some")
        found |= dict.fromkeys(sorted(path.parent for path in folder.rglob("run.json")))
    if not found:
        raise DataError(f"no run.json under {', '.join(map(str, folders))}", "give run folders, or one that holds some")
    return list(found)


def read_runs(folders: Sequence[Path]) -> pd.DataFrame:
    """One row per run: its facts, settings by dotted key, ``device``, scalars by ``STUDY/NAME``.

    Settings are those that results depend on; ``device`` is the one that was used.

    The facts are ``run`` (its folder), ``status``, ``left_out`` (why it enters no mean: its status, or which run it
    repeats; else empty), ``not_converged`` (what is wrong with the local bases that it used), ``unconverged`` (the
    studies that rest on such bases, comma-separated) and ``times`` (which fractions of T stand for those that were
    asked for, as JSON: ``{"t_0.3": 0.25}``).

    A ``run.json`` that cannot be read is left out with a warning.
    """
    rows: list[Row] = []
    started: list[str] = []
    for folder in folders:
        try:
            facts = json.loads((folder / "run.json").read_text(encoding="utf-8"))
            row = {"run": str(folder), "status": facts["status"], "left_out": ""}
            settings = flat(results_depend_on(facts["settings"]))
            bases, times = Convergence.read(facts), facts.get("times") or {}
            row["not_converged"] = summary(bases)
            row["unconverged"] = ", ".join(study for study, one in bases.items() if not one.complete)
            row["times"] = json.dumps({name: one["t_frac"] for name, one in times.items()})
            row |= {key: json.dumps(one) if isinstance(one, list) else one for key, one in settings.items()}
            row |= {"model.source": facts.get("model", {}).get("source"), "device": facts.get("device")}
            scalars = facts.get("scalars", {})
        except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
            log.warning("%s is left out: its run.json cannot be read (%s)", folder, error)
            continue
        row |= {f"{study}/{name}": value for study, values in scalars.items() for name, value in values.items()}
        rows.append(row)
        started.append(str(facts.get("started", "")))
    runs = pd.DataFrame(rows)
    if len(runs):
        runs["left_out"] = _left_out(runs, started)
    return runs


def _left_out(runs: pd.DataFrame, started: list[str]) -> list[str]:
    """Why each run enters no mean; of several with the same settings and seed, the one that started last does."""
    settings = runs[_settings(runs)].astype(str).apply(tuple, axis=1)
    done = [i for i in np.argsort(started, kind="stable") if runs["status"].iloc[i] == DONE]
    last = {settings.iloc[i]: i for i in done}
    scalars = runs[[c for c in runs.columns if "/" in c]]
    reasons = []
    for i, (key, status) in enumerate(zip(settings, runs["status"], strict=True)):
        if status != DONE:
            reasons.append(str(status))
        elif last[key] != i:
            same = scalars.iloc[i].equals(scalars.iloc[last[key]])
            reasons.append(f"repeats {runs['run'].iloc[last[key]]}{'' if same else ', with other results'}")
        else:
            reasons.append("")
    return reasons


def _settings(runs: pd.DataFrame) -> list[str]:
    return [c for c in runs.columns if "/" not in c and c not in FACTS]


def differing(runs: pd.DataFrame) -> list[str]:
    """Settings in which the runs differ, in their order."""
    return [c for c in _settings(runs) if runs[c].astype(str).nunique(dropna=False) > 1]


def deciding(runs: pd.DataFrame, by: Sequence[str] = ()) -> list[str]:
    """The fewest settings that tell the runs' groups apart, in their order, after those of ``by``.

    The seed does not count. A choice brings keys of its own (``svd.oversample`` comes and goes with
    ``svd.solver``): what tells no runs apart that the others do not is left out, beginning with the keys that are
    most often empty.
    """
    given = [_column(runs, key) for key in by]
    keys = [key for key in differing(runs) if key not in ("seed", *given)]

    def groups(chosen: Sequence[str]) -> int:
        return len(runs[[*given, *chosen]].astype(str).drop_duplicates()) if given or chosen else 1

    # a source follows from the path, if nothing but its files changed
    for key in sorted(keys, key=lambda key: (key != "model.source", runs[key].notna().mean())):
        without = [other for other in keys if other != key]
        if groups(without) == groups(keys):
            keys = without
    return [*given, *keys]


def matching(runs: pd.DataFrame, conditions: Sequence[str]) -> pd.DataFrame:
    """The runs that meet every ``key=value``; values compare as they are written in YAML.

    Raises:
        ConfigError: a condition has no ``=``, or its key is no setting of the runs.
    """
    kept = runs
    for condition in conditions:
        key, found, value = condition.partition("=")
        if not found:
            raise ConfigError(f"where={condition} is not possible", "allowed: key=value")
        wanted = value.strip()
        kept = kept[[_written(v) == wanted or _same_number(v, wanted) for v in kept[_column(runs, key.strip())]]]
    return kept


def _written(value: Any) -> str:
    if value is None or (isinstance(value, float) and value != value):
        return "null"
    if isinstance(value, float) and value.is_integer() and abs(value) < 1e15:
        return str(int(value))  # integers beside an empty cell are floats to pandas
    return str(value).lower() if isinstance(value, bool) else str(value)


def _same_number(value: Any, text: str) -> bool:
    try:
        return not isinstance(value, bool) and float(value) == float(text)
    except (TypeError, ValueError):
        return False


def _column(runs: pd.DataFrame, key: str) -> str:
    if key in runs.columns:
        return key
    from diffgeo.config import nearest

    guess = nearest(key, list(runs.columns))
    raise ConfigError(f"the runs have no {key}", f"did you mean {guess}?" if guess else "see runs.csv for all keys")


def compared(runs: pd.DataFrame, show: Sequence[str]) -> list[str]:
    """Scalars that are compared: those asked for, else those that all runs have and in which they differ.

    If they differ in none, all that they have; if they have none in common, those of any run.

    Raises:
        ConfigError: a scalar that no run has.
    """
    if show:
        return [_column(runs, name) for name in show]
    known = [c for c in runs.columns if "/" in c and runs[c].notna().any()]
    scalars = [c for c in known if runs[c].notna().all()] or known
    return [c for c in scalars if runs[c].nunique() > 1] or scalars


def _rests_on_missed(runs: pd.DataFrame, name: str) -> pd.Series[bool]:
    """Whether a scalar (``spectrum/…``) or table (``spectrum_summary``) of each run rests on unconverged bases."""

    def rests(studies: str) -> bool:
        return any(name == one or name.startswith((f"{one}/", f"{one}_")) for one in studies.split(", ") if one)

    return runs["unconverged"].map(rests).astype(bool)


def ambiguous_times(runs: pd.DataFrame, scalars: Sequence[str]) -> list[str]:
    """Names such as ``t_0.3`` that are of other timesteps in one run than in another, a sentence each.

    Args:
        runs: of :func:`read_runs`.
        scalars: that are compared.
    """
    used: dict[str, list[float]] = {}
    for times in runs["times"]:
        for name, fraction in json.loads(times).items():
            used.setdefault(name, []).append(fraction)
    named = {part for scalar in scalars for part in scalar.split("/")}
    return [
        f"{name} is {', '.join(f'{one:g}' for one in sorted(set(found)))} of T in different runs: the numbers of that "
        "name are of different timesteps"
        for name, found in used.items()
        if name in named and max(found) - min(found) > _ROUNDED
    ]


def grouped(runs: pd.DataFrame, by: Sequence[str], scalars: Sequence[str]) -> pd.DataFrame:
    """One row per scalar and group: mean over the group's runs with its 95 % interval, n, and ``unconverged``.

    That is how many of the n rest on local bases that missed their tolerance.

    Raises:
        ConfigError: a key of ``by`` that is no setting of the runs.
    """
    keys = [_column(runs, key) for key in by]
    parts = runs.groupby(keys, sort=True, dropna=False) if keys else [((), runs)]
    rows = []
    for values, part in parts:
        where = dict(zip(keys, values, strict=True))
        for name in scalars:
            there = part[part[name].notna()]
            mean, low, high = mean_interval(part[name].to_numpy(float))
            row = {"scalar": name, "mean": mean, "low": low, "high": high, "n": len(there)}
            rows.append(where | row | {"unconverged": int(_rests_on_missed(there, name).sum())})
    return pd.DataFrame(rows)


def pivot(groups: pd.DataFrame, by: Sequence[str]) -> pd.DataFrame:
    """The groups as text: a row per scalar, a column per group; turned round if there are more groups than scalars.

    Means that rest on local bases which missed their tolerance end with :data:`MARK`.

    Args:
        groups: of :func:`grouped`.
        by: its keys.
    """
    cells, heads = [], []
    for row in groups.to_dict("records"):
        ends = f" [{row['low']:.4g}, {row['high']:.4g}]" if row["low"] == row["low"] else ""
        mark = f" {MARK}" if row["unconverged"] else ""
        cells.append(f"{row['mean']:.4g}{ends} (n = {row['n']}){mark}")
        heads.append(", ".join(f"{key}={_written(row[key])}" for key in by) or "all runs")
    frame = pd.DataFrame({"group": heads, "scalar": groups["scalar"], "cell": cells})
    rows, columns = list(dict.fromkeys(frame["scalar"])), list(dict.fromkeys(heads))
    table = frame.pivot(index="scalar", columns="group", values="cell").reindex(index=rows, columns=columns)
    shown = table.T if len(columns) > len(rows) else table
    return shown.rename_axis(index=None, columns=None)


def study_rows(runs: pd.DataFrame, table: str) -> pd.DataFrame:
    """The rows of one table of all runs, with ``run``, the settings in which the runs differ, and ``unconverged``.

    That says of a row whether it rests on local bases that missed their tolerance.

    Raises:
        DataError: no run has that table.
    """
    found = query(runs, f'select * from "{table}"', tables=[table])
    varied = [c for c in differing(runs) if c not in found.columns]
    missed = runs[["run", *varied]].assign(unconverged=_rests_on_missed(runs, table))
    return found.merge(missed, on="run", how="left")


def query(runs: pd.DataFrame, sql: str, *, tables: Sequence[str] | None = None) -> pd.DataFrame:
    """The answer to a question in SQL over ``runs`` and every study's table, each with a column ``run``.

    Args:
        runs: see :func:`read_runs`.
        sql: as DuckDB has it; identifiers with dots or slashes are quoted: ``select "svd.rank" from runs``.
        tables: which tables are offered; all if None.

    Raises:
        ConfigError: DuckDB is missing, or does not understand the question.
        DataError: no run has one of ``tables``.
    """
    try:
        import duckdb
    except ImportError as error:
        raise ConfigError("gathering tables needs duckdb", "install diffgeo[report]") from error
    files: dict[str, list[str]] = {}
    for run in runs["run"]:
        facts = json.loads(Path(run, "run.json").read_text(encoding="utf-8"))
        for path in sorted(Path(run, "tables").glob("*.parquet")):
            if belongs(facts, f"tables/{path.name}"):
                files.setdefault(path.stem, []).append(str(path))
    for name in tables or ():
        if name not in files:
            raise DataError(f"no run has a table {name}", f"there are {', '.join(sorted(files)) or 'none'}")
    with duckdb.connect() as connection:
        connection.register("runs", runs)
        for name in files if tables is None else tables:
            connection.read_parquet(files[name], union_by_name=True, filename=True).create_view(f"{name} files")
            suffix = len(f"/tables/{name}.parquet")
            connection.execute(
                f'create view "{name}" as select * exclude (filename), '
                f'left(filename, length(filename) - {suffix}) as run from "{name} files"'
            )
        try:
            answer: pd.DataFrame = connection.execute(sql).df()
        except duckdb.Error as error:
            raise ConfigError(
                f"sql={sql} is not understood ({' '.join(str(error).split())[:200]})", "see diffgeo-report --help"
            ) from error
    return answer
