r"""The methods, each as what gives a sample's edits.

Edits of x, x_t + γ v, at the edit timestep:

    local        v_i of ∂h/∂x, the run's own feature map (P23a, P23b)
    global       ū_i of the training samples' bases, projected to the sample's tangent space and pulled back (P23a)
    x0, eps      right singular vectors of ∂x̂0/∂x and of ∂ε/∂x
    loco         those of the rows of ∂x̂0/∂x inside the sample's mask, less their part in the span of the leading
                 ones outside (LOCO Edit)
    random       drawn uniformly, once for all samples: the null
    supervised   mean difference of x_t between pictures with and without the attribute, the others' removed

Edits of h, where Δh = γ u is added at every step from the edit timestep down to ``until``:

    local_h      u_i of the same basis, asymmetric
    pca_h        principal components of h over unedited pictures, symmetric (Haas et al.)
    eps_h        right singular vectors of ∂ε/∂h, symmetric (Haas et al.)
    asyrp        mean difference of h between pictures with and without the attribute, the others' removed; asymmetric,
                 as Asyrp, whose own Δh is trained with CLIP
    random_h     drawn uniformly in H, once for all samples, asymmetric: the null of edits of h

A direction that a method finds at a sample is also tried on another: in X as it is, in H as it is. ``global``,
``pca_h``, ``random``, ``random_h``, ``supervised`` and ``asyrp`` have the same directions for all samples.
"""

from __future__ import annotations

import logging
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from time import process_time

import torch
from torch import Tensor

from diffgeo.data.factor_faces import FACTOR_NAMES
from diffgeo.diffusion.h_edits import noise_of_h
from diffgeo.errors import ConfigError
from diffgeo.geometry import global_directions, mean_differences, pca_directions, random_directions
from diffgeo.session import Context, Sample
from diffgeo.session.bases import MapName
from diffgeo.session.editor import HSpace
from diffgeo.session.masks import Masks
from diffgeo.studies.comparison.composition import apart
from diffgeo.studies.comparison.settings import METHODS, ComparisonConfig
from diffgeo.studies.disentanglement.reference import Reference
from diffgeo.studies.shared.matching import Edit, from_h, loco, output_map, random_in_x, straight

log = logging.getLogger(__name__)

IN_H = ("local_h", "pca_h", "eps_h", "asyrp", "random_h")
"""Methods whose directions are of H, and injected there."""
SYMMETRIC = ("pca_h", "eps_h")
REACH = 10
"""How much further than edits of x those of h may go: the steps that follow undo much of a symmetric one."""
SHARED = ("global", "pca_h", "random", "supervised", "asyrp", "random_h")
"""Methods whose directions are the same for all samples."""
TOLD = ("supervised", "asyrp")
"""Methods that are told which attribute to change."""
EXAMPLE = "smile"
"""What is changed in FactorFaces if neither the study nor ``data.masks`` says; the first factor if it is fixed."""


@dataclass(frozen=True, slots=True)
class Found:
    """Directions, and what finding them took.

    Attributes:
        columns: unit directions, of X (d, k) or of H (m, k).
        passes: products with a Jacobian, or evaluations of the network for pictures on their way to t.
    """

    columns: Tensor
    passes: int


