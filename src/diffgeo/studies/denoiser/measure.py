r"""The denoiser's own Jacobian J = ∂x̂0/∂x_t (LOCO Edit, arXiv 2409.02374, takes its directions from it).

Equations are in :mod:`diffgeo.geometry.denoiser`; a and b are those of x_t = a x0 + b ε. J is the network's under the
edit prompt, at the samples' x_t. Tables:

    denoiser             a row per (sample, timestep): numerical rank, asymmetry ‖J − Jᵀ‖_F / ‖J‖_F, trace, the
                         posterior's total variance; each estimate with its standard error over probes
    denoiser_components  a row per (sample, timestep, component): the variance that a principal component of the
                         posterior explains, its share of the total, and the residual of the eigenvector
    denoiser_linearity   a row per (sample, timestep, direction v_i, signed length λ): norm ratio and cosine of
                         x̂0(x + λv) and x̂0(x) + λJv (LOCO Edit), and the error of the change alone
    denoiser_isometry    a row per (sample, timestep, map h or x̂0): s_1 / s_n and the spread of log s, for equal n
    denoiser_dimension   a row per (sample, timestep of its own): the data's dimension around the sample's picture x0

The column ``true_dimension`` is there if the data are known: the rank of the tangent space at the nearest portrait.
Four estimates of the dimension, all right in the limit b → 0 for an exact denoiser:

- ``flipd``: FLIPD at the clean point a x0, as published; few networks have been trained on such points;
- ``posterior_dimension``: a tr J = (a²/b²) tr Cov[x0 | x_t] at a noised point a x0 + b ε, which networks know: every
  direction along the data counts 1, every other 0;
- ``resolved``: how many singular values of J there have a s > 1/2, which for a Gaussian are the directions along which
  the data vary by more than the noise (a² λ > b²); NaN if all n have. The many small errors of a network, which add up
  in a trace, do not count;
- ``normal_bundle``: from 4 n predicted ε around a x0. The published estimate needs several scores per dimension of x;
  here they are first projected on the n leading singular directions of J at a noised point, which hold the tangent
  space if the dimension is below n. ``normal_bundle_centred`` subtracts their mean, which an exact denoiser has not.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field

import pandas as pd
import torch
from torch import Tensor

from diffgeo.data.tangent import tangents
from diffgeo.diffusion.noise_schedule import CLEAN
from diffgeo.geometry import (
    PosteriorComponents,
    asymmetry,
    flipd,
    isometry,
    leading_part,
    local_linearity,
    normal_bundle_dimension,
    numerical_rank,
    posterior_components,
    probe,
    squared_norm,
    trace,
)
from diffgeo.jacobian import JacobianOperator
from diffgeo.results import Result, Row, frames_of
from diffgeo.session import Context, Sample
from diffgeo.session.bases import MapName
from diffgeo.studies.denoiser.settings import DenoiserConfig
from diffgeo.studies.shared.matching import output_map
from diffgeo.svd import LocalBasis

DEFLATED = 10
"""Leading directions whose part in sums over the whole of J is computed rather than estimated, if there are so
many."""
DEVIATIONS = 2.0
"""Standard deviations between the posterior's mean and the pictures on both sides of it."""
SCORES = 4
"""Predicted ε per direction for the normal bundle, as in the paper."""
_AT_ONCE = 16
"""Points that go through the network in one batch."""
_NOISE = 0xD1A << 32
"""Sets the noise that is added to pictures apart from the seeds of initial noise."""


@dataclass
class _Tables:
    """What has been measured so far."""

    main: list[Row] = field(default_factory=list)
    components: list[Row] = field(default_factory=list)
    linearity: list[Row] = field(default_factory=list)
    isometry: list[Row] = field(default_factory=list)
    dimension: list[Row] = field(default_factory=list)
    frames: list[Tensor] = field(default_factory=list)


@dataclass(frozen=True, slots=True)
class _Denoiser:
    """x ↦ x̂0(x, t) at one point, with J and its leading singular triplets."""

    context: Context
    t: int
    x: Tensor
    jacobian: JacobianOperator
    basis: LocalBasis

    @classmethod
    def at(cls, context: Context, x: Tensor, t: int, rank: int) -> _Denoiser:
        f, name = output_map(context, t, "x0"), MapName(t, output="x0")
        basis = context.bases.of_map(f, x, name=name, rank=min(rank, x.numel()))
        return cls(context, t, x, context.bases.operator(f, x, name=name), basis)


