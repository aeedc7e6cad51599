r"""Disentanglement: does every direction stand for one factor, and every factor for one direction?

Two kinds of evidence go into the same scores.

**Codes.** c_i = ⟨h, ū_i⟩ of N samples whose factors v_k are known: which codes tell which factors?

- DCI (Eastwood & Williams 2018): a regressor from all codes to each factor gives importances P (codes × factors);
  disentanglement D = Σ_i ρ_i (1 − H_A(P_i)), completeness C = Σ_j ρ_j (1 − H_K(P_·j)), rows and columns made
  distributions, H with the base of their length, ρ their share of all importance; informativeness I is the regressor's
  score on held-out samples.
- MIG (Chen et al. 2018): mean over factors of (I₁ − I₂) / H(v_k), the mutual informations of the two best codes.
- SAP (Kumar et al. 2018): mean over factors of the gap of the two best single-code scores.
- FactorVAE score (Kim & Mnih 2018): within samples that share one factor, the code of least normalised variance votes
  for it; accuracy of the majority vote.

**Effects.** M_ij = E|Δa_j| of edits along direction i: what does moving a code do? D and C of M are those of DCI with M
in place of P; the gap and the vote are the analogues of MIG and the FactorVAE score, see :func:`effect_gap` and
:func:`effect_vote`.

Constant codes are legal (they tell nothing); constant factors are left out, and if all are constant a score is
refused, since nothing was asked.
"""

from __future__ import annotations

import warnings
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import torch
from sklearn import config_context
from sklearn.ensemble import RandomForestRegressor
from sklearn.exceptions import ConvergenceWarning
from sklearn.linear_model import lars_path
from sklearn.svm import LinearSVC
from torch import Tensor

from diffgeo.errors import ShapeError, ValueRangeError

__all__ = [
    "Dci",
    "Regressor",
    "dci",
    "effect_gap",
    "effect_vote",
    "factor_vae_score",
    "importance_scores",
    "mig",
    "sap",
]

Regressor = Literal["lasso", "forest"]
Array = np.ndarray[tuple[int, ...], np.dtype[np.float64]]


@dataclass(frozen=True, slots=True)
class Dci:
    """Disentanglement, completeness and informativeness, each in [0, 1], and what the first two came from.

    Attributes:
        disentanglement: D, importance-weighted mean over codes.
        completeness: C, importance-weighted mean over factors.
        informativeness: I, mean over factors of R² (continuous, at least 0) or balanced accuracy (binary), held out.
        importance: P, shape (K, A), non-negative; 0 in the columns of constant factors.
    """

    disentanglement: float
    completeness: float
    informativeness: float
    importance: Tensor


def importance_scores(importance: Tensor) -> tuple[float, float]:
    """D and C of a matrix of importances or of effects (Eastwood & Williams 2018, section 2).

    Args:
        importance: shape (K, A), non-negative, finite: rows are codes or directions, columns factors or attributes.

    Returns:
        (D, C), each in [0, 1]; 0 where nothing has any importance. With one column D is 1, with one row C is: a
        distribution over one thing has no entropy.

    Raises:
        ShapeError: not a non-empty matrix.
        ValueRangeError: a negative or non-finite importance.
    """
    if importance.ndim != 2 or importance.numel() == 0:
        raise ShapeError(f"importances have shape {tuple(importance.shape)}", "expected (codes, factors)")
    p = importance.double()
    if not bool(torch.isfinite(p).all() and (p >= 0).all()):
        raise ValueRangeError("importances must be finite and 0 or more", f"found {p.min().item():g}")
    total = p.sum()
    if total == 0:
        return 0.0, 0.0
    scores = [(_concentration(rows) * rows.sum(dim=1)).sum() / total for rows in (p, p.T)]
    return min(1.0, scores[0].item()), min(1.0, scores[1].item())


def _concentration(rows: Tensor) -> Tensor:
    """1 − entropy of each row made a distribution, in units of its largest entropy; 0 for a row of zeros."""
    if rows.shape[1] == 1:
        return torch.ones(len(rows), dtype=rows.dtype)
    total = rows.sum(dim=1, keepdim=True)
    shares = rows / torch.where(total > 0, total, 1)
    entropy = -torch.xlogy(shares, shares).sum(dim=1) / np.log(rows.shape[1])
    return torch.where(total[:, 0] > 0, 1 - entropy, 0.0)


