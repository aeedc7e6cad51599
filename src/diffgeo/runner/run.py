"""One run: load, execute every study of the list, write, mirror.

The run folder holds ``tables/`` (Parquet and CSV), ``figures/`` (PNG and SVG), ``tensors/`` (safetensors),
``run.json`` (versions, seed, model, outcome, the run's ``duration`` and the ``seconds`` of each study), Hydra's
``.hydra/config.yaml``, the log, and ``report.html``, a page made of all that however the run ended.

A run folder that is used again is cleaned of the earlier run's files, since resumed sweeps, repeated jobs and
``diffgeo-paper`` use theirs again on purpose; but only when this run is about to compute, so that a mistyped setting
costs no results.
"""

from __future__ import annotations

import json
import logging
import platform
import subprocess
import sys
import traceback
import warnings
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import asdict, replace
from datetime import datetime
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from time import perf_counter
from typing import Any

import torch

from diffgeo.composition import check, session_depends_on
from diffgeo.config import (
    ClassifierConfig,
    ClipConfig,
    Config,
    MetricConfig,
    ModelConfig,
    StoreConfig,
    TextToImageConfig,
    instance,
)
from diffgeo.diffusion.models import load_model, resolve_device
from diffgeo.errors import ConfigError, DiffgeoError, OutputError, error_facts
from diffgeo.metrics.attributes import AttributePredictor, load_predictor
from diffgeo.metrics.classifiers import ClassifierPredictor, load_network
from diffgeo.metrics.clip import load_clip
from diffgeo.metrics.perceptual import lpips_weights
from diffgeo.metrics.pictures import PictureMetric, try_out
from diffgeo.report.page import PAGE, write_page
from diffgeo.results import atomic, clear_temporary, is_manifest, listed, remove
from diffgeo.runner.finish import Finished, assist, finish
from diffgeo.runner.tracking import Tracker, tracking
from diffgeo.session import Context
from diffgeo.session.processes import is_first, team
from diffgeo.session.progress import Display, Interruption
from diffgeo.session.store import Store, store_folder
from diffgeo.studies import study_named

__all__ = ["execute", "prepare", "quiet", "versions"]

log = logging.getLogger(__name__)

PACKAGES = ("diffgeo", "torch", "torchvision", "diffusers", "hydra-core", "omegaconf", "wandb", "numpy", "pandas")


def execute(cfg: Config, folder: Path, earlier: Context | None = None) -> tuple[dict[str, dict[str, float]], Context]:
    """Run the studies that ``cfg.study`` lists.

    Args:
        cfg: typed settings.
        folder: the run folder.
        earlier: context of an earlier run in this process; its model, latents and bases are used again where the
            settings that they depend on are the same.

    Returns:
        Scalars by study, and the context. A process that only helps the first one writes nothing, and has no scalars.

    Raises:
        DiffgeoError: anything a user can mend; tables written until then stay.
        Ended: Ctrl-C, SIGTERM or SIGHUP, after the finished samples were written.
    """
    scalars: dict[str, dict[str, float]] = {}
    interruption = Interruption()
    if not is_first():
        return scalars, _help(cfg, interruption, earlier)
    with quiet(), _manifest(cfg, folder, scalars) as manifest:
        facts = manifest.facts
        check(cfg)
        clear_temporary(folder)
        context = prepare(cfg, interruption, earlier)
        facts["model"] = {
            "name": context.model.name,
            "source": context.model.source,
            "digest": context.model.digest,
            **context.model.conditioning,
        }
        facts["device"] = str(context.model.device)
        facts["processes"] = context.team.size
        facts["convergence"] = {}
        facts["samples"] = [sample.name for sample in context.samples]
        with tracking(cfg.tracking, folder, asdict(cfg)) as tracker, manifest.ending(tracker), interruption.listening():
            manifest.clear_earlier()
            for name, study_cfg in cfg.study.items():
                done = finish(study_named(name), context, study_cfg, folder)
                scalars[name] = done.result.scalars
                manifest.add(name, done)
                tracker.log_result(done.result, {path.stem: path for path in done.files if path.suffix == ".png"})
                interruption.stop_if_requested()
    return scalars, context


def _help(cfg: Config, interruption: Interruption, earlier: Context | None) -> Context:
    """Work through the studies beside the first process, which finds in the store what was computed here."""
    with quiet():
        check(cfg)
        context = prepare(cfg, interruption, earlier)
        with interruption.listening():
            for name in context.team.from_both_ends(list(cfg.study)):
                assist(study_named(name), context, cfg.study[name])
                interruption.stop_if_requested()
    return context


