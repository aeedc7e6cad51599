r"""Prompts (P23b): do similar prompts have similar tangent spaces, and does the prompt matter less as t → 0?

With T_h(x, t; p) the tangent space of dimension n at x under the conditional network with prompt p, for every pair of
prompts p, q:

    kind    tangent spaces                        tells
    path    T_h(x_t^p, t; p), T_h(x_t^q, t; q)    what two prompts make of one x_T; x_t^p is denoised under p
    fixed   T_h(x_t, t; p), T_h(x_t, t; q)        control: only the network's prompt varies; x_t is the run's own

Paths are denoised at each scale of guidance; at T they share x_T, so guidance cannot matter there. The feature map runs
without guidance. Prompts are compared by a cosine, and ``similarity_measure`` says which: ``clip``, of CLIP's text
embeddings, where ``predictor=clip`` gives them, as in P23b; else ``conditioning``, of what cross-attention sees of the
two prompts less what it sees of the empty one. (The one-vector summary of an encoder that was not trained to
compare texts, as the shipped model's, hardly differs between prompts.) Where prompts are captions of FactorFaces, what
they say is known, and ``factor_overlap`` is the share of it that both say (:func:`factor_overlap`).

Main table ``prompts``, one row per (sample, timestep, kind, guidance, pair of prompts). Second table
``prompts_similarity``, one row per (timestep, kind, guidance): the mean distance, and Spearman's ρ of similarity with
distance, mean over samples, with the p-value of Mantel's test: prompts shuffled, as pairs with a common prompt are not
independent.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import combinations
from typing import Any

import pandas as pd
import torch
from torch import Tensor

from diffgeo.data.captions import prompted_values
from diffgeo.diffusion.models import LatentDiffusion
from diffgeo.errors import UnsuitableModelError
from diffgeo.metrics.clip import SharesText
from diffgeo.metrics.statistics import centred_ranks, mean_interval, monte_carlo_p, shuffled_correlations
from diffgeo.results import Result, Row
from diffgeo.session import Context
from diffgeo.studies.prompts.settings import PromptsConfig
from diffgeo.studies.shared.tangent_spaces import common_rank, distances
from diffgeo.svd import LocalBasis

Measured = tuple[int, float, str, float, int]
"""(sample, fraction of T, kind, guidance, prompt)."""


def run(context: Context, cfg: PromptsConfig) -> Result:
    """Tangent spaces of every prompt at every edit timestep.

    Raises:
        UnsuitableModelError: the model takes no prompt.
    """
    model = context.model
    if not isinstance(model, LatentDiffusion):
        raise UnsuitableModelError(
            f"study prompts compares prompts, and {model.name} takes none", "choose another model"
        )
    scales = list(dict.fromkeys(cfg.guidance or [1.0, model.guidance]))
    bases = _bases(context, model, cfg, scales)
    if not bases:
        return Result("prompts", pd.DataFrame())
    similarity, measure = _similarity(context, model, cfg.prompts)
    n = common_rank(list(bases.values()), cfg.rank, cfg.rule)
    cut = {place: basis.truncated(n) for place, basis in bases.items()}
    rows = []
    for a, b in combinations(cut, 2):
        if a[:-1] == b[:-1]:
            names = ("sample", "t_frac", "kind", "guidance", "prompt_a")
            alike = {"similarity": similarity[a[-1], b[-1]].item(), "similarity_measure": measure}
            alike["factor_overlap"] = factor_overlap(cfg.prompts[a[-1]], cfg.prompts[b[-1]])
            pair = {"prompt_b": b[-1], "text_a": cfg.prompts[a[-1]], "text_b": cfg.prompts[b[-1]]}
            rows.append(dict(zip(names, a, strict=True)) | pair | {"rank": n} | alike | distances(cut[a], cut[b]))
    table = pd.DataFrame(rows)
    summary = _summary(table, similarity, cfg, context.cfg.seed)
    return Result("prompts", table, _scalars(summary), more_tables={"similarity": summary})


def _bases(
    context: Context, model: LatentDiffusion, cfg: PromptsConfig, scales: Sequence[float]
) -> dict[Measured, LocalBasis]:
    """Every tangent space that the tables compare; equal latents share one."""
    asked = min(cfg.rank + 1, context.cfg.svd.rank)  # one more than n, so that the gap behind it is known
    found: dict[Measured, LocalBasis] = {}
    for k, prompt in enumerate(context.track(cfg.prompts, "prompts")):
        prompted = {scale: context.with_model(model.prompted(prompt).guided(scale)) for scale in scales}
        for sample in context.samples.first(cfg.samples):
            for t_frac, t in context.edit_times:
                places: list[tuple[str, float, Tensor]] = [("fixed", model.guidance, context.latents.of(sample, t))]
                places += [("path", scale, other.latents.of(sample, t)) for scale, other in prompted.items()]
                known: list[tuple[Tensor, LocalBasis]] = []
                for kind, scale, x in places:
                    basis = next((basis for y, basis in known if torch.equal(x, y)), None)
                    if basis is None:
                        basis = prompted[scales[0]].bases.at(x, t, rank=asked)
                        known.append((x, basis))
                    found[sample.index, t_frac, kind, scale, k] = basis
    return found


def _similarity(context: Context, model: LatentDiffusion, prompts: Sequence[str]) -> tuple[Tensor, str]:
    """Cosines of the prompts' embeddings, shape (P, P), and which embeddings they are."""
    predictor: object = context.predictor
    if isinstance(predictor, SharesText):
        embedded, measure = predictor.embed_text(prompts), "clip"
    else:
        empty = model.encode_prompt("")["text"]
        embedded, measure = (
            torch.cat([model.encode_prompt(p)["text"] - empty for p in prompts]).flatten(1),
            "conditioning",
        )
    unit = torch.nn.functional.normalize(embedded.double().cpu(), dim=1)
    return unit @ unit.T, measure


