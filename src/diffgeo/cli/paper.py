"""The command ``diffgeo-paper``: every table and figure of the papers, as one table of verdicts.

Runs the experiments of ``conf/experiment/``, each into a run folder of its own, then judges the claims of
:mod:`diffgeo.claims` on their tables. A run that is complete, with the settings asked for, is kept: an interrupted
command goes on where it stopped. Experiments with equal settings share one run.
"""

from __future__ import annotations

import json
import math
import os
import sys
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from omegaconf import OmegaConf

from diffgeo.cli.help import rows
from diffgeo.cli.words import Command, Words, listed
from diffgeo.composition import check, composed, others, register, results_depend_on, words_of
from diffgeo.config import Config, config_folder, heed_wandb, nearest
from diffgeo.config.experiments import order_of
from diffgeo.errors import ConfigError, DiffgeoError, UnsuitableModelError

if TYPE_CHECKING:
    from diffgeo.results import Row

__all__ = ["COMMAND", "Plan", "experiments", "main", "plan"]

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
    """Names of the papers' experiments, tables before figures, by number, then those of other packages."""
    root = conf / "experiment"
    found = sorted((p.relative_to(root).with_suffix("").as_posix() for p in root.glob("*/*.yaml")), key=order_of)
    return [*found, *others()]


def plan(words: Words, conf: Path) -> Plan:
    """What a command line asks for.

    Raises:
        ConfigError: an unknown scale or experiment; the message names the nearest one.
    """
    known, scale = experiments(conf), words.given.get("scale", "small")
    if clash := [word for word in words.others if word.startswith("experiment=")]:
        raise ConfigError(f"{clash[0]} is no argument of diffgeo-paper", "choose experiments with only=[...]")
    if scale not in SCALES:
        raise ConfigError(f"scale={scale} is no scale of diffgeo-paper", f"choices: {', '.join(SCALES)}")
    wanted = listed(words.given.get("only", ""))
    for name in wanted:
        if not any(k == name or k.startswith(f"{name}/") for k in known):
            guess = nearest(name, known)
            hint = f"did you mean {guess}?" if guess else f"known are {', '.join(known)}"
            raise ConfigError(f"there is no experiment {name}", hint)
    names = [k for k in known if not wanted or any(k == w or k.startswith(f"{w}/") for w in wanted)]
    model = next((w.partition("=")[2] for w in words.others if w.startswith("model=")), "factor_faces")
    out = words.path("out", Path("outputs") / "paper" / model / scale)
    return Plan(scale, names, out, words.others, "--dry-run" in words.flags)


def main() -> None:
    """Entry point of the console command."""
    COMMAND.main(_main)


def _main(words: Words) -> None:
    register()
    os.environ.setdefault("WANDB_SILENT", "true")
    _execute(plan(words, config_folder()))


def _experiment_lines() -> tuple[str, list[str]]:
    conf = config_folder()
    return "Experiments", rows({name: _headline(conf, name) for name in experiments(conf)}, column=24)


def _headline(conf: Path, name: str) -> str:
    if name in others():
        return others()[name]
    lines = (conf / "experiment" / f"{name}.yaml").read_text(encoding="utf-8").splitlines()
    return lines[1].lstrip("# ")


COMMAND = Command(
    "diffgeo-paper",
    "the papers' tables and figures, each claim with a number, an interval and a verdict.",
    ("[scale=...] [only=[...]] [out=FOLDER] [--dry-run] [group=choice ...] [key=value ...]",),
    {
        "scale=NAME": "how much is computed: smoke (minutes), small (in the order of an hour on two cores; the "
        "default), paper",
        "only=[NAME,...]": "experiments by name, or all of a paper (p23a, p23b, loco)",
        "out=FOLDER": "results, one run folder an experiment; outputs/paper/MODEL/SCALE if left out. Runs that are "
        "complete there, with the same settings, are kept. (A model's weights are not compared: after changing them, "
        "give another folder.)",
        "--dry-run": "list the runs, which are complete, and what the others would compute; write nothing",
    },
    about=(
        "Runs the experiments, judges the claims on their tables, writes claims.csv, claims.parquet and claims.md to "
        "the folder, and prints the table. After Ctrl-C, the same command goes on where it stopped. All other words go "
        "to every run, as for diffgeo: model=ddpm_celebahq device=cuda tracking=none seed=1",
    ),
    examples={
        "diffgeo-paper --dry-run": "what would be computed",
        "diffgeo-paper scale=smoke": "whether everything runs",
        "diffgeo-paper only=[p23a]": "the experiments of one paper",
        "diffgeo-paper model=ddpm_celebahq device=cuda scale=paper": "the papers' model at the papers' sizes",
    },
    codes=(0, 1, 2, 3, 4, 5, 6, 7, 130),
    passes=True,
    bare=True,
    more=_experiment_lines,
)


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
        _list(names, folders, todo, work.out)
        return
    from diffgeo.api import run

    context, failed = None, None
    try:
        for i, (folder, cfg) in enumerate(todo.items()):
            print(f"[{i + 1}/{len(todo)}] {folder}", file=sys.stderr, flush=True)
            folder.mkdir(parents=True, exist_ok=True)
            _leave_words(folder, next(name for name in names if folders[name] == folder), work)
            try:
                context = run(cfg, folder, earlier=context).context
            except DiffgeoError as error:  # the others may still run
                failed = error
                print(f"{folder} failed: {error}", file=sys.stderr, flush=True)
    finally:
        rows = _judge(folders, known)
        if rows:
            _write(rows, work.out)
            _show(rows)
    if failed is not None:
        raise failed


