"""The command ``diffgeo``: Hydra around :func:`diffgeo.runner.execute`.

Errors are printed in two lines, what is wrong and what to do, with an exit code a kind (see ``errors``); 130 after
Ctrl-C. ``HYDRA_FULL_ERROR=1`` shows the traceback instead. Heavy imports wait until a job starts.
"""

from __future__ import annotations

import errno
import os
import re
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import hydra
from hydra.core.hydra_config import HydraConfig
from hydra.errors import HydraException, MissingConfigException
from hydra.types import RunMode
from omegaconf import DictConfig
from omegaconf.errors import OmegaConfBaseException

from diffgeo.config import config_folder, leaf_keys, nearest, register, typed
from diffgeo.errors import ConfigError, DiffgeoError, OutputError
from diffgeo.help import help_text
from diffgeo.team import is_first

__all__ = ["main", "quoted_prompts", "worded_errors"]

INTERRUPTED = 130
PROMPTS = ("prompt", "model.prompt", "model.negative_prompt", "model.edit_prompt")
UNWRITABLE = {
    getattr(errno, name)
    for name in ("EACCES", "EDQUOT", "EEXIST", "EFBIG", "EIO", "ENOSPC", "ENOTDIR", "EPERM", "EROFS")
    if hasattr(errno, name)
}
"""What the system says when a run folder cannot be written."""

_SILENT = [
    *(f"hydra.{key}" for key in ("output_subdir=null", "run.dir=.", "sweep.dir=.", "sweep.subdir=.")),
    "hydra/job_logging=none",
]
"""Settings of processes that help the first one: they leave no folder and no log."""

_traceback = False
"""Whether the user asked for tracebacks, before HYDRA_FULL_ERROR was set for Hydra's sake."""


def _job(cfg: DictConfig) -> None:
    """Run one job. Errors are worded here: past this frame Hydra would add lines of its own."""
    with worded_errors():
        settings = typed(cfg)
        hydra_cfg = HydraConfig.get()
        folder = Path(hydra_cfg.runtime.output_dir)
        if hydra_cfg.mode == RunMode.MULTIRUN and settings.tracking.group is None:
            settings.tracking.group = "sweep " + " ".join(Path(hydra_cfg.sweep.dir).parts[-2:])
        from diffgeo.runner import execute

        execute(settings, folder)
        if is_first():
            page = folder / "report.html"
            print(page if page.is_file() else folder)


def main() -> None:
    """Entry point of the console command."""
    if {"--help", "-h"} & set(sys.argv[1:]):
        print(help_text(config_folder()), end="")
        return
    sys.argv[1:] = quoted_prompts(sys.argv[1:])
    if not is_first():
        sys.argv += _SILENT
    global _traceback
    _traceback = os.environ.get("HYDRA_FULL_ERROR") == "1"
    os.environ.setdefault("WANDB_SILENT", "true")
    register()
    # Hydra would print its own wording and exit; with this it raises, and the error is worded here
    os.environ["HYDRA_FULL_ERROR"] = "1"
    with worded_errors():
        try:
            hydra.main(version_base="1.3", config_path=str(config_folder()), config_name="config")(_job)()
        finally:
            if not _traceback:
                del os.environ["HYDRA_FULL_ERROR"]


def quoted_prompts(words: Sequence[str]) -> list[str]:
    """Quote the prompts of a command line, whose commas and colons Hydra would read as its own grammar.

    ``prompt=a face, smiling`` becomes ``prompt='a face, smiling'``. Untouched are prompts that are quoted or null,
    and all of a multirun, where a comma parts the values of a sweep.
    """
    if {"-m", "--multirun"} & set(words):
        return list(words)
    quoted = []
    for word in words:
        key, _, value = word.partition("=")
        plain = key in PROMPTS and value not in ("", "null") and value[0] not in "'\"" and not value.startswith("${")
        # in Hydra's grammar a backslash is one of its own except before a quote
        escaped = re.sub(r"(\\+)(?='|$)", r"\1\1", value).replace("'", "\\'")
        quoted.append(f"{key}='{escaped}'" if plain else word)
    return quoted


@contextmanager
def worded_errors() -> Iterator[None]:
    """Turn expected errors into two lines on stderr and an exit code, unless a traceback was asked for."""
    try:
        yield
    except KeyboardInterrupt:
        print("Interrupted: what was finished is in the run folder.", file=sys.stderr)
        raise SystemExit(INTERRUPTED) from None
    except BrokenPipeError:  # the reader went away: diffgeo --cfg job | head
        sys.stderr.close()
        raise SystemExit(1) from None
    except (DiffgeoError, HydraException, OmegaConfBaseException, OSError, ValueError) as error:
        known = explain(error)
        if known is None or _traceback:
            raise
        what, _, advice = str(known).replace("\n", "; ", 1).partition("; ")
        print(f"Error: {what}\n{advice[:1].upper()}{advice[1:]}", file=sys.stderr)
        raise SystemExit(known.exit_code) from None


def explain(error: Exception) -> DiffgeoError | None:
    """Word any expected error as one of ours, settings compared with the valid ones; None for the unexpected."""
    if isinstance(error, DiffgeoError):
        return error
    if isinstance(error, MissingConfigException):  # an OSError, too
        return _unknown_choice(str(error))
    if isinstance(error, OSError):
        if error.errno not in UNWRITABLE:
            return None
        where = f" {error.filename}" if error.filename else ""
        return OutputError(
            f"cannot write{where} ({error.strerror or error}); choose another folder with hydra.run.dir="
        )
    if isinstance(error, ValueError) and not isinstance(error, OmegaConfBaseException):
        if "Config group override" not in str(error):
            return None
        return ConfigError(f"a group takes the name of a choice ({error})\nSee `diffgeo --help` for all choices.")
    cause = error.__cause__ if isinstance(error.__cause__, OmegaConfBaseException) else error
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
    group, _, choice = found.group(1).partition("/")
    folder = config_folder() / group
    paths = folder.rglob("*.yaml") if choice and folder.is_dir() else []
    choices = sorted(path.relative_to(folder).with_suffix("").as_posix() for path in paths)
    if not choices:
        return ConfigError(f"there is no configuration {found.group(1)}\nSee `diffgeo --help` for all choices.")
    guess = nearest(choice, choices)
    hint = f"Did you mean {guess}? " if guess else ""
    return ConfigError(f"{group}={choice} is no choice of {group}\n{hint}Choices: {', '.join(choices)}.")


def _valid_keys() -> list[str]:
    from hydra import compose, initialize_config_dir
    from hydra.core.global_hydra import GlobalHydra

    GlobalHydra.instance().clear()
    folder = config_folder()
    groups = {path.name for path in folder.iterdir() if path.is_dir()}
    chosen = [word for word in sys.argv[1:] if word.partition("=")[0] in groups]
    with initialize_config_dir(str(folder), version_base="1.3"):
        try:
            return leaf_keys(compose("config", overrides=chosen))
        except (HydraException, OSError, ValueError):  # one of the choices is wrong, too
            return leaf_keys(compose("config"))


if __name__ == "__main__":
    main()