def dci(
    codes: Tensor,
    factors: Tensor,
    *,
    regressor: Regressor = "lasso",
    seed: int = 0,
) -> Dci:
    """DCI by Lasso (|coefficients| of standardised codes, penalty by BIC) or a random forest (decrease of variance).

    Args:
        codes: shape (N, K).
        factors: shape (N, A).
        regressor: the paper's two: ``lasso`` sees linear relations only, ``forest`` any.
        seed: of the forest, and of the split: informativeness is that of a third of the samples, held out.

    Raises:
        ShapeError: codes and factors are no matrices of one length.
        ValueRangeError: fewer than 12 samples, NaN, an unknown regressor, or every factor constant.
    """
    x, y, kinds = _checked(codes, factors, least=12)
    if regressor not in ("lasso", "forest"):
        raise ValueRangeError(f"regressor {regressor!r} is unknown", "allowed are lasso and forest")
    order = np.random.default_rng(seed).permutation(len(x))
    cut = max(2, round(len(x) / 3))
    test, train = order[:cut], order[cut:]
    spread = x[train].std(axis=0)
    x = (x - x[train].mean(axis=0)) / np.where(spread > 0, spread, 1)
    importance, scores = np.zeros((x.shape[1], y.shape[1])), []
    for j in range(y.shape[1]):
        if np.ptp(y[train, j]) == 0:
            continue
        v = (y[:, j] - y[train, j].mean()) / y[train, j].std()
        if regressor == "lasso":
            coefficients = _lasso(x[train], v[train])
            importance[:, j], predicted = np.abs(coefficients), x[test] @ coefficients
        else:
            model = RandomForestRegressor(100, min_samples_leaf=2, random_state=seed)
            importance[:, j] = model.fit(x[train], v[train]).feature_importances_
            predicted = model.predict(x[test])
        if np.ptp(y[test, j]) == 0:
            continue
        if kinds[j]:
            middle = (y[train, j].min() + y[train, j].max()) / 2
            threshold = (middle - y[train, j].mean()) / y[train, j].std()
            scores.append(_balanced_accuracy(v[test] > threshold, predicted > threshold))
        else:
            scores.append(max(0.0, _determination(v[test], predicted)))
    d, c = importance_scores(torch.from_numpy(importance))
    return Dci(d, c, float(np.mean(scores)) if scores else float("nan"), torch.from_numpy(importance))


def _lasso(x: Array, v: Array) -> Array:
    """Coefficients of the Lasso whose penalty has the least BIC; of ``LassoLarsIC``, six times as fast for few codes.

    Args:
        x: codes of mean 0, shape (N, K).
        v: a factor of mean 0, shape (N,).
    """
    with warnings.catch_warnings(), config_context(skip_parameter_validation=True, assume_finite=True):
        warnings.simplefilter("ignore", ConvergenceWarning)  # codes that are copies of each other
        _, _, path = lars_path(x, v, method="lasso")
    error = np.square(v[:, None] - x @ path).sum(axis=0)
    used = (np.abs(path) > np.finfo(float).eps).sum(axis=0)
    best: Array = path[:, np.argmin(error / _noise(x, v) + np.log(len(x)) * used)]
    return best


def _noise(x: Array, v: Array) -> float:
    """Residual variance of least squares, as BIC needs it; bounded from below where the codes explain everything."""
    design = np.column_stack([x, np.ones(len(x))])
    residual: Array = v - design @ np.linalg.lstsq(design, v, rcond=None)[0]
    variance: float = float(np.square(residual).sum()) / max(1, len(x) - design.shape[1])
    return max(variance, 1e-6)


def _determination(true: Array, predicted: Array) -> float:
    """R² of numbers that are not all equal; scikit-learn's ``r2_score`` without its checks, which took longer."""
    return 1 - float(np.square(true - predicted).sum() / np.square(true - true.mean()).sum())


def _balanced_accuracy(true: np.ndarray[Any, Any], predicted: np.ndarray[Any, Any]) -> float:
    """Mean over both classes of the share that is told right; ``balanced_accuracy_score`` without its checks."""
    return float((predicted[true].mean() + (~predicted[~true]).mean()) / 2)


def mig(codes: Tensor, factors: Tensor, *, bins: int = 20) -> float:
    """Mutual information gap.

    Codes and factors are cut into ``bins`` equal cells of their range (a factor of fewer values keeps them). The
    plug-in estimate of a code that tells nothing is about (bins − 1)² / 2N nats: compare with shuffled factors.

    Args:
        codes: shape (N, K); a single code has 0 for its rival.
        factors: shape (N, A).
        bins: cells, 2 or more.

    Returns:
        in [0, 1].

    Raises:
        ShapeError: codes and factors are no matrices of one length.
        ValueRangeError: fewer than 2 samples or bins, NaN, or every factor constant.
    """
    if bins < 2:
        raise ValueRangeError(f"bins is {bins}", "at least 2 are needed")
    x, y, _ = _checked(codes, factors, least=2)
    cells = [_cells(c, bins) for c in x.T]
    gaps = []
    for v in y.T:
        if np.ptp(v) == 0:
            continue
        w = _cells(v, bins)
        entropy = _information(w, w)
        best = sorted((_information(c, w) for c in cells), reverse=True)
        gaps.append((best[0] - (best[1] if len(best) > 1 else 0)) / entropy)
    return float(np.clip(np.mean(gaps), 0, 1))


