"""The text of ``diffgeo --help``, made from ``conf/``: every choice with the comment that heads its file."""

from __future__ import annotations

import re
from pathlib import Path

__all__ = ["help_text"]

_HEAD = """\
diffgeo: directions in the latent space of a diffusion model, discovered without supervision.

Usage: diffgeo [group=choice ...] [key=value ...]

Choices (group=choice; * is the default)
"""

_FOOT = """
Keys that are typed most
  model.path=FOLDER|owner/name   data.samples=4        schedule.steps=40   schedule.edit=[1.0,0.5]
  feature.block=mid|down.0|up.1  feature.pool=sum|null svd.rank=50         svd.tol=1e-4
  edit.strength=0.06             edit.normalise=true   seed=0              device=auto|cpu|cuda
  study=[discovery,spectrum]     study.discovery.directions=3              hydra.run.dir=FOLDER

Examples
  diffgeo                                               the shipped model
  diffgeo model=ddpm_celebahq svd.rank=50 schedule.edit=[1.0,0.5]
  diffgeo data=images data.images=faces/                own pictures, inverted; or data.images=[a.png,b.jpg]
  diffgeo -m grid=rank                                  a grid of runs; your own: -m svd.rank=10,25,50
  diffgeo -m search=precision                           a search by Optuna
  diffgeo experiment=p23a/table1 scale=small            a table of the paper, in minutes (all: diffgeo-paper --help)
  diffgeo --cfg job                                     print all keys with their values and stop

Exit codes: 0 done, 2 settings, 3 model, 4 pictures, 5 device, 6 output, 7 directions, 8 killed, 1 other,
130 interrupted.
HYDRA_FULL_ERROR=1 shows tracebacks; --hydra-help lists Hydra's own flags.
"""


def help_text(conf: Path) -> str:
    """The page, from the configuration folder ``conf``."""
    config = (conf / "config.yaml").read_text()
    lines = []
    for group in _groups(conf):
        for choice in sorted((conf / group).rglob("*.yaml")):
            value = choice.relative_to(conf / group).with_suffix("").as_posix()
            comments = [x for x in choice.read_text().splitlines() if x.startswith("#") and "@package" not in x]
            chosen = re.search(rf"^  - {group}: (\[.*\b)?{choice.stem}\b", config, re.MULTILINE)
            name = f"{group}={value}{' *' if chosen else ''}"
            lines.append(f"  {name:<28} {comments[0].lstrip('# ') if comments else ''}".rstrip())
    return _HEAD + "\n".join(lines) + "\n" + _FOOT


def _groups(conf: Path) -> list[str]:
    """Groups of a run's configuration: all folders but those of other commands, and what extends Hydra's own groups."""
    others = ("training", "sweep", "hydra")
    own = [path.name for path in conf.iterdir() if path.is_dir() and path.name not in others]
    return sorted([*own, *(path.relative_to(conf).as_posix() for path in conf.glob("hydra/*"))])
