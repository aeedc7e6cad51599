"""The command ``diffgeo-paper``: every table and figure of the papers, as one table of verdicts.

Runs the experiments of ``conf/experiment/``, each into a run folder of its own, then judges the claims of
:mod:`diffgeo.claims` on their tables. A run that is complete, with the settings asked for, is kept: an interrupted
command goes on where it stopped. Experiments with equal settings share one run.
"""

from __future__ import annotations

import json
import math
import os
import shutil
import sys
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from diffgeo.cli import worded_errors
from diffgeo.config import Config, check, config_folder, nearest, register, typed
from diffgeo.errors import ConfigError, DiffgeoError, UnsuitableModelError

if TYPE_CHECKING:
    import pandas as pd

__all__ = ["Plan", "experiments", "main", "plan"]

_HELP = """\
diffgeo-paper: the papers' tables and figures, each claim with a number, an interval and a verdict.

Usage: diffgeo-paper [scale=...] [only=[...]] [out=FOLDER] [--dry-run] [group=choice ...] [key=value ...]

  scale=small    how much is computed: smoke (minutes), small (in the order of an hour on two cores; the default), paper
  only=[...]     experiments by name, or all of a paper (p23a, p23b)
  out=FOLDER     results, one run folder an experiment; outputs/paper/MODEL/SCALE if left out.
                 Runs that are complete there, with the same settings, are kept: run it again to go on after Ctrl-C.
                 (A model's weights are not compared: after changing them, give another folder.)
  --dry-run      list the runs, and which are complete, and stop
Everything else goes to every run, as for diffgeo: model=ddpm_celebahq device=cuda tracking=none seed=1

Writes claims.csv, claims.parquet and claims.md to the folder, and prints the table.

Experiments
"""

SCALES = ("smoke", "small", "paper")


@dataclass(frozen=True, slots=True)
class Plan:
    """What one call computes.

    Attributes:
        scale: a choice of the group ``scale``.
        names: experiments, in the order of the papers.
        out: where run folders and the table go.
        overrides: passed on to every run.
        dry: only list the runs.
    """

    scale: str
    names: list[str]
    out: Path
    overrides: list[str] = field(default_factory=list)
    dry: bool = False


def experiments(conf: Path) -> list[str]:
    """Names of the papers' experiments, those of P23a first, tables before figures, figures by number."""

    def order(name: str) -> tuple[str, bool, int, str]:
        paper, _, item = name.partition("/")
        digits = "".join(c for c in item if c.isdigit())
        return paper, not item.startswith("table"), int(digits or 0), item

    root = conf / "experiment"
    return sorted((p.relative_to(root).with_suffix("").as_posix() for p in root.glob("*/*.yaml")), key=order)


def plan(words: list[str], conf: Path) -> Plan:
    """Read the command line.

    Raises:
        ConfigError: an unknown scale or experiment; the message names the nearest one.
    """
    known = experiments(conf)
    given = {"scale": "small", "only": "", "out": ""}
    overrides, dry = [], False
    for word in words:
        key, found, value = word.partition("=")
        if word == "--dry-run":
            dry = True
        elif found and key in given:
            given[key] = value
        elif found and key != "experiment":
            overrides.append(word)
        else:
            raise ConfigError(f"{word} is no argument of diffgeo-paper; see diffgeo-paper --help")
    if given["scale"] not in SCALES:
        raise ConfigError(f"scale={given['scale']} is no scale of diffgeo-paper; choices: {', '.join(SCALES)}")
    wanted = [w.strip() for w in given["only"].strip("[]").split(",") if w.strip()]
    for name in wanted:
        if not any(k == name or k.startswith(f"{name}/") for k in known):
            guess = nearest(name, known)
            hint = f"did you mean {guess}?" if guess else f"known are {', '.join(known)}"
            raise ConfigError(f"there is no experiment {name}; {hint}")
    names = [k for k in known if not wanted or any(k == w or k.startswith(f"{w}/") for w in wanted)]
    model = next((w.partition("=")[2] for w in overrides if w.startswith("model=")), "factor_faces")
    out = Path(given["out"] or Path("outputs") / "paper" / model / given["scale"])
    return Plan(given["scale"], names, out, overrides, dry)


def main() -> None:
    """Entry point of the console command."""
    words = sys.argv[1:]
    if {"--help", "-h"} & set(words):
        print(_HELP + "\n".join(_headline(config_folder(), n) for n in experiments(config_folder())))
        return
    register()
    os.environ.setdefault("WANDB_SILENT", "true")
    with worded_errors():
        _execute(plan(words, config_folder()))


def _headline(conf: Path, name: str) -> str:
    lines = (conf / "experiment" / f"{name}.yaml").read_text().splitlines()
    return f"  {name:<18} {lines[1].lstrip('# ')}"


