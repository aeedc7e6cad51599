"""What the edits of one timestep did, gathered sample by sample: rows of tables that need all samples.

An edit's target is the attribute that its direction moves most on all other samples, so rows are finished last.
"""

from __future__ import annotations

import math
from collections.abc import Iterator

import pandas as pd
import torch
from torch import Tensor

from diffgeo.metrics import edits as scores
from diffgeo.metrics.attributes import AttributePredictor, label_direction
from diffgeo.metrics.clip import SharesText
from diffgeo.results import Row
from diffgeo.studies.disentanglement.reference import Reference

DEPENDENCY_EDGES = (0.0, 0.25, 0.5, 1.0, 1.5, 2.0, math.inf)
"""Bins of |Δa_t| in standard deviations, for the curve of attribute dependency."""


class Edited:
    """Everything that the edits of one timestep gave, sample by sample.

    Args:
        predictor: what read the attributes.
        reference: the unedited pictures, which say what attributes are judged.
    """

    def __init__(self, predictor: AttributePredictor, reference: Reference) -> None:
        self.names, self.predictor, self.columns = reference.names, predictor, reference.columns
        self.rows: list[Row] = []
        self.levels: dict[tuple[str, float], list[Tensor]] = {}  # Δa (K, A) of each sample at each strength
        self.samples: list[int] = []
        self.moves: dict[str, list[Tensor]] = {}  # changes of CLIP's embedding, (K, e) a sample
        self.axes: dict[str, Tensor] = {}
        self.frames: list[Tensor] = []
        self.changes: dict[str, list[Tensor]] = {}
        self.gammas: dict[tuple[str, int], list[float]] = {}  # what matched the samples before: a good start

    def by_method(self) -> dict[str, Tensor]:
        """Δa, shape (N, K, A), by method."""
        return {method: torch.stack(parts) for method, parts in self.changes.items()}

    def finish(self) -> list[Row]:
        """Rows with what needs all samples: held-out targets, and success on transfer."""
        for method, changes in self.by_method().items():
            own = scores.targets(changes, held_out=False)
            chosen = scores.targets(changes, held_out=True) if len(changes) > 1 else own
            mean, largest = scores.attribute_dependency(changes, chosen)
            precision, flattered = scores.edit_precision(changes, chosen), scores.edit_precision(changes, own)
            towards = self._towards(method, changes, chosen)
            mine = [row for row in self.rows if row["method"] == method]
            k = changes.shape[1]
            for place, row in enumerate(mine):
                i, j = divmod(place, k)
                row |= {
                    "target": self.names[int(chosen[i, j])],
                    "target_held_out": len(changes) > 1,
                    "on_target": changes[i, j, chosen[i, j]].abs().item(),
                    "dependency_mean": mean[i, j].item(),
                    "dependency_max": largest[i, j].item(),
                    "precision": precision[i, j].item(),
                    "precision_own": flattered[i, j].item(),
                    "s_dir": math.nan if towards is None else towards[i, j].item(),
                }
        return self.rows

    def _towards(self, method: str, changes: Tensor, chosen: Tensor) -> Tensor | None:
        """S_dir towards the target, with the sign that it has on the other samples, (N, K); None without CLIP."""
        if not isinstance(self.predictor, SharesText) or len(changes) < 2:
            return None
        others = changes.sum(dim=0, keepdim=True) - changes
        sign = others.gather(-1, chosen[..., None]).sign()
        text = self.predictor.text_directions.cpu()[self.columns][chosen] * sign
        return scores.directional_similarity(torch.stack(self.moves[method]), text)

    def pareto(self) -> Iterator[Row]:
        """Each curve follows one attribute: the target at the matched strength, chosen on the other samples."""
        by_method = self.by_method()
        for (method, level), parts in self.levels.items():
            matched, changes = by_method[method], torch.stack(parts)
            target = scores.targets(matched, held_out=len(matched) > 1)
            mean, largest = scores.attribute_dependency(changes, target)
            on = changes.abs().gather(-1, target[..., None])[..., 0]
            for i, sample in enumerate(self.samples):
                for k in range(changes.shape[1]):
                    yield {
                        "sample": sample,
                        "method": method,
                        "direction": k,
                        "level": level,
                        "target": self.names[int(target[i, k])],
                        "on_target": on[i, k].item(),
                        "collateral": mean[i, k].item(),
                        "collateral_max": largest[i, k].item(),
                    }

    def table(self) -> tuple[pd.DataFrame, dict[str, Tensor]]:
        """(the rows so far, Δa by method)."""
        return pd.DataFrame(self.rows), self.by_method()

    def labels(self) -> dict[str, list[tuple[str, float]]]:
        """Each direction's (label, confidence), by method."""
        return {
            method: [label_direction(self.names, changes[:, k]) for k in range(changes.shape[1])]
            for method, changes in self.by_method().items()
        }

    def rescoring(self, labels: dict[str, list[tuple[str, float]]]) -> Iterator[Row]:
        """The re-scoring matrix with its 95 % intervals, a row per entry."""
        for method, changes in self.by_method().items():
            value, size = scores.rescoring_matrix(changes), changes.abs().mean(dim=0)
            low, high = scores.rescoring_interval(changes)
            for k, (label, confidence) in enumerate(labels[method]):
                for j, name in enumerate(self.names):
                    yield {
                        "method": method,
                        "direction": k,
                        "label": label,
                        "confidence": confidence,
                        "attribute": name,
                        "score": value[k, j].item(),
                        "low": low[k, j].item(),
                        "high": high[k, j].item(),
                        "effect": size[k, j].item(),
                        "samples": len(changes),
                    }

    def dependency(self) -> Iterator[Row]:
        """Attribute dependency by how far the target moved, over every strength that was tried; empty bins left out."""
        edges = torch.tensor(DEPENDENCY_EDGES)
        by_method = self.by_method()
        for method, matched in by_method.items():
            target = scores.targets(matched, held_out=len(matched) > 1)
            changes = torch.cat([torch.stack(parts) for (name, _), parts in self.levels.items() if name == method])
            target = target.repeat(len(changes) // len(target), 1)
            changes, target = changes.flatten(0, 1), target.flatten()
            means = scores.binned_dependency(changes, target, edges)
            on = changes.abs().gather(-1, target[:, None])[:, 0]
            for low, high, mean in zip(DEPENDENCY_EDGES, DEPENDENCY_EDGES[1:], means.tolist(), strict=False):
                if not math.isnan(mean):
                    inside = int(((on >= low) & (on < high)).sum())
                    yield {"method": method, "from": low, "to": high, "dependency": mean, "edits": inside}

    def timing(self) -> Iterator[Row]:
        """Share of each sample's effects that falls on each attribute, by method."""
        for method, changes in self.by_method().items():
            size = changes.abs().sum(dim=1)  # (N, A), over directions
            shares = size / size.sum(dim=1, keepdim=True).clamp_min(1e-12)
            for i, row in enumerate(shares):
                for name, share in zip(self.names, row.tolist(), strict=True):
                    yield {"method": method, "place": i, "attribute": name, "share": share}
