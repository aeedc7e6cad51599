"""The command ``diffgeo``: Hydra around :func:`diffgeo.runner.run.execute`.

Errors are printed in two lines, what is wrong and what to do, with an exit code a kind (see ``errors``); after a
signal (Ctrl-C: 130) the code is 128 + its number. ``HYDRA_FULL_ERROR=1`` shows the traceback instead. Heavy imports
wait until a job starts.
"""

from __future__ import annotations

import errno
import json
import os
import re
import shlex
import sys
import traceback
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from itertools import count
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any

import hydra
from hydra.conf import HydraConf
from hydra.core.hydra_config import HydraConfig
from hydra.errors import HydraException, MissingConfigException, OverrideParseException
from hydra.experimental.callback import Callback
from hydra.types import RunMode
from omegaconf import DictConfig, OmegaConf, open_dict, read_write
from omegaconf.errors import OmegaConfBaseException

from diffgeo.cli.completion import candidates, script
from diffgeo.cli.help import choices, help_text, topic_text, version_text
from diffgeo.composition import at_home, check, register, typed
from diffgeo.config import Config, config_folder, heed_wandb, leaf_keys, nearest
from diffgeo.convergence import Convergence, summary
from diffgeo.encoding import tolerate, tolerate_logs
from diffgeo.ending import Ended, signals_end
from diffgeo.errors import ConfigError, DiffgeoError, ObjectiveError, OutputError
from diffgeo.session.processes import is_first

if TYPE_CHECKING:
    from diffgeo.runner.dry_run import Planner

__all__ = ["main", "quoted_prompts", "quoted_word", "worded_errors"]

KEPT = "Interrupted: what was finished is in the run folder."
PROMPTS = ("prompt", "model.prompt", "model.negative_prompt", "model.edit_prompt")
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
LONGEST_KEY = 200
"""Characters; no setting has a longer key, and the file system could not look for a group of that name."""

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

SWEEPS = ("grid", "search")
"""Groups that only make sense in a multirun."""
PLUGINS = {
    "hydra/launcher/joblib": "joblib",
    "hydra/launcher/submitit_local": "submitit",
    "hydra/launcher/submitit_slurm": "submitit",
    "hydra/launcher/ray": "ray",
    "hydra/sweeper/optuna": "optuna",
}
"""Choices of Hydra's plugins, and the extra that each comes with."""

_dry = False
"""Whether ``--dry-run`` has jobs planned instead of run."""
_planner: Planner | None = None
"""What plans them, from the first one on."""
_traceback = False
"""Whether the user asked for tracebacks: what HYDRA_FULL_ERROR said before it was set for Hydra's sake."""


class NewFolder(Callback):
    """Makes the folder of a run or sweep, if the clock names it: a new one, also for those that start in one second.

    A folder that the user names without ``${now:…}`` is taken as it is, and used again. ``conf/config.yaml`` puts this
    into Hydra, which calls it in the process that the user started, before any job; a sweep's jobs are told the folder
    as a word of the command line, wherever they run.
    """

    def on_run_start(self, config: DictConfig, **_: Any) -> None:
        """Make a single run's folder."""
        self._make(config, "run")

    def on_multirun_start(self, config: DictConfig, **_: Any) -> None:
        """Make a sweep's folder."""
        folder = self._make(config, "sweep")
        if folder is not None:
            escaped = re.sub(r"(\\+)(?='|$)", r"\1\1", folder).replace("'", "\\'")
            with read_write(config.hydra.overrides):
                config.hydra.overrides.hydra.append(f"hydra.sweep.dir='{escaped}'")

    def _make(self, config: DictConfig, kind: str) -> str | None:
        """Make a folder and say so in Hydra's settings; None if the clock does not name it or it cannot be made."""
        node = config.hydra[kind]
        if "${now:" not in str(OmegaConf.to_container(node, resolve=False)["dir"]):  # type: ignore[call-overload,index]
            return None
        named = Path(node.dir)
        try:
            named.parent.mkdir(parents=True, exist_ok=True)
            folder = next(folder for folder in _numbered(named) if _made(folder))
        except OSError:
            return None  # Hydra meets the same and words it
        with read_write(node), open_dict(node):
            node.dir = str(folder)
        return str(folder)


def _numbered(folder: Path) -> Iterator[Path]:
    """A folder's name, then the same with -2, -3 and so on."""
    yield folder
    for number in count(2):
        yield folder.with_name(f"{folder.name}-{number}")


def _made(folder: Path) -> bool:
    """Whether this process made the folder, and no other."""
    try:
        folder.mkdir()
    except FileExistsError:
        return False
    return True