def run(context: Context, cfg: DenoiserConfig) -> Result:
    """Measure J at the first samples' x_t, and the dimension of the data around their pictures."""
    found, schedule = _Tables(), context.model.schedule
    samples = context.samples.first(cfg.samples)
    times = context.times_of(cfg.t_fracs, "study.denoiser.t_fracs")
    places = [(sample, t_frac, t) for sample in samples for t_frac, t in times]
    for sample, t_frac, t in context.track(places, "denoiser"):
        where = {"sample": sample.index, "t_frac": t_frac, "t": t, "log_snr": schedule.log_snr(t)}
        _measure(context, cfg, sample, t, where, found)
    # any timestep, as noise is added here and not by the sampler
    dimension_times = [max(round(fraction * (schedule.T + 1)) - 1, 0) for fraction in cfg.dimension_t_fracs]
    around = [(sample, t) for sample in samples for t in dict.fromkeys(dimension_times)]
    for sample, t in context.track(around, "dimension"):
        where = {"sample": sample.index, "t_frac": schedule.fraction(t), "t": t, "log_snr": schedule.log_snr(t)}
        found.dimension.append(where | _dimension(context, cfg, sample, t))
    table = pd.DataFrame(found.main)
    more = {
        name: pd.DataFrame(rows)
        for name in ("components", "linearity", "isometry", "dimension")
        if (rows := getattr(found, name))
    }
    tensors = {"frames": torch.cat(found.frames)} if found.frames else {}
    return Result("denoiser", table, _scalars(table, more), tensors, more)


def _measure(context: Context, cfg: DenoiserConfig, sample: Sample, t: int, where: Row, found: _Tables) -> None:
    """All of one sample's x_t, added to the tables."""
    schedule = context.model.schedule
    a, b = schedule.a(t), schedule.b(t)
    denoiser = _Denoiser.at(context, context.latents.of(sample, t), t, cfg.rank)
    jacobian, basis = denoiser.jacobian, denoiser.basis
    probes = probe(jacobian, cfg.probes, seed=context.cfg.seed)
    leading = leading_part(jacobian, basis.truncated(min(max(DEFLATED, 2 * cfg.directions), basis.rank)))
    energy, total, skew = squared_norm(probes, leading), trace(probes, leading), asymmetry(probes, leading)
    held = basis.s.double().square().sum().item()
    variance = b**2 / a if a else math.nan  # a flow at T has noise alone, which tells nothing of x0
    found.main.append(
        where
        | {
            "rank": basis.rank,
            "numerical_rank": numerical_rank(basis.s, energy.value),
            "norm_share": math.sqrt(min(1.0, held / energy.value)),
            "energy": energy.value,
            "energy_error": energy.error,
            "asymmetry": skew.value,
            "asymmetry_error": skew.error,
            "trace": total.value,
            "trace_error": total.error,
            "posterior_variance": variance * total.value,
            "posterior_variance_error": variance * total.error,
            "probes": probes.omega.shape[1],
        }
    )
    if a:
        components = posterior_components(leading, min(cfg.directions, basis.rank), a=a, b=b)
        _add_components(denoiser, components, where | {"name": sample.name}, variance * total.value, found)
    found.linearity += [where | row for row in _linearity(denoiser, cfg)]
    n = min(basis.rank, (h := context.bases.of(sample, t)).rank)
    for name, one in (("h", h), ("x0", basis)):
        condition, spread = isometry(one.s[:n])
        found.isometry.append(where | {"map": name, "rank": n, "condition": condition, "log_spread": spread})


def _add_components(
    denoiser: _Denoiser, components: PosteriorComponents, where: Row, total: float, found: _Tables
) -> None:
    """The posterior's components, whose variances add up to ``total``, and pictures of x̂0 on both sides along each."""
    variances, count = components.variances, len(components.variances)
    offsets = DEVIATIONS * variances.clamp_min(0).sqrt() * components.directions
    sides = torch.stack([-offsets, torch.zeros_like(offsets), offsets]).permute(2, 0, 1)  # component, side, d
    x0 = denoiser.jacobian.h[None, None] + sides.reshape(count, 3, *denoiser.x.shape).to(denoiser.x)
    first = sum(len(frames) for frames in found.frames)
    found.frames.append(frames_of(denoiser.context.model.decode(x0.flatten(0, 1))))
    for i in range(count):
        variance = variances[i].item()
        found.components.append(
            where
            | {
                "component": i,
                "variance": variance,
                "variance_share": variance / total if total > 0 else math.nan,
                "residual": components.residuals[i].item(),
                "frame": first + 3 * i,
            }
        )


