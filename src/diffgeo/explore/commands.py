"""From the page back to the command line: settings as Hydra's words, and lines that a shell takes as they are."""

from __future__ import annotations

import shlex
from collections.abc import Sequence
from typing import TYPE_CHECKING

from diffgeo.composition import quoted
from diffgeo.config import Config
from diffgeo.errors import ConfigError

if TYPE_CHECKING:
    from diffgeo.diffusion.direction_files import Directions
    from diffgeo.session import Context

DEFAULTS = {"svd.rank": "8", "schedule.steps": "40", "tracking": "none", "study": "[discovery]"}
"""What the explorer sets unless its command line says otherwise: fewer directions than a run, and finer steps."""
_OF_THE_PAGE = (
    "data",
    "data.images",
    "data.masks",
    "data.samples",
    "edit.strength",
    "feature.block",
    "feature.pool",
    "schedule.edit",
    "schedule.edit_log_snr",
    "schedule.steps",
    "seed",
    "svd.rank",
)
_OF_A_RUN = ("tracking", "study")


def key_of(word: str) -> str:
    """``svd.rank`` of ``svd.rank=8`` and ``++svd.rank=8``."""
    return word.partition("=")[0].lstrip("+")


def with_defaults(words: Sequence[str]) -> list[str]:
    """The words, after the explorer's own defaults for what they leave open."""
    given = {key_of(word) for word in words}
    if given & {"scale", "scale.steps", "schedule"}:
        given.add("schedule.steps")
    return [*(f"{key}={value}" for key, value in DEFAULTS.items() if key not in given), *words]


def settings_of(cfg: Config, overrides: Sequence[str], uploaded: str | None) -> list[str]:
    """Settings as words that Hydra composes to them again.

    Args:
        cfg: what the page has set.
        overrides: the explorer's own words for Hydra; those that the page does not set are repeated.
        uploaded: file name of the uploaded picture, or None.
    """
    images = cfg.data.images if uploaded is None else [uploaded]
    # a name that would be an interpolation loses its dollar sign
    names = [quoted(name.replace("$", "_")) for name in images or ()]
    data = [] if images is None else ["data=images", f"data.images=[{','.join(names)}]"]
    return [
        *(word for word in overrides if key_of(word) not in (*_OF_THE_PAGE, *_OF_A_RUN)),
        *data,
        f"data.samples={cfg.data.samples}",
        f"seed={cfg.seed}",
        f"schedule.steps={cfg.schedule.steps}",
        f"schedule.edit=[{','.join(f'{frac:g}' for frac in cfg.schedule.edit)}]",
        f"feature.block={cfg.feature.block}",
        f"feature.pool={cfg.feature.pool or 'null'}",
        f"svd.rank={cfg.svd.rank}",
        f"edit.strength={cfg.edit.strength:g}",
    ]


def refuse_other_place(context: Context, words: Sequence[str], found: Directions, file: str) -> None:
    """Directions of a file belong to one timestep and feature map: no setting may ask for another.

    Args:
        context: with the command line's settings.
        words: of the command line, for Hydra.
        found: the directions.
        file: that they come from, for messages.

    Raises:
        ConfigError: a word asks for another.
    """
    cfg, given = context.cfg, {key_of(word) for word in words}
    schedule, at_its_time, time = cfg.schedule, context.edit_times[0][1] == found.t, f"timestep {found.t}"
    asked = {
        "schedule.edit": (schedule.edit, at_its_time, time),
        "schedule.edit_log_snr": (schedule.edit_log_snr, at_its_time, time),
        "feature.block": (cfg.feature.block, cfg.feature.block == found.block, f"block {found.block}"),
        "feature.pool": (cfg.feature.pool, cfg.feature.pool == found.pool, f"pool {found.pool or 'null'}"),
    }
    for key, (value, fits, own) in asked.items():
        if key in given and not fits:
            shown = "null" if value is None else value
            raise ConfigError(
                f"{key}={shown} does not fit the directions of {file}, which belong to {own}",
                f"leave out {key}: the file says it",
            )


def again(
    words: Sequence[str], source: str, weights: Sequence[float], *, uploaded: bool, mask: str | None = None
) -> str:
    """Lines for a shell: this edit, and a run that finds these directions and tables what they do.

    Args:
        words: of :func:`settings_of`.
        source: whose directions, as ``diffgeo-explore directions=…`` takes it.
        weights: of the mixture.
        uploaded: whether the picture's path has to be put in by its owner.
        mask: that the directions act in, as its text, or None.
    """
    used = list(weights)
    while used and not used[-1]:
        used.pop()
    own = [f"directions={source}"] if mask is None else [f"mask={mask}"]
    mixture = [] if source == "local" else own
    mixture += [f"weights=[{','.join(f'{w:g}' for w in used or [0.0])}]", "out=edit"]
    lines = ["# put the path of your picture where its name is"] if uploaded else []
    lines += ["# this edit", shlex.join(["diffgeo-explore", *words, *mixture])]
    if source == "local":
        shown = max(1, len(used))
        run = [*words, "study=[discovery]", f"study.discovery.directions={shown}"]
        lines += ["# the same directions in a run, with tables and figures", shlex.join(["diffgeo", *run])]
    return "\n".join(lines) + "\n"
