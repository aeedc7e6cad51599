"""The command ``diffgeo-paper``: every table and figure of the papers, as one table of verdicts.

Runs the experiments of ``conf/experiment/``, each into a run folder of its own, then judges the claims of
:mod:`diffgeo.claims` on their tables (:mod:`diffgeo.cli.network`). Of several networks it draws one page
(:mod:`diffgeo.report.page.atlas`). A run that is complete, with the settings asked for, is kept: an interrupted command
goes on where it stopped.
"""

from __future__ import annotations

import math
import os
import shlex
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from diffgeo.cli.help import rows
from diffgeo.cli.network import Network, choosing
from diffgeo.cli.words import Command, Words, listed
from diffgeo.composition import composed, others, register
from diffgeo.config import config_folder, nearest
from diffgeo.config.experiments import order_of
from diffgeo.config.schemas import TextToImageConfig
from diffgeo.errors import ConfigError, DiffgeoError

if TYPE_CHECKING:
    from diffgeo.results import Row

SCALES = ("smoke", "small", "atlas", "paper")


@dataclass(frozen=True, slots=True)
class Plan:
    """What one call computes.

    Attributes:
        scale: a choice of the group ``scale``.
        names: experiments, in the order of the papers.
        out: where run folders and the table go; a folder for each network if there are several.
        overrides: passed on to every run.
        models: networks to compare, choices of the group ``model`` or folders; empty for the one of ``overrides``.
        only: what of the papers was asked for, all if empty.
        dry: only list the runs.
    """

    scale: str
    names: list[str]
    out: Path
    overrides: list[str] = field(default_factory=list)
    models: list[str] = field(default_factory=list)
    only: list[str] = field(default_factory=list)
    dry: bool = False

    @property
    def command(self) -> str:
        """The command line that gives the same numbers, wherever its folder is."""
        lists = {"models": self.models, "only": self.only}
        given = [f"{key}=[{','.join(values)}]" for key, values in lists.items() if values]
        return shlex.join(["diffgeo-paper", *given, f"scale={self.scale}", *self.overrides])


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
    models = listed(words.given.get("models", ""))
    model = next((w.partition("=")[2] for w in words.others if w.startswith("model=")), None)
    _refuse_repeated(models, model)
    default = Path("outputs") / ("atlas" if models else f"paper/{model or 'factor_faces'}") / scale
    return Plan(scale, names, words.path("out", default), words.others, models, wanted, "--dry-run" in words.flags)


def _refuse_repeated(models: list[str], model: str | None) -> None:
    """Each network needs a folder of its own."""
    if models and model is not None:
        raise ConfigError(f"models=[...] and model={model} are both given", "name every network in models")
    names = [choosing(one)[0] for one in models]
    if twice := next((name for name in names if names.count(name) > 1), None):
        raise ConfigError(f"models=[{','.join(models)}] has {twice} twice", "name each network once")


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
        "scale=NAME": "how much is computed: smoke (minutes), small (n = 16, the default; about 3½ hours of one "
        "core at n = 20), paper",
        "only=[NAME,...]": "experiments by name, or all of a paper (p23a, p23b, loco, asyrp)",
        "models=[NAME,...]": "ask all of several networks, choices of the group model or folders (nets/mine), and draw "
        "one page: claims down, networks across. prompt=… is for those that take one",
        "out=FOLDER": "results, one run folder an experiment; outputs/paper/MODEL/SCALE if left out, of several "
        "networks outputs/atlas/SCALE, with a folder for each. Runs that are complete there, with the same settings, "
        "are kept. (A model's weights are not compared: after changing them, give another folder.)",
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
        "diffgeo-paper models=[factor_faces,factor_faces_4,fashion_mnist]": "what holds on which network",
        "diffgeo-paper model=ddpm_celebahq device=cuda scale=paper": "the papers' model at the papers' sizes",
    },
    codes=(0, 1, 2, 3, 4, 5, 6, 7, 130),
    passes=True,
    bare=True,
    more=_experiment_lines,
)


