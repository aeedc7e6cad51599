"""Jobs of a sweep: each in a process of its own where workers share the machine, its objective, and what became of all.

Engines that run jobs (joblib, submitit, Ray) are Hydra's launchers; none of them brings back a job whose process the
system killed. So the worker keeps to Hydra, and the job computes in a child: a child that dies takes no other with it,
is started once more, and finds in the store what it had finished.
"""

from __future__ import annotations

import json
import logging
import logging.config
import math
import os
import pickle
import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict
from fnmatch import fnmatchcase
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, TypeVar

from diffgeo.config import Config, Plain, nearest
from diffgeo.encoding import tolerate, tolerate_logs
from diffgeo.errors import DiffgeoError, ObjectiveError, OutputError, ValueRangeError, WorkerError, error_facts
from diffgeo.run_folders import PAGE, earlier_files, held
from diffgeo.signals import signals_end

log = logging.getLogger(__name__)
T = TypeVar("T")
QUESTION, ANSWER = "question.pkl", "answer.pkl"
Scalars = dict[str, dict[str, float]]


def run_isolated(cfg: Config, folder: Path, logs: Mapping[str, Any], *, retries: int) -> Scalars:
    """Run the studies as :func:`diffgeo.runner.run.execute` does, in a child process.

    Args:
        cfg: typed settings.
        folder: the run folder.
        logs: where the child logs to, as ``logging.config`` has it.
        retries: how often the run starts again after its process died.

    Returns:
        Scalars by study.

    Raises:
        WorkerError: the process died every time; ``run.json`` says so.
        DiffgeoError: as ``execute``.
    """
    try:
        return isolated(_execute, cfg, folder, logs, retries=retries)
    except WorkerError as error:
        say_failed(cfg, folder, error)
        raise


def isolated(work: Callable[..., T], *arguments: Any, retries: int) -> T:
    """Call ``work(*arguments)`` in a child process, again while it dies.

    A plain subprocess: joblib's workers cannot have children by ``multiprocessing``.

    Args:
        work: can be pickled, and so can its arguments and what it returns or raises.
        arguments: given to it.
        retries: calls after the first one.

    Returns:
        What it returns; what it raises is raised here.

    Raises:
        WorkerError: the process died at every call.
    """
    died = ""
    with TemporaryDirectory(prefix="diffgeo-job-") as name:
        (Path(name) / QUESTION).write_bytes(pickle.dumps((work, arguments)))
        for left in reversed(range(retries + 1)):
            code = _wait(
                subprocess.Popen([sys.executable, "-m", "diffgeo.runner.sweeping", name], stdin=subprocess.PIPE)
            )
            if (Path(name) / ANSWER).is_file():
                answer = pickle.loads((Path(name) / ANSWER).read_bytes())
                if isinstance(answer, BaseException):
                    raise answer
                result: T = answer
                return result
            died = _cause(code)
            log.warning("the job's process %s%s", died, "; it starts again" if left else "")
    times = "" if retries == 0 else f" at each of {retries + 1} tries"
    raise WorkerError(
        f"the job's process {died}{times}",
        "if memory ran out, run fewer jobs at a time or lower feature.chunk_size, "
        "then give the same command: what was finished is in the store",
    )


def _wait(child: subprocess.Popen[bytes]) -> int:
    """Exit code of a child, which does not outlive a worker that is told to stop."""
    try:
        return child.wait()
    except KeyboardInterrupt:  # the child finishes what it has in hand; perhaps only we were told
        child.terminate()
        child.wait()
        raise
    except BaseException:
        child.terminate()
        raise


def _end_with_worker() -> None:
    """In the child: stop as after SIGTERM when the worker is gone, killed perhaps; its end of our stdin closes then."""
    signal.signal(signal.SIGTERM, signal.default_int_handler)  # the worker's word, even if it ignores SIGTERM itself

    def watch() -> None:
        while os.read(sys.stdin.fileno(), 1):  # not through a buffer, whose lock Python needs when it ends
            pass
        signal.pthread_kill(threading.main_thread().ident or 0, signal.SIGTERM)  # wakes it from waiting, too

    threading.Thread(target=watch, daemon=True).start()


def _answer(folder: Path) -> None:
    """What the child does."""
    tolerate()
    try:
        _end_with_worker()
        with signals_end():
            work, arguments = pickle.loads((folder / QUESTION).read_bytes())
            answer = work(*arguments)
    except BaseException as error:
        if not isinstance(error, DiffgeoError | KeyboardInterrupt):
            log.exception("the job failed")  # its traceback stays here
        answer = _portable(error)
    temporary = folder / f".{ANSWER}"
    temporary.write_bytes(pickle.dumps(answer))
    temporary.replace(folder / ANSWER)


