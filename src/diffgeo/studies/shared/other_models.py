"""Models that a study compares, in the place of the run's own."""

from __future__ import annotations

from diffgeo.diffusion.models import load_model
from diffgeo.errors import ConfigError, UnsuitableModelError
from diffgeo.session import Context


def with_network(context: Context, path: str, study: str) -> Context:
    """The run with another model, measured by the same settings; the run's own predictor reads its pictures.

    Args:
        context: of the run.
        path: as ``model.path``.
        study: that asks, for messages.

    Raises:
        ModelError: the model cannot be loaded.
        UnsuitableModelError: it lacks the run's ``feature.block``, as the run's own is of another architecture.
    """
    other = context.with_model(load_model(path, device=context.model.device, dtype=context.model.dtype))
    other.own_predictor = context.own_predictor or context.predictor
    try:
        other.bases.feature_map(other.model.schedule.T)
    except ConfigError as error:
        raise UnsuitableModelError(
            f"{study} compares {path} by {context.cfg.feature.block}, which it cannot be asked for: {error.what}",
            "choose networks of the run's architecture, or another feature.block",
        ) from error
    return other
