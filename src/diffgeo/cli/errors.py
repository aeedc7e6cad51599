"""Errors in two lines, what is wrong and what to do, with an exit code a kind (see :mod:`diffgeo.errors`).

After a signal (Ctrl-C: 130) the code is 128 + its number. ``HYDRA_FULL_ERROR=1`` shows the traceback instead.
"""

from __future__ import annotations

import errno
import logging
import os
import re
import sys
import traceback
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import hydra
from hydra.errors import HydraException, MissingConfigException, OverrideParseException
from omegaconf.errors import OmegaConfBaseException

from diffgeo.cli.help import choices
from diffgeo.cli.line import quoted_word, valid_keys
from diffgeo.composition import unreadable_words
from diffgeo.config import config_folder, nearest
from diffgeo.encoding import tolerate
from diffgeo.errors import ConfigError, DiffgeoError, OutputError
from diffgeo.signals import Ended, end_if_told

EXPECTED = (DiffgeoError, HydraException, OmegaConfBaseException, OSError, ValueError)
"""Errors that can be worded."""
UNWRITABLE = {
    getattr(errno, name)
    for name in (
        "EACCES",
        "EDQUOT",
        "EEXIST",
        "EFBIG",
        "EIO",
        "ENAMETOOLONG",
        "ENOENT",
        "ENOSPC",
        "ENOTDIR",
        "EPERM",
        "EROFS",
    )
    if hasattr(errno, name)
}
"""What the system says when a run folder cannot be written."""
MOST = 1000
"""Characters of a message's either end that are shown at most."""
PLUGINS = {
    "hydra/launcher/joblib": "joblib",
    "hydra/launcher/submitit_local": "submitit",
    "hydra/launcher/submitit_slurm": "submitit",
    "hydra/launcher/ray": "ray",
    "hydra/sweeper/optuna": "optuna",
}
"""Choices of Hydra's plugins, and the extra that each comes with."""
_traceback = False
"""Whether the user asked for tracebacks: what HYDRA_FULL_ERROR said before it was set for Hydra's sake."""


def heed_environment() -> None:
    """Read whether the user wants tracebacks, and heed what the terminal can show; once, where a command begins."""
    global _traceback
    tolerate()
    _traceback = os.environ.get("HYDRA_FULL_ERROR") == "1"
    # torch sets this itself, but only when it is imported to the end, and else tells of its caches as the process ends
    logging.getLogger("torch").setLevel(logging.WARNING)
    os.environ["MPLBACKEND"] = "agg"  # whatever it was, perhaps no backend at all: commands only write files


def traceback_wanted() -> bool:
    """Whether the user asked for tracebacks."""
    return _traceback


@contextmanager
def worded_errors(
    expected: tuple[type[Exception], ...] | None = None, *, interrupted: Callable[[], str] = lambda: "Interrupted."
) -> Iterator[None]:
    """Turn errors into two lines on stderr and an exit code, unless a traceback was asked for.

    Args:
        expected: errors to print in two lines; others pass through. None prints all, unforeseen ones by their class.
        interrupted: gives what to say after Ctrl-C.
    """
    kinds = (Exception,) if expected is None else expected
    try:
        try:
            yield
        except Exception:
            end_if_told()  # what a signal left half-done may fail in any way
            raise
    except KeyboardInterrupt as error:
        with suppress(OSError):  # a terminal that hung up
            print(interrupted(), file=sys.stderr)
        raise SystemExit(error.exit_code if isinstance(error, Ended) else Ended().exit_code) from None
    except BrokenPipeError:  # the reader went away: diffgeo --cfg job | head
        sys.stderr.close()
        raise SystemExit(1) from None
    except kinds as error:
        known = explain(error) if isinstance(error, EXPECTED) else _of_hydras_code(error)
        if _traceback or (known is None and expected is not None):
            raise
        what, advice = (known.what, known.advice) if known else _unforeseen(error)
        what, advice = (_shortened(" ".join(text.split("\n"))) for text in (what, advice))
        print(f"Error: {what}\n{advice[:1].upper()}{advice[1:]}", file=sys.stderr)
        raise SystemExit(known.exit_code if known else 1) from None


def _shortened(text: str) -> str:
    """A line that fits a screen, whatever was typed; cut in its middle."""
    return text if len(text) <= 2 * MOST else f"{text[:MOST]} … {text[-MOST:]}"


def _of_hydras_code(error: Exception) -> DiffgeoError | None:
    """The wording of an error that Hydra's own code raised of the words; None if other code did."""
    last = traceback.extract_tb(error.__traceback__)[-1:]
    folder = Path(str(hydra.__file__)).parent
    return unreadable_words(error) if last and folder in Path(last[0].filename).parents else None


def _unforeseen(error: Exception) -> tuple[str, str]:
    """An error that has no wording of its own: its name, its first line and where it was raised."""
    frames = traceback.extract_tb(error.__traceback__)
    ours = [frame for frame in frames if Path(__file__).parents[1] in Path(frame.filename).parents]
    where = f" (in {Path(ours[-1].filename).name}, line {ours[-1].lineno})" if ours else ""
    first = next(iter(str(error).splitlines()), "")
    return (
        f"{type(error).__name__}{': ' if first else ''}{first}{where}",
        "this should have been worded better; its traceback is in the run's run.json, or say HYDRA_FULL_ERROR=1, and "
        "belongs into a bug report",
    )


