"""The denoiser's Jacobian of the shipped models against data that are known: slow."""

import math

import pytest
import torch

from diffgeo.api import run_study
from diffgeo.composition import typed
from diffgeo.data.factor_faces import FACTORS, render, sample_factors
from diffgeo.geometry import leading_part, posterior_components
from diffgeo.jacobian import JacobianOperator
from diffgeo.runner.prepare import prepare
from diffgeo.svd import GolubKahan, local_basis

CONTINUOUS = [i for i, factor in enumerate(FACTORS) if factor.kind == "continuous"]


def weighted_posterior(x, z, a, b, draws=6000, seed=0):
    """Portraits from p(x0 | x_t = x) by importance sampling around z.

    The proposal is normal, around the most likely factors, as wide as the likelihood by its linear approximation, times
    1.2; the prior is uniform within [−1, 1].

    Returns:
        Portraits (draws, 3, 32, 32), their weights, and the effective number of draws.
    """
    generator = torch.Generator().manual_seed(seed)

    def portraits(free):
        factors = z.repeat(len(free), 1)
        factors[:, CONTINUOUS] = free
        return render(factors.clamp(-1, 1)).flatten(1)

    def slopes(free, step=3e-3):  # as the derivative has poles at edges of shapes
        steps = step * torch.eye(len(free), dtype=free.dtype)
        return ((portraits(free + steps) - portraits(free - steps)) / (2 * step)).T

    free = z[CONTINUOUS].clone()
    for _ in range(6):  # Gauss–Newton
        jacobian = slopes(free)
        residual = x.flatten() / a - portraits(free[None])[0]
        free = (free + torch.linalg.lstsq(jacobian, residual[:, None]).solution[:, 0]).clamp(-0.95, 0.95)
    jacobian = slopes(free)
    precision = (a / b) ** 2 * jacobian.T @ jacobian + torch.eye(len(free), dtype=x.dtype)
    root = 1.2 * torch.linalg.inv(torch.linalg.cholesky(precision)).T
    normal = torch.randn(draws, len(free), generator=generator, dtype=x.dtype)
    factors = z.repeat(draws, 1)
    factors[:, CONTINUOUS] = free + normal @ root.T
    inside = (factors.abs() <= 1).all(dim=1)
    pictures = torch.cat([render(part) for part in factors.clamp(-1, 1).split(500)])
    likelihood = -(x - a * pictures).square().sum(dim=(1, 2, 3)) / (2 * b**2)
    log_weights = torch.where(inside, likelihood + normal.square().sum(dim=1) / 2, -math.inf)
    weights = (log_weights - log_weights.max()).exp()
    weights = weights / weights.sum()
    return pictures, weights, 1 / weights.square().sum().item()


@pytest.mark.nightly
def test_posterior_components_of_little_noise_are_those_of_the_weighted_portraits(shipped):
    """At 0.1 T: the components lie where the data can lie, and the variance along them is of the right size."""
    t, schedule = 99, shipped.schedule
    a, b = math.sqrt(schedule.alpha(t)), math.sqrt(1 - schedule.alpha(t))
    generator = torch.Generator().manual_seed(7)
    inside, ratios = [], []
    for z in 0.6 * sample_factors(3, generator=generator).double():
        z[11] = torch.sign(z[11])  # glasses are there or not
        x = a * render(z[None])[0] + b * torch.randn(3, 32, 32, generator=generator, dtype=torch.float64)
        pictures, weights, effective = weighted_posterior(x, z, a, b)
        assert effective > 200
        centred = (pictures - (weights[:, None, None, None] * pictures).sum(dim=0)).flatten(1)
        _, s, true = torch.svd_lowrank(weights.sqrt()[:, None] * centred, q=len(CONTINUOUS) + 5, niter=6)

        def clean(x, t=t):
            return schedule.predict_x0(x, shipped.predict_noise(x[None], t)[0], t)

        basis = local_basis(clean, x.float(), rank=10, solver=GolubKahan(), tol=1e-3)
        leading = leading_part(JacobianOperator(clean, x.float()), basis)
        found = posterior_components(leading, 3, a=a, b=b)
        inside.append((true[:, : len(CONTINUOUS)].T @ found.directions).square().sum(dim=0))
        along = (s[:, None] * (true.T @ found.directions)).square().sum(dim=0)
        ratios.append(found.variances / along)
        print(effective, inside[-1], found.variances, along, s[:14].square(), found.residuals)
    assert torch.stack(inside).mean() > 0.6  # chance is 13 / 3072
    assert 0.5 < torch.stack(ratios).log().mean().exp() < 3


@pytest.mark.nightly
def test_more_factors_give_a_larger_dimension_by_every_estimate(composed):
    """The data have at most 13 dimensions with all factors, and 3 with four of them (glasses have no tangent)."""
    means = {}
    for model in ("factor_faces", "factor_faces_4"):
        words = [f"model={model}", "scale=smoke", "scale.steps=16", "device=cpu", "tracking=none", "study=[denoiser]"]
        context = prepare(typed(composed(*words, "study.denoiser.t_fracs=[0.5]", "study.denoiser.rank=24")))
        table = run_study("denoiser", context, context.cfg.study["denoiser"]).more_tables["dimension"]
        means[model] = table.mean(numeric_only=True)
        print(model, means[model].to_dict())
    all_factors, four = means["factor_faces"], means["factor_faces_4"]
    for estimate in ("flipd", "posterior_dimension", "resolved", "normal_bundle_centred"):
        assert all_factors[estimate] > four[estimate], estimate
    assert abs(four["resolved"] - 3) <= 1
    assert abs(all_factors["resolved"] - 13) <= 4
