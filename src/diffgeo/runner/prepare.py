"""From settings to a context: the model, what reads its pictures, the store; all that can be wrong shows here."""

from __future__ import annotations

import logging
from dataclasses import asdict, replace
from pathlib import Path

import torch

from diffgeo.composition import session_depends_on
from diffgeo.config import Config, MetricConfig, StoreConfig, build, instance
from diffgeo.diffusion.models import DiffusionModel, resolve_device
from diffgeo.errors import ConfigError
from diffgeo.metrics.attributes import load_predictor
from diffgeo.metrics.perceptual import alexnet_file
from diffgeo.metrics.pictures import PictureMetric, try_out
from diffgeo.session import Context
from diffgeo.session.processes import started_processes
from diffgeo.session.progress import Display, Interruption
from diffgeo.session.store import Store, store_folder

log = logging.getLogger(__name__)

_DTYPES = {"float32": torch.float32, "float64": torch.float64}


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
    processes = started_processes(None if store is None else store.folder, cfg.processes, cpu=cfg.device == "cpu")
    device = resolve_device(processes.device if processes.device and cfg.device in ("auto", "cuda") else cfg.device)
    model = load_configured(cfg, device)
    own = None if cfg.model.predictor is None else load_predictor(cfg.model.predictor, device=device)
    reader = build("predictor", cfg.predictor, device=device, own=own)
    context = Context(model, cfg, reader, interruption, own, store=store, processes=processes, extra_metrics=extra)
    # what can be wrong with the settings on this model shows now, not after minutes
    context.bases.check()
    _checked(context)
    measure, file = context.perceptual.name, alexnet_file(cfg.metric.lpips_weights)
    if measure != "lpips" and not file.is_file():
        log.info("LPIPS is left out: it needs %s (metric.lpips_weights=…); distances are %s", file.name, measure)
    number, times = len(context.samples), context.edit_times_in_words
    log.info("%s on %s: %d samples, edits at t = %s", model.source, device, number, times)
    return context


def load_configured(cfg: Config, device: torch.device | None = None) -> DiffusionModel:
    """The model that settings name.

    Args:
        cfg: typed settings, checked.
        device: that of the settings if None.

    Raises:
        DiffgeoError: it is not there, or cannot be understood.
    """
    device = resolve_device(cfg.device) if device is None else device
    model: DiffusionModel = build(
        "model", cfg.model, device=device, name_or_path=cfg.model.path, dtype=_DTYPES[cfg.model.dtype]
    )
    return model


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
    _ = context.editor, context.bases  # made now: they refuse settings that contradict each other
    measure: PictureMetric = lambda edited, original: context.perceptual(edited, original)  # noqa: E731
    key = f"metric._target_={context.cfg.metric._target_}"
    try_out({**context.extra_metrics, key: measure}, context.model.picture_size, context.model.device)
    return context


def _store(cfg: StoreConfig) -> Store | None:
    """Where results are kept; None if that is switched off."""
    folder = store_folder() if cfg.path is None else Path(cfg.path)
    return Store(folder, max_bytes=int(cfg.max_gb * 1e9)) if cfg.enabled and folder is not None else None
