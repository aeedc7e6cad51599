"""One run: load, execute every study of the list, write, mirror.

The run folder holds ``tables/`` (Parquet and CSV), ``figures/`` (PNG and SVG), ``tensors/`` (safetensors),
``run.json`` (versions, seed, model, outcome), Hydra's ``.hydra/config.yaml`` and the log.
"""

from __future__ import annotations

import json
import logging
import platform
import sys
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import torch

from diffgeo.config import ClassifierConfig, ClipConfig, Config, ModelConfig, StoreConfig, TextToImageConfig, check
from diffgeo.finishing import finish, finished
from diffgeo.metrics.attributes import AttributePredictor, load_predictor
from diffgeo.metrics.classifiers import ClassifierPredictor, load_network
from diffgeo.metrics.clip import load_clip
from diffgeo.metrics.perceptual import lpips_weights
from diffgeo.models import load_model, resolve_device
from diffgeo.progress import Interruption
from diffgeo.results import atomic, clear_temporary
from diffgeo.store import Store, store_folder
from diffgeo.studies import Context, run_study, shareable
from diffgeo.team import is_first, team
from diffgeo.tracking import tracking

__all__ = ["execute", "prepare", "versions"]

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
        KeyboardInterrupt: Ctrl-C, after the finished samples were written.
    """
    scalars: dict[str, dict[str, float]] = {}
    interruption = Interruption()
    if not is_first():
        return scalars, _help(cfg, interruption, earlier)
    with _quiet(), _manifest(cfg, folder, scalars) as facts:
        check(cfg)
        clear_temporary(folder)
        context = prepare(cfg, interruption, earlier)
        facts["model"] = {
            "name": context.model.name,
            "source": context.model.source,
            **context.model.conditioning,
        }
        facts["device"] = str(context.model.device)
        facts["processes"] = context.team.size
        facts["samples"] = [sample.name for sample in context.samples]
        with tracking(cfg.tracking, folder, asdict(cfg)) as tracker, interruption.listening():
            for name, study_cfg in cfg.study.items():
                result, pictures = finish(name, context, study_cfg, folder)
                tracker.log_result(result, pictures)
                scalars[name] = result.scalars
                for key, value in result.scalars.items():
                    log.info("%s: %s = %.4g", name, key, value)
                if interruption.requested:
                    raise KeyboardInterrupt
    return scalars, context


def _help(cfg: Config, interruption: Interruption, earlier: Context | None) -> Context:
    """Work through the studies beside the first process, which finds in the store what was computed here."""
    with _quiet():
        check(cfg)
        context = prepare(cfg, interruption, earlier)
        with interruption.listening():
            for name, study_cfg in cfg.study.items():
                with context.team.helping(finished(name, context, study_cfg)):
                    context.team.check()
                    run_study(name, context, study_cfg)
                if interruption.requested:
                    raise KeyboardInterrupt
    return context


@contextmanager
def _quiet() -> Iterator[None]:
    """Send warnings to the log, less those of libraries about their own future."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", category=FutureWarning, module=r"(torch|diffusers)\b")
        warnings.filterwarnings("ignore", category=DeprecationWarning)
        logging.captureWarnings(True)
        try:
            yield
        finally:
            logging.captureWarnings(False)


def prepare(cfg: Config, interruption: Interruption, earlier: Context | None = None) -> Context:
    """Load what the settings name: model, attribute predictor, store; or take it from an earlier context.

    Args:
        cfg: typed settings, checked.
        interruption: tells loops to stop early.
        earlier: as in :func:`execute`.

    Raises:
        DiffgeoError: anything a user can mend.
    """
    torch.manual_seed(cfg.seed)
    if earlier is not None and shareable(earlier.cfg) == shareable(cfg):
        return earlier.with_settings(cfg, interruption)
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
    context = Context(model, cfg, reader, interruption, own, store=store, team=own_team)
    # what can be wrong with the settings on this model shows now, not after minutes
    model.feature_map(model.schedule.T, cfg.feature.block)
    measure, file = context.perceptual.name, lpips_weights(cfg.metric.lpips_weights)
    if measure != "lpips" and not file.is_file():
        log.info("LPIPS is left out: it needs %s (metric.lpips_weights=…); distances are %s", file.name, measure)
    log.info("%s: %d samples, edits at t = %s", model.source, len(context.samples), [t for _, t in context.edit_times])
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


@contextmanager
def _manifest(cfg: Config, folder: Path, scalars: dict[str, dict[str, float]]) -> Iterator[dict[str, Any]]:
    """Write ``run.json`` however the run ends."""
    facts: dict[str, Any] = {
        "status": "running",
        "seed": cfg.seed,
        "settings": asdict(cfg),
        "versions": versions(),
        "threads": torch.get_num_threads(),
    }
    path = folder / "run.json"

    def write() -> None:
        with atomic(path) as temporary:
            temporary.write_text(json.dumps(facts | {"scalars": scalars}, indent=2) + "\n")

    write()
    try:
        yield facts
    except BaseException as error:
        stopped = isinstance(error, KeyboardInterrupt)
        facts |= {"status": "interrupted" if stopped else "failed", "error": None if stopped else str(error)}
        write()
        raise
    facts["status"] = "completed"
    write()


def versions() -> dict[str, str]:
    """Versions of Python and of the packages that results depend on."""
    found = {"python": platform.python_version(), "platform": f"{sys.platform}-{platform.machine()}"}
    for name in PACKAGES:
        try:
            found[name] = version(name)
        except PackageNotFoundError:
            continue
    return found