def explain(error: Exception) -> DiffgeoError | None:
    """Word any expected error as one of ours, settings compared with the valid ones; None for the unexpected."""
    if isinstance(error, DiffgeoError):
        return error
    if isinstance(error, MissingConfigException):  # an OSError, too
        return _unknown_choice(str(error))
    if isinstance(error, OSError):
        if error.errno == errno.ENAMETOOLONG:
            return ConfigError(f"{error.filename or 'a file'} is too long a name for a file", "give a shorter one")
        if error.errno not in UNWRITABLE:
            return None
        where = f" {error.filename}" if error.filename else ""
        return OutputError(
            f"cannot write{where} ({error.strerror or error})",
            "make room there, or choose another folder: hydra.run.dir= of diffgeo, out= or path= of the others",
        )
    if isinstance(error, ValueError) and not isinstance(error, OmegaConfBaseException):
        if str(error).startswith("Only one of --run"):
            return ConfigError("these flags exclude each other", f"{str(error)[0].lower()}{str(error)[1:]}")
        if no_number := re.match(r"invalid literal for int\(\) with base 10: '(.+)'", str(error)):
            return _in_a_list(no_number[1])
        if "Config group override" not in str(error):
            return None
        return ConfigError(f"a group takes the name of a choice ({error})", "see `diffgeo --help` for all choices")
    cause = error.__cause__ if isinstance(error.__cause__, OmegaConfBaseException) else error
    unknown = re.search(r"Could not override '([^']+)'", str(error)) or re.search(r"full_key: (\S+)", str(cause))
    if unknown and "not in" in str(cause):
        return _unknown_key(unknown.group(1))
    if isinstance(error, OverrideParseException):
        return _unreadable(str(error.override))
    if several := re.match(r"Ambiguous value for argument '(.*)'", str(error)):
        key, _, value = several[1].partition("=")
        return ConfigError(
            f"{several[1]} is several values, of which a run takes one",
            f"if it is one text, say {quoted_word(several[1])}, if a list, {key}=[{value}], and -m makes a run of each",
        )
    first, *rest = str(cause).splitlines()
    name = next((line.split(": ", 1)[1] for line in rest if "full_key" in line), "")
    given = next((word for word in sys.argv[1:] if word.lstrip("+").startswith(f"{name}=")), "")
    if given and re.match(r"Cannot convert '(list|dict)' to string", first):
        return ConfigError(
            f"{name} takes a text, and {given} is read as a list or mapping", f"say {quoted_word(given)}"
        )
    if name:
        return ConfigError(f"{name}: {first}", "see `diffgeo --help` for keys and values")
    return _of_hydra(str(error))


def _in_a_list(name: str) -> ConfigError | None:
    """A word that sets a name inside of a list, which OmegaConf takes for an item's number; None if there is none."""
    keys = [word.partition("=")[0].lstrip("+~") for word in sys.argv[1:]]
    inside = next((key.rpartition(".")[0] for key in keys if key.endswith(f".{name}")), None)
    return ConfigError(f"{inside} is a list and has no {name}", f"give all of it: {inside}=[…]") if inside else None


def _of_hydra(message: str) -> ConfigError:
    """What Hydra says in words of its own, often with its advice on further lines."""
    what, _, advice = message.strip().partition("\n")
    return ConfigError(what, " ".join(advice.split()) or "see `diffgeo --help` for keys and values")


def _unreadable(word: str) -> ConfigError:
    key, equals, value = word.partition("=")
    closed = all(value.count(left) == value.count(right) for left, right in ("()", "[]", "{}"))
    if not key or not equals or not value or not closed:
        return ConfigError(f"cannot read {word}", "write key=value, with every bracket and quote closed")
    return ConfigError(
        f"cannot read {word}",
        f"quote what holds brackets, commas or = of its own, for Hydra and for the shell: {quoted_word(word)}",
    )


def _unknown_key(key: str) -> ConfigError:
    guess = nearest(key, valid_keys())
    return ConfigError(
        f"there is no setting {key}", f"did you mean {guess}?" if guess else "see `diffgeo --help` for all keys"
    )


def _unknown_choice(message: str) -> ConfigError:
    found = re.search(r"Could not (?:find|load) '([^']+)'", message)
    if not found:
        return _of_hydra(message)
    name = found.group(1)
    if name in PLUGINS:
        return ConfigError(f"{name} is not installed", f"install it: pip install 'diffgeo[{PLUGINS[name]}]'")
    group, _, choice = name.rpartition("/") if name.startswith("hydra/") else name.partition("/")
    known = choices(config_folder(), group) if choice and (config_folder() / group).is_dir() else []
    if not known:
        return ConfigError(f"there is no configuration {name}", "see `diffgeo --help` for all choices")
    guess = nearest(choice, known)
    hint = f"did you mean {guess}? Choices: " if guess else "choices: "
    return ConfigError(f"{group}={choice} is no choice of {group}", f"{hint}{', '.join(known)}")
