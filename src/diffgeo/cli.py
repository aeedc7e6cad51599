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
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING

import hydra
from hydra.core.hydra_config import HydraConfig
from hydra.errors import HydraException, MissingConfigException, OverrideParseException
from hydra.types import RunMode
from omegaconf import DictConfig
from omegaconf.errors import OmegaConfBaseException

from diffgeo.completion import candidates, script
from diffgeo.config import Config, config_folder, leaf_keys, nearest, register, typed
from diffgeo.errors import ConfigError, DiffgeoError, OutputError
from diffgeo.help import help_text, topic_text, version_text
from diffgeo.team import is_first

if TYPE_CHECKING:
    from diffgeo.planning import Plan, Speed

__all__ = ["main", "quoted_prompts", "worded_errors"]

INTERRUPTED = 130
PROMPTS = ("prompt", "model.prompt", "model.negative_prompt", "model.edit_prompt")
UNWRITABLE = {
    getattr(errno, name)
    for name in ("EACCES", "EDQUOT", "EEXIST", "EFBIG", "EIO", "ENOENT", "ENOSPC", "ENOTDIR", "EPERM", "EROFS")
    if hasattr(errno, name)
}
"""What the system says when a run folder cannot be written."""

HYDRA_FLAGS = (
    *("--help", "--version", "--dry-run", "--multirun", "-m", "--run", "-r", "--cfg", "-c", "--resolve", "--package"),
    *("-p", "--hydra-help", "--shell-completion", "-sc", "--config-path", "-cp", "--config-name", "-cn"),
    *("--config-dir", "-cd", "--experimental-rerun", "--info", "-i", "-h"),
)
"""Flags of ours and of Hydra 1.3."""
FLAG_VALUES: dict[str, tuple[str, ...]] = {
    **dict.fromkeys(("--cfg", "-c"), ("job", "hydra", "all")),
    **dict.fromkeys(("--package", "-p", "--config-path", "-cp", "--config-name", "-cn", "--config-dir", "-cd"), ()),
    "--experimental-rerun": (),
}
"""Flags that a value follows, with the possible ones."""
_SILENT = [
    *(f"hydra.{key}" for key in ("output_subdir=null", "run.dir=.", "sweep.dir=.", "sweep.subdir=.")),
    "hydra/job_logging=none",
]
"""Settings of processes that help the first one: they leave no folder and no log."""

_plans: list[tuple[str, Plan]] | None = None
"""With ``--dry-run``, the plans of the jobs so far."""
_planned_with: Speed | None = None
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
        if _plans is not None:
            _plan(settings, " ".join(hydra_cfg.overrides.task) if hydra_cfg.mode == RunMode.MULTIRUN else "")
            return
        from diffgeo.runner import execute

        execute(settings, folder)
        if is_first():
            print(folder)


def _plan(settings: Config, title: str) -> None:
    """Plan a job instead of running it."""
    from diffgeo.planning import plan

    global _planned_with
    assert _plans is not None
    found, _planned_with = plan(settings, _planned_with)
    _plans.append((title, found))


@contextmanager
def _dry_run(words: list[str]) -> Iterator[None]:
    """With ``--dry-run``, have Hydra's jobs planned instead of run, without a folder; print the plans at the end."""
    global _plans, _planned_with
    if "--dry-run" not in words:
        yield
        return
    if any(word.startswith("hydra/sweeper=") for word in words):
        raise ConfigError("--dry-run lists the jobs of a grid; a sweeper chooses its own, so leave out hydra/sweeper=")
    words[:] = [word for word in words if word != "--dry-run" and not word.startswith(("hydra/launcher=", "hydra."))]
    with TemporaryDirectory() as folder:  # a sweep writes its settings, wherever it is told to
        words += [*_SILENT, "hydra/hydra_logging=none", f"hydra.sweep.dir={folder}"]
        _plans, _planned_with = [], None
        try:
            yield
            if _plans:
                from diffgeo.planning import show

                show(_plans)
        finally:
            _plans = _planned_with = None