@contextmanager
def quiet() -> Iterator[None]:
    """Send warnings to the log, less those of libraries about their own future."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", category=FutureWarning, module=r"(torch|diffusers)\b")
        warnings.filterwarnings("ignore", category=DeprecationWarning)
        logging.captureWarnings(True)
        try:
            yield
        finally:
            logging.captureWarnings(False)


def prepare(cfg: Config, interruption: Interruption | None = None, earlier: Context | None = None) -> Context:
    """Load the model and what reads its pictures.

    Args:
        cfg: typed settings, checked.
        interruption: tells loops to stop early.
        earlier: a context that is used again where its settings allow.

    Raises:
        DiffgeoError: a model, predictor, device or block that is not there.
    """
    interruption = Interruption() if interruption is None else interruption
    torch.manual_seed(cfg.seed)
    extra = _extra_metrics(cfg.metric)
    if earlier is not None and session_depends_on(asdict(earlier.cfg)) == session_depends_on(asdict(cfg)):
        return _checked(replace(earlier, cfg=cfg, interruption=interruption, display=Display(), extra_metrics=extra))
    store = _store(cfg.store)
    own_team = team(None if store is None else store.folder, cpu=cfg.device == "cpu")
    device = resolve_device(own_team.device if own_team.device and cfg.device in ("auto", "cuda") else cfg.device)
    m = cfg.model
    model = load_model(
        m.path,
        device=device,
        dtype=torch.float64 if m.dtype == "float64" else torch.float32,
        revision=m.revision,
        cache_dir=m.cache_dir,
        local_files_only=m.local_files_only,
        variant=m.variant,
        **_conditioning(m),
    )
    own = None if m.predictor is None else load_predictor(m.predictor, device=device)
    reader = _predictor(cfg, own, device)
    context = Context(model, cfg, reader, interruption, own, store=store, team=own_team, extra_metrics=extra)
    # what can be wrong with the settings on this model shows now, not after minutes
    model.feature_map(model.schedule.T, cfg.feature.block)
    _checked(context)
    measure, file = context.perceptual.name, lpips_weights(cfg.metric.lpips_weights)
    if measure != "lpips" and not file.is_file():
        log.info("LPIPS is left out: it needs %s (metric.lpips_weights=…); distances are %s", file.name, measure)
    log.info("%s: %d samples, edits at t = %s", model.source, len(context.samples), [t for _, t in context.edit_times])
    return context


def _extra_metrics(cfg: MetricConfig) -> dict[str, PictureMetric]:
    """The user's own metrics, by name."""
    found = {name: instance(f"metric.extra.{name}", node) for name, node in cfg.extra.items()}
    for name, metric in found.items():
        if not callable(metric) or isinstance(metric, type):
            raise ConfigError(
                f"metric.extra.{name} is a {type(metric).__name__}, which cannot be called with pictures",
                f"name a class with __call__, or a function and say metric.extra.{name}._partial_=true",
            )
    return found


def _checked(context: Context) -> Context:
    """The same context, after its own metrics were tried out on noise of the pictures' size."""
    taken = set() if context.predictor is None else set(context.predictor.names) & set(context.extra_metrics)
    if taken:
        name = sorted(taken)[0]
        raise ConfigError(f"metric.extra.{name} is called like an attribute of the predictor", "choose another name")
    try_out(context.extra_metrics, context.model.picture_size, context.model.device)
    return context


def _store(cfg: StoreConfig) -> Store | None:
    """Where results are kept; None where that is switched off."""
    folder = store_folder() if cfg.path is None else Path(cfg.path)
    return Store(folder, max_bytes=int(cfg.max_gb * 1e9)) if cfg.enabled and folder is not None else None


def _conditioning(m: ModelConfig) -> dict[str, Any]:
    """What ``load_model`` takes beside for a text-to-image model."""
    keys = ("prompt", "negative_prompt", "edit_prompt", "guidance", "inversion_guidance")
    return {key: getattr(m, key) for key in keys} if isinstance(m, TextToImageConfig) else {}


def _predictor(cfg: Config, own: AttributePredictor | None, device: torch.device) -> AttributePredictor | None:
    """What reads attributes, as ``predictor`` chooses."""
    p = cfg.predictor
    if isinstance(p, ClipConfig):
        return load_clip(p.path, p.prompts, device=device, local_files_only=p.local_files_only)
    if isinstance(p, ClassifierConfig):
        network = load_network(p.path, arch=p.arch, outputs=len(p.names), device=device)
        activation: Any = p.activation
        return ClassifierPredictor(network, p.names, size=p.size, mean=p.mean, std=p.std, activation=activation)
    return None if p.kind == "none" else own