def _information(a: np.ndarray[Any, Any], b: np.ndarray[Any, Any]) -> float:
    """Plug-in mutual information of two sequences of cells, in nats."""
    width = int(b.max()) + 1
    joint = np.bincount(a * width + b, minlength=(int(a.max()) + 1) * width).reshape(-1, width) / len(a)
    independent = joint.sum(axis=1, keepdims=True) * joint.sum(axis=0, keepdims=True)
    seen = joint > 0
    return float((joint[seen] * np.log(joint[seen] / independent[seen])).sum())


def sap(codes: Tensor, factors: Tensor) -> float:
    """Separated attribute predictability.

    A code's score is R² of the line through it for a continuous factor, and the accuracy of a linear support-vector
    machine, classes weighted, for a binary one.

    Args:
        codes: shape (N, K); a single code has 0 for its rival.
        factors: shape (N, A).

    Returns:
        in [0, 1].

    Raises:
        ShapeError: codes and factors are no matrices of one length.
        ValueRangeError: fewer than 3 samples, NaN, or every factor constant.
    """
    x, y, kinds = _checked(codes, factors, least=3)
    gaps = []
    for v, two in zip(y.T, kinds, strict=True):
        if np.ptp(v) == 0:
            continue
        best = np.sort(_accuracies(x, v) if two else _squared_correlations(x, v))[::-1]
        gaps.append(best[0] - (best[1] if len(best) > 1 else 0))
    return float(np.mean(gaps))


def _squared_correlations(codes: Array, factor: Array) -> Array:
    """Of every code (a column) with a continuous factor, 0 for a constant code."""
    x, v = codes - codes.mean(axis=0), factor - factor.mean()
    products, lengths = v @ x, np.square(x).sum(axis=0) * np.square(v).sum()
    found: Array = np.where(np.ptp(codes, axis=0) > 0, products**2 / np.where(lengths > 0, lengths, 1), 0.0)
    return found


def _accuracies(codes: Array, factor: Array) -> Array:
    """Of a linear machine on every code alone, for a binary factor; a half for a constant code."""
    labels = factor > (factor.min() + factor.max()) / 2
    machine, found = LinearSVC(C=0.01, class_weight="balanced", random_state=0), np.full(codes.shape[1], 0.5)
    with config_context(skip_parameter_validation=True, assume_finite=True):
        for i in np.flatnonzero(np.ptp(codes, axis=0) > 0):
            column = ((codes[:, i] - codes[:, i].mean()) / codes[:, i].std())[:, None]
            found[i] = _balanced_accuracy(labels, machine.fit(column, labels).predict(column))
    return found


def factor_vae_score(
    codes: Tensor, factors: Tensor, *, bins: int = 5, group: int = 16, votes: int = 400, seed: int = 0
) -> float:
    """FactorVAE score on a fixed set of samples.

    A vote: draw a factor and one of its cells (equal counts), draw ``group`` samples from that cell with replacement;
    the code whose variance among them is least, relative to its variance among all samples, votes for the factor. Half
    of the votes make the table code → factor by majority, the other half are judged by it. Chance is 1/A.

    Args:
        codes: shape (N, K); constant codes never vote.
        factors: shape (N, A).
        bins: cells a continuous factor is cut into; one with fewer values keeps them.
        group: samples a vote.
        votes: in all.
        seed: of the draws.

    Returns:
        Accuracy, in [0, 1]; 1 for a single factor, 0 if all codes are constant.

    Raises:
        ShapeError: codes and factors are no matrices of one length.
        ValueRangeError: fewer than 2 samples, cells or samples a vote, NaN, or every factor constant.
    """
    if min(bins, group, votes) < 2:
        raise ValueRangeError(f"bins, group and votes are {bins}, {group}, {votes}", "each must be 2 or more")
    x, y, _ = _checked(codes, factors, least=2)
    spread = x.var(axis=0)
    x, spread = x[:, spread > 0], spread[spread > 0]
    if x.shape[1] == 0:
        return 0.0
    cells = [_counts(v, bins) for v in y.T if np.ptp(v) > 0]
    random = np.random.default_rng(seed)
    shared, rows = np.zeros(votes, dtype=int), np.zeros((votes, group), dtype=int)
    for vote in range(votes):
        shared[vote] = k = int(random.integers(len(cells)))
        cell = cells[k][int(random.integers(len(cells[k])))]
        rows[vote] = random.choice(cell, size=group)
    winners = (x[rows].var(axis=1) / spread).argmin(axis=1)
    tables = np.zeros((2, x.shape[1], len(cells)))
    np.add.at(tables, (np.arange(votes) % 2, winners, shared), 1)
    majority = tables[0].argmax(axis=1)
    return float(tables[1, np.arange(len(majority)), majority].sum() / tables[1].sum())


