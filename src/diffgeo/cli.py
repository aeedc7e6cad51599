"""The command ``diffgeo``: Hydra around :func:`diffgeo.runner.execute`.

Errors are printed in two lines, what is wrong and what to do, with an exit code a kind (see ``errors``); 130 after
Ctrl-C. ``HYDRA_FULL_ERROR=1`` shows the traceback instead. Heavy imports wait until a job starts.
"""

from __future__ import annotations

import logging
import os
import re
import sys
from pathlib import Path

import hydra
from hydra.core.hydra_config import HydraConfig
from hydra.errors import HydraException, MissingConfigException
from omegaconf import DictConfig
from omegaconf.errors import MissingMandatoryValue, OmegaConfBaseException

from diffgeo.config import config_folder, leaf_keys, nearest, register, typed
from diffgeo.errors import ConfigError, DiffgeoError, OutputError
from diffgeo.help import help_text

__all__ = ["main"]

INTERRUPTED = 130


def _job(cfg: DictConfig) -> float | None:
    """Run one job; the mean attribute change is returned for sweepers that optimise."""
    settings = typed(cfg)
    folder = Path(HydraConfig.get().runtime.output_dir)
    from diffgeo.runner import execute

    try:
        execute(settings, folder)
    finally:
        for handler in logging.getLogger().handlers:
            handler.flush()
    print(folder)
    return None


def main() -> None:
    """Entry point; never returns normally with an error."""
    if {"--help", "-h"} & set(sys.argv[1:]):
        print(help_text(config_folder()), end="")
        return
    full = os.environ.get("HYDRA_FULL_ERROR") == "1"
    os.environ["HYDRA_FULL_ERROR"] = "1"  # makes Hydra raise, so that this function words the error
    os.environ.setdefault("WANDB_SILENT", "true")
    register()
    try:
        hydra.main(version_base="1.3", config_path=str(config_folder()), config_name="config")(_job)()
    except KeyboardInterrupt:
        print("Interrupted: what was finished is in the run folder.", file=sys.stderr)
        raise SystemExit(INTERRUPTED) from None
    except (DiffgeoError, HydraException, OmegaConfBaseException, OSError) as error:
        if full:
            raise
        known = explain(error)
        print(f"Error: {known}", file=sys.stderr)
        raise SystemExit(known.exit_code) from None


def explain(error: Exception) -> DiffgeoError:
    """Word any expected error as one of ours; settings are compared with the valid ones."""
    if isinstance(error, DiffgeoError):
        return error
    if isinstance(error, OSError):
        where = f" {error.filename}" if error.filename else ""
        return OutputError(
            f"cannot write{where} ({error.strerror or error}); choose another folder with hydra.run.dir="
        )
    cause = error.__cause__ if isinstance(error.__cause__, OmegaConfBaseException) else error
    if isinstance(error, MissingConfigException):
        return _unknown_choice(str(error))
    if isinstance(cause, MissingMandatoryValue) or "Missing mandatory value" in str(cause):
        key = re.search(r"(?:value: |full_key: )(\S+)", str(cause))
        return ConfigError(
            f"{key.group(1) if key else 'a key'} has no value\nGive one: {key.group(1) if key else 'key'}=…"
        )
    unknown = re.search(r"Could not override '([^']+)'", str(error)) or re.search(r"full_key: (\S+)", str(cause))
    if unknown and "not in" in str(cause):
        return _unknown_key(unknown.group(1))
    first, *rest = str(cause).splitlines()
    name = next((line.split(": ", 1)[1] for line in rest if "full_key" in line), "")
    return ConfigError(f"{name}: {first}\nSee `diffgeo --help` for keys and values." if name else str(error))


def _unknown_key(key: str) -> ConfigError:
    guess = nearest(key, _valid_keys())
    advice = f"Did you mean {guess}?" if guess else "See `diffgeo --help` for all keys."
    return ConfigError(f"there is no setting {key}\n{advice}")


def _unknown_choice(message: str) -> ConfigError:
    found = re.search(r"Could not (?:find|load) '([^']+)'", message)
    if not found:
        return ConfigError(message.strip())
    group, _, choice = found.group(1).rpartition("/")
    folder = config_folder() / group
    choices = sorted(path.stem for path in folder.glob("*.yaml")) if group else []
    if not choices:
        return ConfigError(f"there is no configuration {found.group(1)}\nSee `diffgeo --help` for all choices.")
    guess = nearest(choice, choices)
    hint = f"Did you mean {guess}? " if guess else ""
    return ConfigError(f"{group}={choice} is no choice of {group}\n{hint}Choices: {', '.join(choices)}.")


def _valid_keys() -> list[str]:
    from hydra import compose, initialize_config_dir
    from hydra.core.global_hydra import GlobalHydra

    GlobalHydra.instance().clear()
    with initialize_config_dir(str(config_folder()), version_base="1.3"):
        return leaf_keys(compose("config"))


if __name__ == "__main__":
    main()