def _execute(work: Plan) -> None:
    known: dict[str, Config] = {}
    for name in experiments(config_folder()):
        try:
            known[name] = _compose(work, name)
        except UnsuitableModelError as error:
            if name in work.names:
                print(f"{name} is left out: {error}", file=sys.stderr, flush=True)
    names = [name for name in work.names if name in known]
    folders, missing = _folders(work, known)
    todo = {f: cfg for f, cfg in missing.items() if f in {folders[name] for name in names}}
    if work.dry:
        for name in names:
            state = "to run" if folders[name] in todo else "complete"
            own = folders[name].name == name.replace("/", "_")
            print(f"{name:<18} {folders[name]}  {state if own else 'the same run'}")
        return
    from diffgeo.runner import execute

    context, failed = None, None
    try:
        for i, (folder, cfg) in enumerate(todo.items()):
            print(f"[{i + 1}/{len(todo)}] {folder}", file=sys.stderr, flush=True)
            shutil.rmtree(folder / "tables", ignore_errors=True)  # of other settings
            folder.mkdir(parents=True, exist_ok=True)
            try:
                _, context = execute(cfg, folder, context)
            except DiffgeoError as error:  # the others may still run
                failed = error
                print(f"{folder} failed: {error}", file=sys.stderr, flush=True)
    finally:
        table = _judge(folders, known)
        if len(table):
            _write(table, work.out)
            _show(table)
    if failed is not None:
        raise failed


def _compose(work: Plan, name: str) -> Config:
    from hydra import compose, initialize_config_dir

    with initialize_config_dir(str(config_folder()), version_base="1.3"):
        cfg = typed(compose("config", overrides=[f"experiment={name}", f"scale={work.scale}", *work.overrides]))
    check(cfg)
    cfg.tracking.group = cfg.tracking.group or f"paper {work.out.name}"
    return cfg


def _folders(work: Plan, configs: dict[str, Config]) -> tuple[dict[str, Path], dict[Path, Config]]:
    """(experiment → its run folder, shared by equal settings; folder → settings, for those not complete yet)."""
    folders: dict[str, Path] = {}
    missing: dict[Path, Config] = {}
    by_settings: dict[str, Path] = {}
    for name, cfg in configs.items():
        settings = _settings(asdict(cfg))
        folder = by_settings.setdefault(settings, work.out / name.replace("/", "_"))
        folders[name] = folder
        if folder not in missing and not _complete(folder, settings):
            missing[folder] = cfg
    return folders, missing


def _settings(cfg: dict[str, Any]) -> str:
    """What a run's numbers depend on, as text."""
    return json.dumps(
        {k: v for k, v in cfg.items() if k not in ("tracking", "scale", "objective", "retries")}, sort_keys=True
    )


def _complete(folder: Path, settings: str) -> bool:
    try:
        facts = json.loads((folder / "run.json").read_text())
    except (OSError, ValueError):
        return False
    return facts.get("status") == "completed" and _settings(facts["settings"]) == settings


def _judge(folders: dict[str, Path], configs: dict[str, Config]) -> pd.DataFrame:
    """Verdicts of every experiment whose run is complete with these settings, asked for in this call or not."""
    import pandas as pd

    from diffgeo.claims import CLAIMS, judge

    rows = []
    for claim in CLAIMS:
        folder = folders.get(claim.experiment)
        if folder is not None and _complete(folder, _settings(asdict(configs[claim.experiment]))):
            model = json.loads((folder / "run.json").read_text())["model"]["source"]
            tables = {path.stem: pd.read_parquet(path) for path in (folder / "tables").glob("*.parquet")}
            rows.append(judge(claim, tables, model) | {"run": str(folder)})
    return pd.DataFrame(rows)


def _write(table: pd.DataFrame, folder: Path) -> None:
    from diffgeo.results import atomic

    with atomic(folder / "claims.csv") as path:
        table.to_csv(path, index=False)
    with atomic(folder / "claims.parquet") as path:
        table.to_parquet(path, index=False)
    lines = [f"| {' | '.join(_HEAD)} |", "|---" * len(_HEAD) + "|"]
    lines += [f"| {' | '.join(_cells(row))} |" for row in table.to_dict("records")]
    with atomic(folder / "claims.md") as path:
        path.write_text("\n".join(lines) + "\n")


_HEAD = ("source", "quantity", "published", "ours, 95 % interval", "n", "verdict", "run")


def _cells(row: dict[Any, Any]) -> list[str]:
    ours = "–" if math.isnan(row["ours"]) else f"{row['ours']:.3g}"
    if not math.isnan(row["low"]):
        ours += f" [{row['low']:.3g}, {row['high']:.3g}]"
    shown = [row["source"], row["quantity"], row["published"], ours, row["n"], row["verdict"], Path(row["run"]).name]
    return [str(cell).replace("|", "\\|") for cell in shown]


def _show(table: pd.DataFrame) -> None:
    from rich.console import Console
    from rich.table import Table

    shown = Table(*_HEAD)
    colours = {"holds": "green", "fails": "red", "not comparable": "dim"}
    for row in table.to_dict("records"):
        shown.add_row(*_cells(row), style=colours[row["verdict"]])
    # into a pipe as wide as the table needs
    Console(width=None if sys.stdout.isatty() else 200).print(shown)


if __name__ == "__main__":
    main()