def _list(names: list[str], folders: dict[str, Path], todo: dict[Path, Config], out: Path) -> None:
    """Print which run each experiment has, and what those that are not complete would compute."""
    for name in names:
        state = "to run" if folders[name] in todo else "complete"
        own = folders[name].name == name.replace("/", "_")
        print(f"{name:<18} {folders[name]}  {state if own else 'the same run'}", flush=True)
    if not todo:
        return
    from diffgeo.runner.dry_run import Planner

    planner = Planner(out)
    for folder, cfg in todo.items():
        try:
            planner.add(folder.name, cfg)
        except DiffgeoError as error:
            print(f"{folder} would fail: {error}", file=sys.stderr, flush=True)
    planner.show()


def _compose(work: Plan, name: str) -> Config:
    cfg = composed([words_of(name), f"scale={work.scale}", *work.overrides])
    heed_wandb(cfg, work.overrides, os.environ)
    check(cfg)
    cfg.tracking.group = cfg.tracking.group or f"paper {work.out.name}"
    return cfg


def _leave_words(folder: Path, name: str, work: Plan) -> None:
    """Write where Hydra would which words of ``diffgeo`` give this run; its page shows them."""
    path = folder / ".hydra" / "overrides.yaml"
    path.parent.mkdir(exist_ok=True)
    OmegaConf.save(OmegaConf.create([words_of(name), f"scale={work.scale}", *work.overrides]), path)


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
    return json.dumps(results_depend_on(cfg), sort_keys=True)


def _complete(folder: Path, settings: str) -> bool:
    try:
        facts = dict(json.loads((folder / "run.json").read_text(encoding="utf-8")))
    except (OSError, TypeError, ValueError):
        return False
    return facts.get("status") == "completed" and _settings(facts["settings"]) == settings


def _judge(folders: dict[str, Path], configs: dict[str, Config]) -> list[Row]:
    """Rows of every experiment whose run is complete with these settings, asked for in this call or not."""
    import pandas as pd

    from diffgeo.claims import decide, judge
    from diffgeo.convergence import Convergence, summary
    from diffgeo.run_files import belongs
    from diffgeo.studies import all_claims

    rows = []
    for claim in all_claims():
        folder = folders.get(claim.experiment)
        if folder is not None and _complete(folder, _settings(asdict(configs[claim.experiment]))):
            facts = json.loads((folder / "run.json").read_text(encoding="utf-8"))
            paths = [path for path in (folder / "tables").glob("*.parquet") if belongs(facts, f"tables/{path.name}")]
            tables = {path.stem: pd.read_parquet(path) for path in paths}
            found = summary(Convergence.read(facts))
            rows.append(judge(claim, tables, facts["model"]["source"]) | {"not_converged": found, "run": str(folder)})
    return decide(rows)


def _write(rows: list[Row], folder: Path) -> None:
    import pandas as pd

    from diffgeo.report.charts import save
    from diffgeo.report.verdicts import values_of_claims
    from diffgeo.results import atomic, write_csv

    table = pd.DataFrame(rows).drop(columns=["expected", "comparable"])
    with atomic(folder / "claims.csv") as path:
        write_csv(table.drop(columns="values"), path)
    with atomic(folder / "claims.parquet") as path:
        table.to_parquet(path, index=False)
    lines = [f"| {' | '.join(_HEAD)} |", "|---" * len(_HEAD) + "|"]
    lines += [f"| {' | '.join(_cells(row))} |" for row in rows]
    with atomic(folder / "claims.md") as path:
        path.write_text("\n".join(lines) + "\n", encoding="utf-8")
    chart = values_of_claims(rows)
    if chart is not None:
        save([chart], folder / "claims")


_HEAD = ("source", "quantity", "published", "ours, 95 % interval", "n", "p", "q", "verdict", "run")


def _cells(row: Row) -> list[str]:
    from diffgeo.claims import reading_of

    ours = "–" if math.isnan(row["ours"]) else f"{row['ours']:.3g}"
    if not math.isnan(row["low"]):
        ours += f" [{row['low']:.3g}, {row['high']:.3g}]"
    elif not math.isnan(row["ours"]):
        ours += " (too few)"
    verdict = f"{reading_of(row)}{' (not converged)' if row['not_converged'] else ''}"
    quantity = f"{row['quantity']} ({row['remark']})" if row["remark"] else row["quantity"]
    p, q = ("–" if math.isnan(row[key]) else f"{row[key]:.2g}" for key in ("p", "q"))
    shown = [row["source"], quantity, row["published"], ours, row["n"], p, q, verdict, Path(row["run"]).name]
    return [str(cell).replace("|", "\\|") for cell in shown]


def _show(rows: list[Row]) -> None:
    from rich.console import Console
    from rich.table import Table

    shown = Table(*_HEAD)
    colours = {"holds": "green", "contradicted": "red", "undecided": "yellow"}
    for row in rows:
        shown.add_row(*_cells(row), style=colours.get(row["verdict"], "dim"))
    # into a pipe as wide as the table needs
    Console(width=None if sys.stdout.isatty() else 200).print(shown)
    for run, missed in {row["run"]: row["not_converged"] for row in rows}.items():
        if missed:
            print(f"Warning: {run}: {missed}.", file=sys.stderr)


if __name__ == "__main__":
    main()
