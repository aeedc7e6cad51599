r"""Edits of h itself: Δh is added to a block's output while the picture is sampled.

Source: Asyrp (Kwon, Jeong & Uh, arXiv 2210.10960) and Haas et al. (arXiv 2303.11073).

A DDIM step takes x̂0 and ε to the next timestep, x_s = a_s x̂0 + b_s ε (P_t and D_t of Asyrp). With ε̃ the network's ε
whose block was given h + w(t) Δh, and x̂0(ε̃) the clean picture that it tells, a step within the interval [last, first]
of timesteps is

    asymmetric   x_s = a_s x̂0(ε̃) + b_s ε      (Asyrp: the same change in both cancels, to first order)
    symmetric    x_s = a_s x̂0(ε̃) + b_s ε̃      (Haas et al.)

for every noise process. The weight w(t) is 1, or falls evenly from 1 at ``first`` to its least value at ``last``.

Which Δh? Principal components of h over samples, u_i of a local basis, mean differences, and the right singular vectors
of ∂ε/∂h, the Jacobian of :func:`noise_of_h`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import Self

from torch import Tensor, nn

from diffgeo.diffusion.feature_map import find_block
from diffgeo.diffusion.image_tokens import ImageLayout
from diffgeo.diffusion.models import DiffusionModel
from diffgeo.diffusion.sampling import predicted
from diffgeo.errors import ConfigError, ShapeError

__all__ = ["Injection", "changed_h", "noise_of_h"]


@dataclass(frozen=True, eq=False)
class Injection:
    """Δh for each latent of a batch, and how it is added.

    Attributes:
        offsets: Δh, shape (B, C', H', W'), that of the block's output.
        block: whose output is changed, as ``feature.block``.
        first: highest timestep of the interval.
        last: lowest timestep of the interval.
        symmetric: change P_t and D_t, or P_t alone.
        fading: the weight falls linearly over the interval; else it is 1.
    """

    offsets: Tensor
    block: str
    first: int
    last: int
    symmetric: bool = False
    fading: bool = False

    @property
    def way(self) -> tuple[object, ...]:
        """How Δh is added, whatever it is: alike for injections that can be one batch."""
        return self.block, self.first, self.last, self.symmetric, self.fading

    def weight(self, t: int) -> float:
        """w(t): 0 outside the interval."""
        if not self.last <= t <= self.first:
            return 0.0
        return (t - self.last + 1) / (self.first - self.last + 1) if self.fading else 1.0

    def split(self, size: int) -> list[Self]:
        """The same for batches of so many latents."""
        return [replace(self, offsets=part) for part in self.offsets.split(size)]

    def predict(self, model: DiffusionModel, x: Tensor, t: int) -> tuple[Tensor | None, Tensor]:
        """What a DDIM step takes, in place of :func:`~diffgeo.diffusion.sampling.predicted`.

        Args:
            model: the diffusion model.
            x: x_t, shape (B, C, H, W).
            t: timestep.

        Returns:
            x̂0 (None if the step makes it of ε) and ε, each of shape (B, C, H, W).

        Raises:
            ConfigError: the network has no such block, or never runs it.
            ShapeError: Δh has another shape than the block's output.
        """
        weight = self.weight(t)
        if weight == 0:
            return predicted(model, x, t)
        offsets = weight * self.offsets

        def plus(h: Tensor) -> Tensor:
            if h.shape[1:] != offsets.shape[1:] or len(h) % len(offsets):
                raise ShapeError(
                    f"Δh has shape {tuple(offsets.shape)}, the output of {self.block} {tuple(h.shape)}",
                    "expected one Δh a latent, of the shape of h",
                )
            return h + offsets.repeat(len(h) // len(offsets), 1, 1, 1)  # guidance runs a batch twice

        with changed_h(model, (x.shape[-2], x.shape[-1]), self.block, plus):
            clean, noise = predicted(model, x, t)
        if self.symmetric:
            return clean, noise
        if clean is None:
            clean = model.schedule.predict_x0(x, noise, t)
        return clean, predicted(model, x, t)[1]


@contextmanager
def changed_h(
    model: DiffusionModel, size: tuple[int, int], block: str, change: Callable[[Tensor], Tensor]
) -> Iterator[None]:
    """Within the block of code, the network's block gives on a changed h. Skip connections stay as they are.

    Args:
        model: whose network runs.
        size: height and width of x.
        block: as ``feature.block``.
        change: h (B, C', H', W') → the h that is given on, of that shape.

    Raises:
        ConfigError: the network has no such block, its output holds no image, or the code never ran it.
    """
    reached, levels = False, len(list(getattr(model.unet, "down_blocks", [])))
    layout = ImageLayout.of(size, model.patch, levels, model.text_tokens)

    def give_on(_module: nn.Module, _inputs: object, output: object) -> object:
        nonlocal reached
        reached = True
        return layout.with_image(output, change, f"block {block!r} returns")

    handle = find_block(model.unet, block).register_forward_hook(give_on)
    try:
        yield
    finally:
        handle.remove()
    if not reached:
        raise ConfigError(f"the forward pass never ran block {block!r}", "choose another feature.block")


def noise_of_h(model: DiffusionModel, x: Tensor, t: int, block: str) -> Callable[[Tensor], Tensor]:
    """The map h ↦ ε(x, t) with the block's output replaced by h, and x and its skip connections held.

    Args:
        model: under whose conditioning; ``model.editor`` for directions.
        x: x_t, shape (C, H, W).
        t: timestep.
        block: as ``feature.block``.

    Returns:
        A differentiable map (C', H', W') → (C, H, W).
    """

    def noise(h: Tensor) -> Tensor:
        with changed_h(model, (x.shape[-2], x.shape[-1]), block, lambda _: h[None]):
            return model.predict_noise(x[None], t)[0]

    return noise