def main() -> None:
    """Entry point of the console command."""
    with worded_errors():
        answered = _answered(sys.argv[1:])
        sys.stdout.flush()  # a reader that went away shows here, not when Python ends
    if answered:
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
            words = _ordered(sys.argv[1:])
            with _dry_run(words):
                sys.argv[1:] = words
                hydra.main(version_base="1.3", config_path=str(config_folder()), config_name="config")(_job)()
        finally:
            if not _traceback:
                del os.environ["HYDRA_FULL_ERROR"]


def _answered(words: Sequence[str]) -> bool:
    """Answer what needs no Hydra: help, the version, most of shell completion."""
    topics = [word for word in words if word not in ("--help", "-h")]
    if len(topics) < len(words):
        conf = config_folder()
        print("\n".join(topic_text(conf, topic) for topic in topics) if topics else help_text(conf), end="")
    elif "--version" in words:
        print(version_text("diffgeo"))
    elif {"--shell-completion", "-sc"} & set(words):
        asked = next((word for word in words if not word.startswith("-")), "")
        line = os.environ.setdefault("COMP_LINE", "diffgeo ")
        if not asked.startswith("query="):
            print(script("diffgeo", asked.removeprefix("install=")), end="")
        elif found := candidates(line.split()[-1] if line.strip() and not line[-1].isspace() else ""):
            print(" ".join(found))
        else:
            return False
    else:
        return False
    return True


def _ordered(words: Sequence[str]) -> list[str]:
    """The command line with ``-m`` first, as Hydra's parser reads no words on both sides of it.

    Raises:
        ConfigError: a flag that does not exist or lacks its value, or a word that is no ``key=value``; that parser
            would answer with a page of its own.
    """
    before = ""
    for word in [*words, ""]:
        flag = word.partition("=")[0]
        if before in FLAG_VALUES:
            allowed = FLAG_VALUES[before]
            if not word or word.startswith("-") or (allowed and word not in allowed):
                raise ConfigError(f"{before} {word} is not possible; say {before} {'|'.join(allowed) or 'VALUE'}")
        elif flag.startswith("-") and flag not in HYDRA_FLAGS:
            guess = nearest(flag, list(HYDRA_FLAGS))
            raise ConfigError(
                f"there is no flag {flag}; " + (f"did you mean {guess}?" if guess else "see diffgeo --help")
            )
        elif word and not word.startswith(("-", "~")) and "=" not in word and before not in ("--info", "-i"):
            group = (config_folder() / word).is_dir()
            how = f"{word}=CHOICE, see diffgeo --help {word}" if group else f"{word}=VALUE, see diffgeo --help"
            raise ConfigError(f"{word} has no value; say {how}")
        before = word
    many = ("-m", "--multirun")
    return [*(word for word in words if word in many), *(word for word in words if word not in many)]


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
        what, advice = (" ".join(part.split("\n")) for part in (what, advice or "see --help"))
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
            f"cannot write{where} ({error.strerror or error}); make room there, or choose another folder: "
            "hydra.run.dir= of diffgeo, out= or path= of the others"
        )
    if isinstance(error, ValueError) and not isinstance(error, OmegaConfBaseException):
        if str(error).startswith("Only one of --run"):
            return ConfigError(f"these flags exclude each other; {str(error)[0].lower()}{str(error)[1:]}")
        if "Config group override" not in str(error):
            return None
        return ConfigError(f"a group takes the name of a choice ({error})\nSee `diffgeo --help` for all choices.")
    cause = error.__cause__ if isinstance(error.__cause__, OmegaConfBaseException) else error
    unknown = re.search(r"Could not override '([^']+)'", str(error)) or re.search(r"full_key: (\S+)", str(cause))
    if unknown and "not in" in str(cause):
        return _unknown_key(unknown.group(1))
    if isinstance(error, OverrideParseException):
        return ConfigError(
            f"cannot read {error.override}\nWrite key=value, and quote what holds spaces, commas or brackets of its "
            "own: prompt=\"'a, b'\"."
        )
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