class SweepSummary(Callback):
    """Says at the end of a sweep what became of its jobs, however it ended; ``conf/config.yaml`` puts it into Hydra."""

    folder: Path | None = None
    """Of the sweep in hand, in the process that started it."""

    def on_multirun_start(self, config: DictConfig, **_: Any) -> None:
        """Remember where the sweep goes."""
        SweepSummary.folder = Path(config.hydra.sweep.dir) if is_first() else None

    @classmethod
    def show(cls) -> None:
        """Print it, on stderr; nothing where no job began."""
        folder, cls.folder = cls.folder, None
        if folder is None:
            return
        from diffgeo.runner.sweeping import outcomes

        jobs = outcomes(folder)
        words = {path.parts[-3]: OmegaConf.load(path) for path in folder.glob("*/.hydra/overrides.yaml")}
        common = set.intersection(*map(set, words.values())) if len(words) > 1 else set()
        for job, status, error in jobs:
            if status != "completed":
                own = ", ".join(str(word) for word in words.get(job, ()) if word not in common)
                print(f"Job {job} {status} ({own}){': ' if error else ''}{error}", file=sys.stderr)
        if missed := [job for job, *_ in jobs if unconverged(folder / job)]:
            print(f"Jobs with local bases that missed svd.tol or svd.share: {', '.join(missed)}", file=sys.stderr)
        if jobs:
            done = sum(status == "completed" for _, status, _ in jobs)
            print(f"{done} of {len(jobs)} jobs completed; compare: diffgeo-report {folder}", file=sys.stderr)


def _job(cfg: DictConfig) -> float | list[float] | None:
    """Run one job; returns its objective.

    Errors of a single run are worded here: past this frame Hydra would add lines of its own. Those of a sweep go to
    Hydra, which lets the other jobs run and raises the first one at the end; only an objective that the runs do not
    have, or Ctrl-C, stops all.
    """
    hydra_cfg = HydraConfig.get()
    swept = hydra_cfg.mode == RunMode.MULTIRUN
    tolerate_logs()
    os.chdir(hydra_cfg.runtime.cwd)  # hydra.job.chdir=true left it, and paths are meant from where they were typed
    with worded_errors((ObjectiveError,) if swept else EXPECTED, interrupted=KEPT):
        settings = typed(cfg)
        heed_wandb(settings, hydra_cfg.overrides.task, os.environ)
        folder = Path(hydra_cfg.runtime.output_dir)
        _check(settings, folder)
        named = [f"{group} {choice}" for group in SWEEPS if (choice := hydra_cfg.runtime.choices.get(group))]
        # W&B's agent starts runs one by one; a job's page shows its own command, with what was swept
        if named and not swept and "WANDB_SWEEP_ID" not in os.environ and not _says_what_is_swept(hydra_cfg):
            chosen = named[0].replace(" ", "=")
            raise ConfigError(f"{chosen} is a sweep of many runs", f"say diffgeo -m {chosen}")
        if swept and settings.tracking.group is None:
            what = " ".join(named) or "sweep"
            settings.tracking.group = f"{what} {' '.join(Path(hydra_cfg.sweep.dir).parts[-2:])}"
        if swept and settings.tracking.name is None and settings.tracking.backend != "none":
            from diffgeo.runner.tracking import job_name

            settings.tracking.name = job_name(hydra_cfg.overrides.task, sys.argv) or None
        if _dry:
            _plan(" ".join(hydra_cfg.overrides.task) if swept else "", settings)
            return None
        try:
            scalars = _scalars(settings, folder, hydra_cfg, swept)
        finally:
            if is_first() and (warning := unconverged(folder)):
                print(f"Warning: {warning}.", file=sys.stderr)
        if not is_first():
            return None
        page = folder / "report.html"
        print(page if page.is_file() else folder)
        if settings.objective is None:
            return None
        from diffgeo.runner.sweeping import objective

        return objective(scalars, settings.objective)


def _check(settings: Config, folder: Path) -> None:
    """Refuse settings out of range before torch is imported, which takes seconds; ``run.json`` says why."""
    try:
        check(settings)
    except DiffgeoError as error:
        if is_first() and not _dry:
            from diffgeo.runner.sweeping import say_refused

            say_refused(settings, folder, error)
        raise


def unconverged(folder: Path) -> str:
    """Which studies of a run rest on local bases that missed their tolerance; empty if none does."""
    try:
        return summary(Convergence.read(json.loads((folder / "run.json").read_text(encoding="utf-8"))))
    except (AttributeError, OSError, TypeError, ValueError):  # the run did not begin; perhaps another program's file
        return ""