def _portable(error: BaseException) -> BaseException:
    """The error, or what can be told of it if it does not survive pickling."""
    try:
        pickle.loads(pickle.dumps(error))
    except Exception:  # whatever the error's own class does there
        return RuntimeError(f"{type(error).__name__}: {error}")
    return error


def _execute(cfg: Config, folder: Path, logs: Mapping[str, Any]) -> Scalars:
    from diffgeo.runner.run import execute  # torch, which the worker does without

    logging.config.dictConfig(dict(logs))
    tolerate_logs()
    return execute(cfg, folder)[0]


def _cause(code: int) -> str:
    if code >= 0:
        return f"ended with exit code {code}"
    return f"was killed by {signal.Signals(-code).name} (exit code {128 - code})"


def say_failed(cfg: Config, folder: Path, error: DiffgeoError) -> None:
    """Write into ``run.json`` that a run failed which cannot write so itself, as its process died.

    Args:
        cfg: typed settings.
        folder: the run folder.
        error: why.
    """
    path = folder / "run.json"
    begun = json.loads(path.read_text(encoding="utf-8")) if path.is_file() else _facts(cfg)
    _write_failed(folder, begun, error)


def say_refused(cfg: Config, folder: Path, error: DiffgeoError) -> None:
    """Write into ``run.json`` that a run was refused before it began.

    Files of an earlier run stay, and are listed as its own; a ``run.json`` of another program, or of a run that goes
    on, is left alone.

    Args:
        cfg: typed settings.
        folder: the run folder.
        error: why.
    """
    facts = _facts(cfg)
    try:
        with held(folder):
            facts |= {"files": [], "earlier": earlier_files(folder, cfg.study)}
            _write_failed(folder, facts, error)
    except OutputError:  # it is another run's, or another program's
        return


def _facts(cfg: Config) -> Plain:
    return {"seed": cfg.seed, "settings": asdict(cfg)}


def _write_failed(folder: Path, facts: Mapping[str, Any], error: DiffgeoError) -> None:
    (folder / PAGE).unlink(missing_ok=True)  # of an earlier run in this folder
    path = folder / "run.json"
    temporary = path.with_name(".tmp-run.json")
    failed = {**facts, "status": "failed", **error_facts(error)}
    temporary.write_text(json.dumps(failed, indent=2) + "\n", encoding="utf-8")
    temporary.replace(path)


def objective(scalars: Mapping[str, Mapping[str, float]], wanted: str | Sequence[str]) -> float | list[float]:
    """What a search improves.

    Args:
        scalars: by study.
        wanted: ``STUDY/SCALAR``, or several; with ``*`` it is the mean of all that match, over timesteps for instance.

    Returns:
        A number, or one for each of several.

    Raises:
        ObjectiveError: no scalar has that name.
        ValueRangeError: it is not a finite number.
    """
    if not isinstance(wanted, str):
        return [_objective(scalars, one) for one in wanted]
    return _objective(scalars, wanted)


def _objective(scalars: Mapping[str, Mapping[str, float]], wanted: str) -> float:
    known = {f"{study}/{name}": value for study, values in scalars.items() for name, value in values.items()}
    found = [value for name, value in known.items() if name == wanted or fnmatchcase(name, wanted)]
    if not found:
        guess = nearest(wanted, list(known))
        hint = f"did you mean {guess}?" if guess else f"there are {', '.join(sorted(known)) or 'none'}"
        raise ObjectiveError(f"objective={wanted} is no scalar of this run", hint)
    value = math.fsum(found) / len(found)
    if not math.isfinite(value):
        raise ValueRangeError(f"objective={wanted} is {value} in this run", "choose a scalar that always has a value")
    return value


def outcomes(sweep: Path) -> list[tuple[str, str, str]]:
    """(job, status, error) of every job in a sweep's folder, in the order of their numbers; status as in ``run.json``.

    A job is called by its folder within the sweep's, whatever ``hydra.sweep.subdir`` says. One that failed before its
    run began has the status ``failed`` and no error.
    """
    begun = {path.parents[1] for path in sweep.rglob(".hydra/overrides.yaml")}
    begun |= {path.parent for path in sweep.rglob("run.json")}
    named = {folder.relative_to(sweep).as_posix(): folder for folder in begun}
    found = []
    for job in sorted(named, key=lambda job: [(len(part), part) for part in job.split("/")]):
        folder = named[job]
        try:
            facts = dict(json.loads((folder / "run.json").read_text(encoding="utf-8")))
        except (OSError, TypeError, ValueError):
            facts = {}
        reason = "; ".join(facts[key] for key in ("error", "advice") if facts.get(key))
        found.append((job, str(facts.get("status", "failed")), reason))
    return found


if __name__ == "__main__":
    # through the import: what it pickles belongs to diffgeo.runner.sweeping, not to __main__
    from diffgeo.runner.sweeping import _answer as answer

    answer(Path(sys.argv[1]))