class _Manifest:
    """``run.json``, and the page that tells of it, written however the run ends.

    Attributes:
        facts: what ``run.json`` holds beside the scalars.
    """

    def __init__(self, cfg: Config, folder: Path, scalars: dict[str, dict[str, float]]) -> None:
        self.facts: dict[str, Any] = {
            "status": "running",
            "started": datetime.now().astimezone().isoformat(timespec="seconds"),
            "host": platform.node(),
            "seed": cfg.seed,
            "settings": asdict(cfg),
            "versions": versions(),
            "commit": commit(),
            "threads": torch.get_num_threads(),
            "seconds": {},
            "files": [],
            "convergence": {},
        }
        self._start = perf_counter()
        self._folder, self._scalars = folder, scalars
        if earlier := _earlier(folder):
            self.facts["earlier"] = earlier
        self._write()

    def clear_earlier(self) -> None:
        """Remove the files that an earlier run in this folder left.

        Raises:
            OutputError: one cannot be removed.
        """
        if "earlier" in self.facts:
            remove(self._folder, self.facts["earlier"])
            del self.facts["earlier"]
            self._write()

    def add(self, study: str, done: Finished) -> None:
        """Say that a study is done: its files, and the seconds that it took."""
        self.facts["files"] += [path.relative_to(self._folder).as_posix() for path in done.files]
        self.facts["seconds"][study] = done.seconds
        self.facts["convergence"][study] = asdict(done.result.convergence)
        self._write()

    @contextmanager
    def ending(self, tracker: Tracker | None = None) -> Iterator[None]:
        """Say how what follows ended, draw the page and mirror it, unless an inner one did."""
        try:
            yield
        except BaseException as error:
            self._end(error, tracker)
            raise
        self._end(None, tracker)

    def _end(self, error: BaseException | None, tracker: Tracker | None) -> None:
        if self.facts["status"] != "running":
            return
        stopped = isinstance(error, KeyboardInterrupt)
        self.facts["status"] = "completed" if error is None else "interrupted" if stopped else "failed"
        self.facts["duration"] = round(perf_counter() - self._start, 2)
        if error is not None:
            self.facts |= {"error": None} if stopped else error_facts(error)
            if not isinstance(error, DiffgeoError | KeyboardInterrupt):
                self.facts["traceback"] = "".join(traceback.format_exception(error))
        self._write()
        _draw_page(self._folder, tracker)

    def _write(self) -> None:
        with atomic(self._folder / "run.json") as temporary:
            temporary.write_text(json.dumps(self.facts | {"scalars": self._scalars}, indent=2) + "\n", encoding="utf-8")


def _earlier(folder: Path) -> list[str]:
    """Files of studies that an earlier run left in a run folder.

    Raises:
        OutputError: files are in the way that another program wrote.
    """
    path = folder / "run.json"
    try:
        facts = json.loads(path.read_text())
    except FileNotFoundError:
        facts = None
    except (OSError, ValueError):
        facts = {}
    if not is_manifest(facts) and (facts is not None or (folder / PAGE).exists()):
        other = path if facts is not None else folder / PAGE
        raise OutputError(f"{other} is not of a run of diffgeo", "choose another folder with hydra.run.dir=")
    return [] if facts is None else listed(folder, facts)


def _draw_page(folder: Path, tracker: Tracker | None) -> None:
    """Write ``report.html`` and mirror it; whatever is wrong with it, the run is done, and the log says so."""
    try:
        page = write_page(folder)
        if tracker is not None:
            tracker.log_page(page)
    except Exception:
        log.warning("%s could not be made; try `diffgeo-report page %s`", PAGE, folder, exc_info=True)


@contextmanager
def _manifest(cfg: Config, folder: Path, scalars: dict[str, dict[str, float]]) -> Iterator[_Manifest]:
    """The run's manifest, which ends with the run."""
    manifest = _Manifest(cfg, folder, scalars)
    with suppress(OSError):
        (folder / PAGE).unlink(missing_ok=True)  # of an earlier run in this folder
    with manifest.ending():
        yield manifest


def commit() -> str | None:
    """The commit of the sources, with ``+`` where they were changed since; None unless they are a git checkout."""
    root = Path(__file__).resolve().parents[3]
    if not (root / ".git").exists() or not (root / "src" / "diffgeo").is_dir():
        return None  # installed, perhaps into an environment inside somebody's repository
    try:
        head, changes = (
            subprocess.run(
                ["git", "-C", str(root), *words], capture_output=True, text=True, timeout=10, check=True
            ).stdout.strip()
            for words in (("rev-parse", "HEAD"), ("status", "--porcelain", "--untracked-files=no", "--", "src", "conf"))
        )
    except (OSError, subprocess.SubprocessError):
        return None
    return f"{head}+" if changes else head


def versions() -> dict[str, str]:
    """Versions of Python and of the packages that results depend on."""
    found = {"python": platform.python_version(), "platform": f"{sys.platform}-{platform.machine()}"}
    for name in PACKAGES:
        try:
            found[name] = version(name)
        except PackageNotFoundError:
            continue
    return found