def factor_overlap(first: str, second: str) -> float:
    """Of what two captions claim of a portrait's factors, the share that both claim, in [0, 1] (Jaccard's index).

    >>> factor_overlap("a smiling face with long hair", "a frowning face with long hair")
    0.3333333333333333

    NaN if neither claims anything.
    """
    a, b = set(prompted_values(first)), set(prompted_values(second))
    return len(a & b) / len(a | b) if a | b else float("nan")


def _summary(table: pd.DataFrame, similarity: Tensor, cfg: PromptsConfig, seed: int) -> pd.DataFrame:
    rows: list[Row] = []
    for (t_frac, kind, guidance), part in table.groupby(["t_frac", "kind", "guidance"], sort=False):
        far = torch.full((part["sample"].nunique(), *similarity.shape), float("nan"), dtype=torch.float64)
        for i, (_, one) in enumerate(part.groupby("sample")):
            a, b = torch.tensor(one["prompt_a"].to_numpy()), torch.tensor(one["prompt_b"].to_numpy())
            far[i, a, b] = far[i, b, a] = torch.tensor(one["distance"].to_numpy())
        reached = sorted({*part["prompt_a"], *part["prompt_b"]})  # an interrupted run has not reached all of them
        rho, p = mantel(similarity[reached][:, reached], far[:, reached][:, :, reached], draws=cfg.draws, seed=seed)
        mean, low, high = mean_interval(part.groupby("sample")["distance_normalized"].mean().to_numpy())
        where = {"t_frac": t_frac, "kind": kind, "guidance": guidance, "prompts": len(reached)}
        share = {"distance_normalized": mean, "low": low, "high": high}
        rows.append({**where, **share, "rho": rho, "p": p, "similarity_measure": part["similarity_measure"].iloc[0]})
    return pd.DataFrame(rows)


def mantel(similarity: Tensor, distance: Tensor, *, draws: int, seed: int) -> tuple[float, float]:
    """Do the more similar lie nearer? Mantel's test (1967) with Spearman's ρ.

    Args:
        similarity: symmetric, shape (P, P).
        distance: symmetric, one matrix a sample, shape (S, P, P).
        draws: random orders of the P things.
        seed: of the orders.

    Returns:
        (ρ of similarity and distance over pairs, mean over samples, in [−1, 1]; p, the share of orders that give a ρ as
        low). Both NaN for fewer than three things, or if all are equally similar or far.
    """
    upper = torch.triu_indices(len(similarity), len(similarity), offset=1)
    flat = distance[:, upper[0], upper[1]]
    if len(similarity) < 3 or similarity[upper[0], upper[1]].std() == 0 or bool((flat.std(dim=1) == 0).any()):
        return float("nan"), float("nan")
    found, null = shuffled_correlations(
        similarity.numpy(), list(distance.numpy()), centred_ranks, draws=draws, seed=seed
    )
    return float(found.mean()), monte_carlo_p(-found.mean(), -null.mean(axis=1))


def _scalars(summary: pd.DataFrame) -> dict[str, float]:
    scalars: dict[str, float] = {}
    rows: Sequence[Mapping[Any, Any]] = summary.to_dict("records")
    for row in rows:
        name = f"{row['kind']}/g_{row['guidance']:g}/t_{row['t_frac']:g}"
        scalars |= {
            f"distance/{name}": row["distance_normalized"],
            f"similarity_rho/{name}": row["rho"],
            f"similarity_p/{name}": row["p"],
        }
    return scalars