def _says_what_is_swept(hydra_cfg: HydraConf) -> bool:
    """Whether the command line itself has a value for every key that the chosen sweep varies."""
    said = {word.partition("=")[0].lstrip("+") for word in hydra_cfg.overrides.task}
    swept = hydra_cfg.sweeper.get("params") or {}
    return bool(swept) and said.issuperset(swept)


def _scalars(settings: Config, folder: Path, hydra_cfg: HydraConf, swept: bool) -> dict[str, dict[str, float]]:
    """Execute a run, here or in a process of its own, as ``retries`` says."""
    retries = settings.retries
    if retries is None:
        retries = int(hydra_cfg.runtime.choices.get("hydra/launcher") != "basic")
    if swept and retries:
        from diffgeo.runner.sweeping import run_isolated

        logs: Any = OmegaConf.to_container(hydra_cfg.job_logging, resolve=True)
        return run_isolated(settings, folder, logs, retries=retries)
    from diffgeo.runner.run import execute

    return execute(settings, folder)[0]


@contextmanager
def _dry_run(words: list[str]) -> Iterator[None]:
    """With ``--dry-run``, have Hydra's jobs planned instead of run, without a folder; print the plans at the end."""
    global _dry, _planner
    if "--dry-run" not in words:
        yield
        return
    if any(word.startswith(("hydra/sweeper=", "search=")) for word in words):
        raise ConfigError("--dry-run lists the jobs of a grid, and a search chooses its own", "leave it out")
    engine = ("--dry-run", "hydra/launcher=", "hydra.")
    words[:] = [word for word in words if not word.startswith(engine) or word.startswith("hydra.searchpath=")]
    with TemporaryDirectory() as folder:  # a sweep writes its settings, wherever it is told to
        words += [*_SILENT, "hydra/hydra_logging=none", f"hydra.sweep.dir={folder}"]
        _dry = True
        try:
            yield
            if _planner is not None:
                _planner.show()
        finally:
            _dry, _planner = False, None


def _plan(title: str, settings: Config) -> None:
    """Plan a job; the first one imports torch."""
    global _planner
    if _planner is None:
        from diffgeo.runner.dry_run import Planner

        _planner = Planner(Path("outputs"))
    _planner.add(title, settings)


def heed_environment() -> None:
    """Read whether the user wants tracebacks, and heed what the terminal can show; once, where a command begins."""
    global _traceback
    tolerate()
    _traceback = os.environ.get("HYDRA_FULL_ERROR") == "1"
    os.environ["MPLBACKEND"] = "agg"  # whatever it was, perhaps no backend at all: commands only write files


def main() -> None:
    """Entry point of the console command."""
    heed_environment()
    with worded_errors(), signals_end():
        _main()


def _main() -> None:
    with worded_errors():
        answered = _answered(sys.argv[1:])
        sys.stdout.flush()  # a reader that went away shows here, not when Python ends
    if answered:
        return
    sys.argv[1:] = quoted_prompts(at_home(sys.argv[1:]))
    if not is_first():
        sys.argv += _SILENT
    os.environ.setdefault("WANDB_SILENT", "true")
    register()
    # Hydra would print its own wording and exit; with this it raises, and the error is worded here
    os.environ["HYDRA_FULL_ERROR"] = "1"
    with worded_errors(interrupted=KEPT):
        try:
            words = _ordered(sys.argv[1:])
            with _dry_run(words):
                sys.argv[1:] = words
                hydra.main(version_base="1.3", config_path=str(config_folder()), config_name="config")(_job)()
        finally:
            SweepSummary.show()
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
    """The command line with its flags first, as Hydra's parser reads no words on both sides of one.

    Raises:
        ConfigError: a flag that does not exist or lacks its value, or a word that is no ``key=value``; that parser
            would answer with a page of its own.
    """
    before = ""
    for word in [*words, ""]:
        flag = word.partition("=")[0]
        if len(flag) > LONGEST_KEY:
            raise ConfigError(f"{flag[:40]}… is a key of {len(flag)} characters", "write key=value, see diffgeo --help")
        if before in FLAG_VALUES:
            allowed = FLAG_VALUES[before]
            if not word or word.startswith("-") or (allowed and word not in allowed):
                raise ConfigError(f"{before} {word} is not possible", f"say {before} {'|'.join(allowed) or 'VALUE'}")
        elif flag.startswith("-") and flag not in HYDRA_FLAGS:
            raise _unknown_flag(word, words)
        elif word and not word.startswith(("-", "~")) and "=" not in word and before not in ("--info", "-i"):
            group = (config_folder() / word).is_dir()
            how = f"{word}=CHOICE, see diffgeo --help {word}" if group else f"{word}=VALUE, see diffgeo --help"
            raise ConfigError(f"{word} has no value", f"say {how}")
        before = word
    flags: list[str] = []
    rest: list[str] = []
    last: list[str] = []
    following = iter(words)
    for word in following:
        if word in ("--info", "-i"):  # the word after it may be its value
            last.append(word)
        elif word.startswith("-"):
            flags += [word, next(following)] if word in FLAG_VALUES else [word]
        else:
            (last if last[-1:] in (["--info"], ["-i"]) and "=" not in word else rest).append(word)
    return [*flags, *rest, *last]