def effect_gap(effects: Tensor) -> float:
    """The analogue of MIG and SAP for effects: mean over attributes of (M₁ − M₂) / M₁, the two strongest directions.

    Args:
        effects: M, shape (K, A), non-negative; attributes that nothing moves are left out.

    Returns:
        in [0, 1]; 1 for a single direction, 0 if nothing moves.

    Raises:
        ShapeError: not a non-empty matrix.
        ValueRangeError: a negative or non-finite effect.
    """
    importance_scores(effects)  # checks
    top = effects.double().topk(min(2, len(effects)), dim=0).values
    first, second = top[0], top[1] if len(top) > 1 else torch.zeros_like(top[0])
    moved = first > 0
    return ((first - second)[moved] / first[moved]).mean().item() if bool(moved.any()) else 0.0


def effect_vote(changes: Tensor) -> float:
    """The analogue of the FactorVAE score for effects: does a direction move the same attribute most, in every sample?

    Each sample's most moved attribute is predicted by the majority of the other samples (leaving itself out, ties
    count as their share of right answers).

    Args:
        changes: Δa, shape (N, K, A), N ≥ 2.

    Returns:
        Accuracy over samples and directions, in [0, 1]; chance is about 1/A.

    Raises:
        ShapeError: changes are not (N, K, A).
        ValueRangeError: fewer than 2 samples, or NaN.
    """
    if changes.ndim != 3:
        raise ShapeError(f"changes have shape {tuple(changes.shape)}", "expected (samples, directions, attributes)")
    if len(changes) < 2 or not bool(torch.isfinite(changes).all()):
        raise ValueRangeError("a vote needs 2 or more samples of finite changes", f"got {len(changes)}")
    votes = torch.nn.functional.one_hot(changes.abs().argmax(dim=-1), changes.shape[-1]).double()
    others = votes.sum(dim=0, keepdim=True) - votes
    elected = (others == others.amax(dim=-1, keepdim=True)).double()
    return ((elected * votes).sum(dim=-1) / elected.sum(dim=-1)).mean().item()


def _checked(codes: Tensor, factors: Tensor, *, least: int) -> tuple[Array, Array, list[bool]]:
    """Codes and factors as arrays, and which factors are binary: those that take two values at most."""
    if codes.ndim != 2 or factors.ndim != 2 or len(codes) != len(factors) or 0 in codes.shape[1:] + factors.shape[1:]:
        raise ShapeError(
            f"codes have shape {tuple(codes.shape)}, factors {tuple(factors.shape)}", "expected (N, K) and (N, A)"
        )
    if len(codes) < least:
        raise ValueRangeError(f"the score needs at least {least} samples", f"got {len(codes)}")
    x, y = codes.detach().cpu().double().numpy(), factors.detach().cpu().double().numpy()
    if not (np.isfinite(x).all() and np.isfinite(y).all()):
        raise ValueRangeError("codes and factors must be finite", "found NaN or infinity")
    if (np.ptp(y, axis=0) == 0).all():
        raise ValueRangeError("every factor is constant", "there is nothing to disentangle")
    return x, y, [len(np.unique(v)) <= 2 for v in y.T]


def _cells(values: Array, bins: int) -> np.ndarray[tuple[int, ...], np.dtype[np.int64]]:
    """Cell of each value: of ``bins`` equal ones over the range, or its own if there are no more values."""
    unique, inverse = np.unique(values, return_inverse=True)
    if len(unique) <= bins:
        return inverse.astype(np.int64)
    edges = np.linspace(values.min(), values.max(), bins + 1)[1:-1]
    return np.digitize(values, edges).astype(np.int64)


def _counts(values: Array, bins: int) -> list[np.ndarray[tuple[int, ...], np.dtype[np.int64]]]:
    """Rows of each cell, cells of equal counts; a factor with no more values than ``bins`` has one cell a value."""
    unique, inverse = np.unique(values, return_inverse=True)
    if len(unique) <= bins:
        return [np.flatnonzero(inverse == i) for i in range(len(unique))]
    return [rows for rows in np.array_split(np.argsort(values, kind="stable"), bins) if len(rows)]