def _linearity(denoiser: _Denoiser, cfg: DenoiserConfig) -> list[Row]:
    x, basis, rows = denoiser.x, denoiser.basis, []
    root = math.sqrt(x.numel())
    signed = [sign * length for length in cfg.lengths for sign in (-1, 1)]
    lengths = root * torch.tensor(signed, device=x.device, dtype=x.dtype)[:, None]
    for i in range(min(cfg.directions, basis.rank)):
        points = x + (lengths * basis.V[:, i]).reshape(-1, *x.shape)
        steps = (lengths * (basis.s[i] * basis.U[:, i])).reshape(-1, *x.shape)
        moved, _ = _predicted(denoiser.context, points, denoiser.t)
        ratio, cosine, error = local_linearity(denoiser.jacobian.h, moved, steps)
        for k, share in enumerate(signed):
            row = {"direction": i, "lambda": share * root, "lambda_share": share}
            rows.append(
                row | {"norm_ratio": ratio[k].item(), "cosine": cosine[k].item(), "change_error": error[k].item()}
            )
    return rows


@torch.no_grad()
def _predicted(context: Context, xs: Tensor, t: int) -> tuple[Tensor, Tensor]:
    """x̂0 and ε at several points, as J is taken of: the conditional network under the edit prompt."""
    parts = [context.model.editor.predict(part, t) for part in xs.split(_AT_ONCE)]
    clean, noise = zip(*parts, strict=True)
    return torch.cat(clean), torch.cat(noise)


def _dimension(context: Context, cfg: DenoiserConfig, sample: Sample, t: int) -> Row:
    """Estimates of the data's dimension around one sample's picture."""
    schedule = context.model.schedule
    a, b = schedule.a(t), schedule.b(t)
    x0 = context.latents.of(sample, CLEAN) if sample.x0 is None else sample.x0
    generator = torch.Generator().manual_seed(_NOISE + context.cfg.seed + sample.index)

    def noised(count: int) -> Tensor:
        draws = torch.randn(count, *x0.shape, generator=generator, dtype=x0.dtype)
        return a * x0 + b * draws.to(x0.device)

    f, name = output_map(context, t, "x0"), MapName(t, output="x0")
    at_clean = probe(context.bases.operator(f, a * x0, name=name), cfg.probes, seed=context.cfg.seed, transposed=False)
    clean_trace, (_, clean_noise) = trace(at_clean), _predicted(context, (a * x0)[None], t)
    denoiser = _Denoiser.at(context, noised(1)[0], t, cfg.rank)
    posterior = trace(probe(denoiser.jacobian, cfg.probes, seed=context.cfg.seed, transposed=False))
    n = denoiser.basis.rank
    _, noises = _predicted(context, noised(SCORES * n), t)
    inside = noises.flatten(1).double() @ denoiser.basis.V.double()
    plain, fall = normal_bundle_dimension(inside)
    centred, centred_fall = normal_bundle_dimension(inside - inside.mean(dim=0))
    resolved = int((a * denoiser.basis.s > 0.5).sum())
    truth: Row = {}
    if context.data_distance is not None:
        z = context.data_distance.fit(context.model.decode(x0[None])).z[0].cpu().double()
        truth["true_dimension"] = tangents(z, context.model.picture_size, context.known_factors).rank
    return {
        **truth,
        "rank": n,
        "flipd": flipd(clean_trace.value, clean_noise, a),
        "flipd_error": a * clean_trace.error,
        "posterior_dimension": a * posterior.value,
        "posterior_dimension_error": a * posterior.error,
        "resolved": resolved if resolved < n or n == x0.numel() else math.nan,
        "normal_bundle": plain,
        "normal_bundle_fall": fall,
        "normal_bundle_centred": centred,
        "normal_bundle_centred_fall": centred_fall,
    }


def _scalars(table: pd.DataFrame, more: dict[str, pd.DataFrame]) -> dict[str, float]:
    scalars: dict[str, float] = {}
    if table.empty:
        return scalars
    for t_frac, part in table.groupby("t_frac", sort=False):
        scalars[f"asymmetry/t_{t_frac:g}"] = float(part["asymmetry"].mean())
        scalars[f"norm_share/t_{t_frac:g}"] = float(part["norm_share"].mean())
    longest = more["linearity"]["lambda_share"].abs().max()
    far = more["linearity"][more["linearity"]["lambda_share"].abs() == longest]
    for t_frac, part in far.groupby("t_frac", sort=False):
        scalars[f"cosine/t_{t_frac:g}"] = float(part["cosine"].mean())
    for name, part in more["isometry"].groupby("map", sort=False):
        scalars[f"condition/{name}"] = float(part["condition"].mean())
    for column in ("flipd", "posterior_dimension", "resolved", "normal_bundle_centred"):
        if "dimension" in more:
            scalars[column] = float(more["dimension"][column].median())
    return scalars
