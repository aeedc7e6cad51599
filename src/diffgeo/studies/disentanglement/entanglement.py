r"""Entanglement within the subspace: is an attribute in the tangent space, and along one of its axes?

The gradient g_j of a predicted attribute with respect to x_t, taken through the predicted clean picture x̂0(x_t), is
what supervision would call the attribute's direction. Of its length,

    subspace  ‖Vᵀ g_j‖ / ‖g_j‖          lies in the tangent space (chance: √(n/d)),
    single    max_i |⟨v_i, g_j⟩| / ‖g_j‖   along the best single direction,
    varimax   the same after the varimax rotation of V, over all n,
    ica       the same along independent axes of the leading directions, to compare with ``leading``,
    random    the same, on average, along the axes of a random rotation of V (``random_leading``: of the leading ones).

The largest of n shares is not small by chance, so ``single``, ``varimax`` and ``ica`` are to be read against the last.
Where ``subspace`` is large and ``single`` small, the method found the attribute but not as a direction.
"""

from __future__ import annotations

import math
from functools import cache

import torch
from torch import Tensor

from diffgeo.geometry import independent_axes, varimax
from diffgeo.metrics.attributes import AttributePredictor
from diffgeo.metrics.disentanglement import importance_scores
from diffgeo.results import Row
from diffgeo.session import Context, Sample
from diffgeo.studies.shared.matching import output_map


def attribute_gradients(context: Context, x: Tensor, t: int, predictor: AttributePredictor) -> Tensor:
    """∇_x a_j(x̂0(x)) of every attribute, shape (A, d); x (C, H, W)."""
    x = x.detach().requires_grad_(True)
    with torch.enable_grad():
        values = predictor.scores(context.model.decode(output_map(context, t, "x0")(x)[None]))[0]
        rows = [torch.autograd.grad(value, x, retain_graph=True)[0].flatten() for value in values]
    return torch.stack(rows)


@cache
def _largest_share(n: int, draws: int = 2000) -> float:
    """E max_i |u_i| of a unit vector drawn uniformly in n dimensions: the best of n random axes."""
    u = torch.randn(draws, n, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    return float((u.abs().amax(dim=1) / u.norm(dim=1)).mean())


def entanglement(context: Context, sample: Sample, t: int, predictor: AttributePredictor, latents: Tensor) -> list[Row]:
    """One row per attribute; none for a predictor without gradients.

    Args:
        context: of the run.
        sample: at whose x_t.
        t: timestep.
        predictor: of the attributes.
        latents: x_t of other pictures, shape (N, C, H, W), for ICA.
    """
    if not predictor.differentiable:
        return []
    basis = context.bases.of(sample, t)
    v = basis.V.double()
    gradients = attribute_gradients(context, context.latents.of(sample, t), t, predictor).double()
    norms = gradients.norm(dim=1, keepdim=True)
    unit = gradients / torch.where(norms > 0, norms, 1.0)
    f = context.bases.feature_map(t)
    with torch.no_grad():
        h = torch.cat([f(chunk).flatten(1) for chunk in latents.split(16)])
    leading = min(basis.rank, len(h) // 4)
    axes = {
        "single": v,
        "varimax": v @ varimax(v),
        "leading": v[:, :leading],
        "ica": v[:, :leading] @ independent_axes(h @ basis.U[:, :leading], seed=context.cfg.seed),
    }
    found = {name: (unit @ directions).abs() for name, directions in axes.items()}  # (A, n)
    scores = {f"d_{name}": importance_scores(overlap.T)[0] for name, overlap in found.items()}
    inside = (unit @ v).norm(dim=1)
    chance = inside * _largest_share(basis.rank)
    chance_leading = (unit @ v[:, :leading]).norm(dim=1) * _largest_share(leading)
    return [
        {
            "sample": sample.index,
            "name": sample.name,
            "attribute": name,
            "rank": basis.rank,
            "leading_rank": leading,
            "gradient": norms[j, 0].item(),
            "subspace": inside[j].item(),
            "chance": math.sqrt(basis.rank / v.shape[0]),
            "random": chance[j].item(),
            "random_leading": chance_leading[j].item(),
            **{key: overlap[j].max().item() for key, overlap in found.items()},
            **scores,
        }
        for j, name in enumerate(predictor.names)
    ]
