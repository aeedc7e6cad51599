"""``WANDB_MODE`` and ``WANDB_PROJECT``, W&B's environment variables, set ``tracking`` unless the command line does."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from diffgeo.config.schemas import Config
from diffgeo.errors import ConfigError

_MODES = {"online": "online", "run": "online", "offline": "offline", "dryrun": "offline", "disabled": None}
"""What ``WANDB_MODE`` may say, with ``tracking.mode``; None switches tracking off."""


def heed_wandb(cfg: Config, words: Iterable[str], environment: Mapping[str, str]) -> None:
    """Take over ``WANDB_MODE`` and ``WANDB_PROJECT``.

    Args:
        cfg: changed in place.
        words: of the command line; what these set stays as it is.
        environment: of the process.

    Raises:
        ConfigError: ``WANDB_MODE`` is no mode, which W&B would refuse as well.
    """
    given = {word.lstrip("+").partition("=")[0] for word in words}
    mode, project = environment.get("WANDB_MODE"), environment.get("WANDB_PROJECT")
    if mode and not given & {"tracking", "tracking.backend", "tracking.mode"}:
        if mode not in _MODES:
            raise ConfigError(f"WANDB_MODE={mode} is not possible", "allowed: online, offline, disabled")
        chosen = _MODES[mode]
        cfg.tracking.backend = "none" if chosen is None else "wandb"
        cfg.tracking.mode = chosen or cfg.tracking.mode
    if project and "tracking.project" not in given:
        cfg.tracking.project = project