def _unknown_flag(word: str, words: Sequence[str]) -> ConfigError:
    """What ``--seed 3`` or ``--dry`` is answered: the setting or the flag that is meant."""
    flag, equals, value = word.partition("=")
    keys = [*_valid_keys(), *(path.name for path in config_folder().iterdir() if path.is_dir())]
    flags = {known.lstrip("-"): known for known in HYDRA_FLAGS if known.startswith("--")}
    meant = nearest(flag.lstrip("-"), [*flags, *keys])
    if meant is None:
        return ConfigError(f"there is no flag {flag}", "see diffgeo --help")
    if meant in flags:
        return ConfigError(f"there is no flag {flag}", f"did you mean {flags[meant]}?")
    after = next(iter(words[words.index(word) + 1 :]), "")
    value = value if equals else after if after and not after.startswith("-") and "=" not in after else "VALUE"
    return ConfigError(f"there is no flag {flag}", f"settings are words without dashes: {meant}={value}")


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
        quoted.append(f"{key}={_as_text(value)}" if plain else word)
    return quoted


def _as_text(value: str) -> str:
    """A value in the quotes of Hydra's grammar, where a backslash is one of its own except before a quote."""
    escaped = re.sub(r"(\\+)(?='|$)", r"\1\1", value).replace("'", "\\'")
    return f"'{escaped}'"


def quoted_word(word: str) -> str:
    """``key=value`` as a shell has to be told it, so that Hydra reads the value, or a list's items, as plain text."""
    key, _, value = word.partition("=")
    inner = value[1:-1] if value[:1] == "[" and value[-1:] == "]" else ""
    items = [item if item[:1] in ("'", '"') else _as_text(item) for item in inner.split(",")] if "," in inner else []
    said = f"{key}=[{','.join(items)}]" if items else f"{key}={_as_text(value)}"
    return shlex.quote(said) if set(said) & set('"$`\\!') else f'"{said}"'


EXPECTED = (DiffgeoError, HydraException, OmegaConfBaseException, OSError, ValueError)


@contextmanager
def worded_errors(
    expected: tuple[type[Exception], ...] | None = None, *, interrupted: str = "Interrupted."
) -> Iterator[None]:
    """Turn errors into two lines on stderr and an exit code, unless a traceback was asked for.

    Args:
        expected: those to word; all when None, those that nobody expects as what they are.
        interrupted: what to say after Ctrl-C.
    """
    kinds = (Exception,) if expected is None else expected
    try:
        yield
    except KeyboardInterrupt as error:
        with suppress(OSError):  # a terminal that hung up
            print(interrupted, file=sys.stderr)
        raise SystemExit(error.exit_code if isinstance(error, Ended) else Ended().exit_code) from None
    except BrokenPipeError:  # the reader went away: diffgeo --cfg job | head
        sys.stderr.close()
        raise SystemExit(1) from None
    except kinds as error:
        known = explain(error) if isinstance(error, EXPECTED) else None
        if _traceback or (known is None and expected is not None):
            raise
        what, advice = (known.what, known.advice) if known else _unforeseen(error)
        what, advice = (_shortened(" ".join(text.split("\n"))) for text in (what, advice))
        print(f"Error: {what}\n{advice[:1].upper()}{advice[1:]}", file=sys.stderr)
        raise SystemExit(known.exit_code if known else 1) from None


def _shortened(text: str) -> str:
    """A line that fits a screen, whatever was typed; cut in its middle."""
    return text if len(text) <= 2 * MOST else f"{text[:MOST]} … {text[-MOST:]}"


def _unforeseen(error: Exception) -> tuple[str, str]:
    """What nobody has worded: its name, its first line and where it was raised."""
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
    guess = nearest(key, _valid_keys())
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