def _execute(work: Plan) -> None:
    known, group = experiments(config_folder()), f"paper {work.out.name}"
    networks = [
        Network.of(name, folder, [f"scale={work.scale}", *words], known, group)
        for name, folder, words in _networks(work)
    ]
    for network in networks:
        for name in work.names:
            if name in network.unsuitable:
                print(f"{name} is left out: {network.unsuitable[name]}", file=sys.stderr, flush=True)
    if work.dry:
        _list(networks, work)
        return
    context, failures = None, []
    try:
        for network in networks:
            context, failed = network.run(work.names, context)
            failures += failed
    finally:
        judged = {network.name: network.judged() for network in networks}
        for network in networks:
            if judged[network.name]:
                _write(judged[network.name], network.folder)
        if work.models:
            _write_atlas(networks, judged, work)
        for name, rows in judged.items():
            if rows:
                _show(rows, name if work.models else None)
    if failures:
        raise failures[-1]


def _networks(work: Plan) -> list[tuple[str, Path, list[str]]]:
    """(name, folder, words) of every network; one without ``models=``, whose folder is ``out`` itself.

    Of several, a prompt is for those that take one.
    """
    if not work.models:
        return [("", work.out, work.overrides)]
    found = []
    for name, words in map(choosing, work.models):
        takes_prompt = isinstance(composed(words).model, TextToImageConfig)
        rest = [word for word in work.overrides if takes_prompt or not word.startswith("prompt=")]
        found.append((name, work.out / name, [*words, *rest]))
    return found


def _list(networks: Sequence[Network], work: Plan) -> None:
    """Print which run each experiment has, and what those that are not complete would compute."""
    from diffgeo.runner.dry_run import Planner

    planner, any_left = Planner(work.out), False
    for network in networks:
        names = [name for name in work.names if name in network.configs]
        todo = network.todo(names)
        for name in names:
            folder = network.folders[name]
            state = "to run" if folder in todo else "complete"
            print(f"{name:<18} {folder}  {state if folder == network.folder / name else 'the same run'}", flush=True)
        for folder, name in todo.items():
            any_left = True
            try:
                planner.add(folder.relative_to(work.out).as_posix(), network.configs[name])
            except DiffgeoError as error:
                print(f"{folder} would fail: {error}", file=sys.stderr, flush=True)
    if any_left:
        planner.show()


def _write_atlas(networks: Sequence[Network], judged: Mapping[str, list[Row]], work: Plan) -> None:
    from diffgeo.report.page.atlas import Told, write_atlas

    told = [Told(network.name, network.folder, judged[network.name], network.unsuitable) for network in networks]
    print(f"The atlas: {write_atlas(told, work.out, work.command)}", flush=True)


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


_HEAD = ("source", "quantity", "published", "ours, 95 % interval", "n", "p", "q", "Holm", "verdict", "run")


def _cells(row: Row) -> list[str]:
    from diffgeo.claims import reading_of

    ours = "–" if math.isnan(row["ours"]) else f"{row['ours']:.3g}"
    if not math.isnan(row["low"]):
        ours += f" [{row['low']:.3g}, {row['high']:.3g}]"
    elif not math.isnan(row["ours"]):
        ours += " (too few)"
    verdict = f"{reading_of(row)}{' (not converged)' if row['not_converged'] else ''}"
    quantity = f"{row['quantity']} ({row['remark']})" if row["remark"] else row["quantity"]
    rates = ["–" if math.isnan(row[key]) else f"{row[key]:.2g}" for key in ("p", "q", "holm")]
    shown = [row["source"], quantity, row["published"], ours, row["n"], *rates, verdict, Path(row["run"]).name]
    return [str(cell).replace("|", "\\|") for cell in shown]


def _show(rows: list[Row], network: str | None = None) -> None:
    from rich.console import Console
    from rich.table import Table

    shown = Table(*_HEAD, title=network)
    colours = {"holds": "green", "contradicted": "red", "too few to tell": "yellow"}
    for row in rows:
        shown.add_row(*_cells(row), style=colours.get(row["verdict"], "dim"))
    # into a pipe as wide as the table needs
    Console(width=None if sys.stdout.isatty() else 200).print(shown)
    for run, missed in {row["run"]: row["not_converged"] for row in rows}.items():
        if missed:
            print(f"Warning: {run}: {missed}.", file=sys.stderr)


if __name__ == "__main__":
    main()
