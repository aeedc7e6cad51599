r"""Directions in and out: one documented file, so that a published direction can be scored by others.

A direction set is a safetensors file. Tensors:

    ``U``       (m, k)  unit columns, directions in H
    ``score``   (k,)    how well each fits its makers (:class:`diffgeo.geometry.GlobalDirections`), NaN if unknown

Metadata, one JSON object under the key ``diffgeo.diffusion.direction_files``:

    ``format``      3 (2 had no ``tap``, and is read as that of ``output``)
    ``t``, ``T``    timestep of the latents, and the largest timestep of the schedule
    ``block``, ``pool``, ``tap``   of the feature map
    ``model``, ``digest``   source with revision, and the model's ``digest``, over weights, configs and versions
    ``method``      how they were found
    ``labels``      what each does, if that was measured (a list, or null)
    ``provenance``  anything else: samples, rank, schedule, versions

Only safetensors are read; nothing in the file is executed.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from torch import Tensor

from diffgeo.diffusion.models import DiffusionModel
from diffgeo.errors import DirectionsError
from diffgeo.files import save_tensors
from diffgeo.geometry import GlobalDirections

__all__ = ["Directions", "load_directions", "save_directions"]

KEY = "diffgeo.directions"
FORMAT = 3
_READ = (2, 3)


@dataclass(frozen=True, slots=True, repr=False)
class Directions:
    """Directions in H with what they belong to.

    Attributes:
        U: unit columns, shape (m, k).
        score: shape (k,).
        method: how they were found.
        t: timestep of the latents.
        T: largest timestep of the schedule.
        block: of the feature map.
        pool: of the feature map, ``"sum"`` or None.
        model: source of the model, with its revision.
        digest: of the model, over weights, configs and library versions.
        tap: of the feature map, ``output``, ``update`` or ``normalised``.
        labels: what each does, or None.
        provenance: plain JSON.
    """

    U: Tensor
    score: Tensor
    method: str
    t: int
    T: int
    block: str
    pool: str | None
    model: str
    digest: str
    tap: str = "output"
    labels: tuple[str, ...] | None = None
    provenance: Mapping[str, Any] = field(default_factory=dict)

    def __repr__(self) -> str:
        length, count = self.U.shape
        tap = "" if self.tap == "output" else f"tap={self.tap!r}, "
        place = f"t={self.t} of {self.T}, block={self.block!r}, pool={self.pool!r}, {tap}model={self.model!r}"
        return f"Directions({count} of length {length}, method={self.method!r}, {place})"

    @classmethod
    def of(
        cls,
        found: GlobalDirections,
        model: DiffusionModel,
        *,
        t: int,
        block: str,
        pool: str | None,
        tap: str = "output",
        labels: Sequence[str] | None = None,
        provenance: Mapping[str, Any] | None = None,
    ) -> Directions:
        """Directions of a model at t, with the model's identity filled in.

        Args:
            found: the directions, unit columns (m, k), with their scores.
            model: that they were found on.
            t: timestep of the latents.
            block: of the feature map.
            pool: of the feature map, ``"sum"`` or None.
            tap: of the feature map.
            labels: what each does, k of them, or None.
            provenance: anything that plain JSON can hold.

        Returns:
            The set, its tensors on the CPU.

        Raises:
            DirectionsError: a label for each direction is missing.
        """
        if labels is not None and len(labels) != found.U.shape[1]:
            raise DirectionsError(f"{len(labels)} labels for {found.U.shape[1]} directions", "give one each, or none")
        return cls(
            found.U.cpu(),
            found.score.cpu(),
            found.method,
            t,
            model.schedule.T,
            block,
            pool,
            model.source,
            model.digest,
            tap,
            None if labels is None else tuple(labels),
            dict(provenance or {}),
        )

    def check(self, model: DiffusionModel, *, t: int, block: str, pool: str | None, tap: str = "output") -> None:
        """Whether the directions mean anything for this model, timestep and feature map.

        Args:
            model: that they shall be used on; compared by its digest.
            t: timestep of the latents there.
            block: of the feature map there.
            pool: of the feature map there, ``"sum"`` or None.
            tap: of the feature map there.

        Raises:
            DirectionsError: they do not; the message says what differs.
        """
        pairs = [
            ("digest", self.digest, model.digest, f"were made on {self.model}, this is {model.source}"),
            ("T", self.T, model.schedule.T, f"belong to a schedule up to T = {self.T}, not {model.schedule.T}"),
            ("t", self.t, t, f"belong to timestep {self.t}, not {t}"),
            ("block", self.block, block, f"belong to block {self.block}, not {block}"),
            ("pool", self.pool, pool, f"belong to pooling {self.pool or 'null'}, not {pool or 'null'}"),
            ("tap", self.tap, tap, f"belong to feature.tap={self.tap}, not {tap}"),
        ]
        for name, own, other, reason in pairs:
            if own != other:
                same = name == "digest" and self.model == model.source
                more = " (other weights, configs, or version of diffusers or transformers)" if same else ""
                raise DirectionsError(f"these directions {reason}{more}", "they mean nothing there")


def save_directions(path: str | Path, directions: Directions) -> Path:
    """Write a direction set.

    Args:
        path: of the file, ending in ``.safetensors``.
        directions: what to write.

    Returns:
        The file, ``~`` expanded.

    Raises:
        DirectionsError: the suffix is another one, or the columns are not unit vectors.
        OSError: the folder cannot be written.
    """
    file = Path(path).expanduser()
    if file.suffix != ".safetensors":
        raise DirectionsError(f"{file.name} is no name for directions", "it should end in .safetensors")
    _check_tensors(directions.U, directions.score, file)
    header = {
        "format": FORMAT,
        "method": directions.method,
        "t": directions.t,
        "T": directions.T,
        "block": directions.block,
        "pool": directions.pool,
        "tap": directions.tap,
        "model": directions.model,
        "digest": directions.digest,
        "labels": directions.labels,
        "provenance": dict(directions.provenance),
    }
    tensors = {"U": directions.U.contiguous().cpu(), "score": directions.score.contiguous().cpu()}
    save_tensors(file, tensors, {KEY: json.dumps(header)})
    return file


def load_directions(path: str | Path) -> Directions:
    """Read a direction set; :meth:`Directions.check` then says whether it fits a model.

    Args:
        path: a file that :func:`save_directions` wrote.

    Returns:
        The set, its tensors on the CPU.

    Raises:
        DirectionsError: the file is missing, damaged, no direction set, or of a later format.
    """
    file = Path(path).expanduser()
    if not file.is_file():
        raise DirectionsError(f"{file} does not exist", "give a file that save_directions wrote")
    try:
        with safe_open(file, "pt") as opened:
            header = json.loads((opened.metadata() or {})[KEY])
            u, score = opened.get_tensor("U"), opened.get_tensor("score")
        if header["format"] not in _READ:
            raise DirectionsError(
                f"{file} has format {header['format']}, this version reads {FORMAT}",
                "update diffgeo, or make the directions of an earlier version again",
            )
        labels = header["labels"]
        found = Directions(
            u,
            score,
            str(header["method"]),
            int(header["t"]),
            int(header["T"]),
            str(header["block"]),
            header["pool"],
            str(header["model"]),
            str(header["digest"]),
            str(header.get("tap", "output")),
            None if labels is None else tuple(map(str, labels)),
            dict(header["provenance"]),
        )
    except (SafetensorError, KeyError, ValueError, TypeError, OSError) as error:
        reason = " ".join(str(error).split())[:200]
        raise DirectionsError(
            f"{file} is no direction set ({type(error).__name__}: {reason})", "give a file that save_directions wrote"
        ) from error
    _check_tensors(found.U, found.score, file)
    return found


def _check_tensors(u: Tensor, score: Tensor, file: Path) -> None:
    if u.ndim != 2 or u.numel() == 0 or score.shape != u.shape[1:]:
        raise DirectionsError(
            f"{file.name}: U has shape {tuple(u.shape)}, score {tuple(score.shape)}", "need (m, k), (k,)"
        )
    norms = u.double().norm(dim=0)
    if not bool(torch.isfinite(norms).all()) or float((norms - 1).abs().max()) > 1e-3 or math.isnan(norms[0].item()):
        raise DirectionsError(f"{file.name}: the columns of U are no unit vectors", "divide each by its length")