class Methods:
    """Finds directions, and makes edits of them.

    Args:
        context: of the run.
        cfg: of the study.
        t: edit timestep.
        training: samples that make the global directions.
        reference: unedited pictures with their attributes.
    """

    def __init__(
        self, context: Context, cfg: ComparisonConfig, t: int, training: Sequence[Sample], reference: Reference
    ) -> None:
        self._context, self._cfg, self._t, self._training, self._reference = context, cfg, t, training, reference
        self._known: dict[tuple[str, int], Found] = {}
        self._seconds: dict[str, float] = {}

    @property
    def names(self) -> list[str]:
        """The methods that this run can have."""
        missing = set() if self.masks else {"loco"}
        missing |= {"asyrp", "supervised"} if self.attribute is None else set()
        return [name for name in self._cfg.methods or METHODS if name not in missing]

    @cached_property
    def masks(self) -> Masks:
        """Where local edits should act: as ``data.masks`` says, or where the attribute shows in portraits."""
        context = self._context
        own = not context.masks and self._portraits and self.attribute in FACTOR_NAMES
        return context.masks_at(self.attribute) if own else context.masks

    @cached_property
    def places(self) -> dict[str, Masks]:
        """Masks of the edits that are made at once, by name."""
        setting = "study.comparison.compose"
        asked = self._cfg.compose or []
        if self._context.data_distance is None and set(asked) & set(FACTOR_NAMES):
            log.warning("comparison composes no edits: factors have masks where the data are FactorFaces")
            return {}
        stems = [where if where in FACTOR_NAMES else Path(where).stem for where in asked]
        names = stems if len(set(stems)) == len(asked) else asked
        masks = [self._context.masks_at(where, setting=setting) for where in asked]
        return dict(zip(names, masks, strict=True))

    def apart(self, sample: Sample) -> dict[str, Tensor]:
        """The pixels of a sample that one of these masks alone has."""
        return apart({name: masks.of(sample) for name, masks in self.places.items()}, sample.name)

    @property
    def _portraits(self) -> bool:
        """Whether the samples are FactorFaces that the model drew."""
        return bool(self._context.known_factors) and self._context.cfg.data.images is None

    @property
    def attribute(self) -> str | None:
        """What the supervised methods are told to change.

        Raises:
            ConfigError: the pictures have no such attribute.
        """
        names, asked, masks = self._reference.factor_names, self._cfg.attribute, self._context.cfg.data.masks
        if masks is None and self._portraits:
            masks = EXAMPLE if EXAMPLE in self._context.known_factors else self._context.known_factors[0]
        if asked is not None and asked not in names:
            raise ConfigError(f"study.comparison.attribute={asked} is not known", f"known are {', '.join(names)}")
        return asked if asked is not None else masks if masks in names else None

    def edits(self, name: str, sample: Sample, source: Sample) -> Iterator[Edit]:
        """A method's edits of a sample along the directions found at another, or at itself."""
        context, t, cfg = self._context, self._t, self._cfg
        limit = context.editor.gammas[-1].item() * cfg.limit
        found = self.found(name, sample if name == "global" else source)  # which is pulled back at every sample
        if name not in IN_H:
            yield from straight(context, name, found.columns, limit)
            return
        until = min(cfg.until, context.model.schedule.fraction(t))
        editor = HSpace(context.model, context.cfg.edit, context.latents, context.bases, until, name in SYMMETRIC)
        through = editor.through(found.columns.T, sample, t)
        scale = context.bases.of(sample, t).s[0]  # γ is about as long as in x
        for i, u in enumerate(found.columns.T):
            step = u * scale
            yield Edit(name, i, lambda gamma, step=step: gamma * step, REACH * limit, through=through)  # type: ignore[misc]

    def found(self, name: str, source: Sample) -> Found:
        """The directions of a method at a sample, found once."""
        where = -1 if name in SHARED and name != "global" else source.index
        if (name, where) not in self._known:
            began = process_time()
            self._known[name, where] = self._find(name, source)
            self._seconds[name] = self._seconds.get(name, 0.0) + process_time() - began
        return self._known[name, where]

    def say_seconds(self) -> None:
        """Tell the log what finding the directions took here, less what was found already, as in the store."""
        spent = ", ".join(f"{name} {seconds:.2g} s" for name, seconds in self._seconds.items())
        log.debug("CPU time of finding directions, less what was found already: %s", spent)

    def _find(self, name: str, source: Sample) -> Found:
        context, t, k = self._context, self._t, self._cfg.directions
        match name:
            case "local" | "local_h":
                basis = context.bases.of(source, t)
                return Found((basis.V if name == "local" else basis.U)[:, :k], basis.certificate.passes)
            case "global":
                bases = [context.bases.of(one, t) for one in self._training]
                smallest, own = min(basis.rank for basis in bases), context.bases.of(source, t)
                u = global_directions([basis.truncated(smallest) for basis in bases]).U[:, :k]
                return Found(from_h(u, own), sum(basis.certificate.passes for basis in [own, *bases]))
            case "pca_h":
                return Found(pca_directions(self._h, k).U, self._evaluations(len(self._h)))
            case "asyrp" | "supervised":
                assert self.attribute is not None
                points = self._h if name == "asyrp" else self._reference.latents[t].flatten(1)
                factors, column = self._reference.factors, self._reference.factor_names.index(self.attribute)
                return Found(mean_differences(points, factors)[:, column : column + 1], self._evaluations(len(points)))
            case "random":
                return Found(random_in_x(context, k), 0)
            case "random_h":
                basis = context.bases.of(source, t)
                return Found(random_directions(len(basis.U), k, seed=context.cfg.seed).U.to(basis.U), 0)
            case _:
                return self._of_output(name, source)

    def _of_output(self, name: str, source: Sample) -> Found:
        """Directions from the network's output at a sample: ``x0``, ``eps``, ``loco``, ``eps_h``."""
        context, t, k = self._context, self._t, self._cfg.directions
        x = context.latents.of(source, t)
        if name == "loco":
            return Found(*loco(context, x, t, self.masks.of(source), rank=k, null_rank=self._cfg.null_rank))
        if name == "eps_h":
            f = context.bases.feature_map(t)
            with torch.no_grad():
                h = f(x)
            ours = MapName(t, f.block, output="eps of h")
            basis = context.bases.of_map(noise_of_h(context.model.editor, x, t, f.block), h, name=ours, rank=k)
        else:
            basis = context.bases.of_map(output_map(context, t, name), x, name=MapName(t, output=name), rank=k)
        return Found(basis.V, basis.certificate.passes)

    def _evaluations(self, pictures: int) -> int:
        """Of the network, to take pictures from 0 to t."""
        return pictures * round(self._context.cfg.schedule.steps * self._context.model.schedule.fraction(self._t))

    @cached_property
    def _h(self) -> Tensor:
        """The unedited pictures' h, shape (N, m)."""
        f = self._context.bases.feature_map(self._t)
        with torch.no_grad():
            return torch.cat([f(x).flatten(1) for x in self._reference.latents[self._t].split(16)])
