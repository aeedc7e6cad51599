r"""FactorFaces: portraits whose every factor of variation is known.

A picture is a pure function of a vector z of 14 factors, each independent and uniform on [−1, 1]
(glasses: −1 or 1). Shapes are signed-distance functions s(x, y), negative inside; a shape covers a pixel
of width p by

    c = clip(1/2 − s / p, 0, 1),

which is the exact coverage of a straight edge and makes every resolution anti-aliased. Layers are
painted back to front, canvas ← canvas + c·opacity·(colour − canvas), so the picture depends smoothly on z.

Coordinates: x to the right and y **down**, both in [−1, 1] over the picture. Angles in radians.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor

from diffgeo.errors import ShapeError, ValueRangeError

__all__ = ["FACTORS", "FACTOR_NAMES", "Factor", "render", "sample_factors"]


@dataclass(frozen=True, slots=True)
class Factor:
    """One factor of variation.

    Attributes:
        name: key in tables and figures.
        kind: ``continuous`` on [−1, 1], or ``binary`` in {−1, 1}.
        scale: ``coarse`` where the factor moves large areas or the layout, ``fine`` where it moves a
            few pixels; the coarse-to-fine claim of the papers is tested against it.
        low: what the picture shows at −1.
        high: what it shows at +1.
    """

    name: str
    kind: Literal["continuous", "binary"]
    scale: Literal["coarse", "fine"]
    low: str
    high: str


FACTORS: tuple[Factor, ...] = (
    Factor("background_hue", "continuous", "coarse", "red background", "violet background"),
    Factor("skin_tone", "continuous", "coarse", "light skin", "dark skin"),
    Factor("hair_hue", "continuous", "coarse", "red hair", "yellow hair"),
    Factor("hair_lightness", "continuous", "coarse", "dark hair", "light hair"),
    Factor("hair_length", "continuous", "coarse", "short hair", "long hair"),
    Factor("face_width", "continuous", "coarse", "narrow face", "wide face"),
    Factor("yaw", "continuous", "coarse", "looks left", "looks right"),
    Factor("smile", "continuous", "fine", "frown", "smile"),
    Factor("mouth_opening", "continuous", "fine", "closed mouth", "open mouth"),
    Factor("eye_opening", "continuous", "fine", "narrow eyes", "wide eyes"),
    Factor("brow_angle", "continuous", "fine", "worried brows", "angry brows"),
    Factor("glasses", "binary", "coarse", "no glasses", "glasses"),
    Factor("beard", "continuous", "coarse", "shaven", "full beard"),
    Factor("freckles", "continuous", "fine", "clear skin", "freckles"),
)
FACTOR_NAMES: tuple[str, ...] = tuple(f.name for f in FACTORS)

_SKIN_TONES = ((0.99, 0.86, 0.74), (0.86, 0.63, 0.47), (0.45, 0.28, 0.19))
_FRECKLES = ((-0.30, 0.13), (-0.21, 0.20), (-0.36, 0.23), (-0.16, 0.10), (-0.26, 0.30), (0.0, 0.04))


def sample_factors(n: int, *, generator: torch.Generator | None = None, varying: Sequence[str] | None = None) -> Tensor:
    """Draw factor vectors from their joint distribution (independent, uniform; glasses by a fair coin).

    Args:
        n: how many, at least 0.
        generator: source of randomness, on the device where the factors are wanted; the CPU's global one when None.
        varying: factors that vary; the others rest at 0 (binary ones at −1). All of them when None. What a varying
            factor draws does not depend on which others vary.

    Returns:
        Factors z, shape (n, 14), float32, in the order of :data:`FACTORS`.

    Raises:
        ValueRangeError: n is negative, or a name in ``varying`` is no factor.
    """
    if n < 0:
        raise ValueRangeError(f"cannot draw {n} factor vectors", "n must be 0 or more")
    unknown = sorted(set(varying or ()) - set(FACTOR_NAMES))
    if unknown:
        raise ValueRangeError(f"no factor is called {', '.join(unknown)}", f"factors are {', '.join(FACTOR_NAMES)}")
    device = generator.device if generator is not None else torch.device("cpu")
    z = torch.rand(n, len(FACTORS), generator=generator, device=device) * 2 - 1
    binary = torch.tensor([f.kind == "binary" for f in FACTORS], device=device)
    z = torch.where(binary, torch.where(z < 0, -1.0, 1.0), z)
    if varying is None:
        return z
    fixed = torch.tensor([name not in varying for name in FACTOR_NAMES], device=device)
    return torch.where(fixed, torch.where(binary, -1.0, 0.0), z)


def render(factors: Tensor, size: int = 32) -> Tensor:
    """Paint portraits.

    Args:
        factors: z, shape (n, 14), in [−1, 1], in the order of :data:`FACTORS`.
        size: side of the square picture in pixels, at least 8.

    Returns:
        Pictures, shape (n, 3, size, size), RGB in [−1, 1], dtype and device of ``factors``.

    Raises:
        ShapeError: factors is not (n, 14).
        ValueRangeError: a factor is outside [−1, 1] or not finite, or size is below 8.
    """
    if factors.ndim != 2 or factors.shape[1] != len(FACTORS):
        raise ShapeError(f"factors have shape {tuple(factors.shape)}", f"expected (n, {len(FACTORS)})")
    if size < 8:
        raise ValueRangeError(f"size is {size}", "a portrait needs at least 8 pixels")
    if not factors.is_floating_point():
        raise ValueRangeError(f"factors are {factors.dtype}", "a portrait needs floating point")
    if factors.numel() and not bool((factors.abs() <= 1).all()):  # also false for NaN
        worst = factors.abs().max().item()
        raise ValueRangeError(f"a factor has magnitude {worst:g}", "factors lie in [-1, 1]")
    return _Portrait(factors, size).paint()


class _Canvas:
    """A batch of pictures in [0, 1] with the painting rule of the module's docstring."""

    def __init__(self, n: int, size: int, like: Tensor) -> None:
        self.pixel = 2 / size
        axis = (torch.arange(size, device=like.device, dtype=like.dtype) + 0.5) * self.pixel - 1
        self.y, self.x = axis[None, :, None], axis[None, None, :]
        self.rgb = torch.zeros(n, 3, size, size, device=like.device, dtype=like.dtype)

    def coverage(self, distance: Tensor, softness: float = 0.0) -> Tensor:
        """Share of each pixel that lies inside; ``softness`` widens the edge, in units of the picture."""
        return (0.5 - distance / (self.pixel + softness)).clamp(0, 1)

    def fill(self, colour: Tensor, coverage: Tensor) -> None:
        """Paint colour (n or 1, 3, 1 or H, 1 or W) where coverage (n or 1, H, W) is positive."""
        self.rgb = torch.lerp(self.rgb, colour.expand_as(self.rgb), coverage[:, None].expand_as(self.rgb))


def _root(x: Tensor) -> Tensor:
    """√x, whose derivative is taken to be 0 at x = 0; autograd's is infinite there, and times 0 no number."""
    return x.clamp_min(torch.finfo(x.dtype).tiny).sqrt()  # at 0 a root no painted pixel can tell from 0


def _ellipse(x: Tensor, y: Tensor, a: Tensor | float, b: Tensor | float) -> Tensor:
    """First-order signed distance to the ellipse with half axes a, b: (ρ − 1) ρ / |∇(ρ²)/2|."""
    u, v = x / a, y / b
    rho = _root(u * u + v * v)
    slope = _root((u / a) ** 2 + (v / b) ** 2)
    return (rho - 1) * rho / slope.clamp_min(1e-6)


def _rounded_box(x: Tensor, y: Tensor, a: Tensor | float, b: Tensor | float, r: float) -> Tensor:
    """Signed distance to a box of half sides a, b with corners of radius r."""
    dx, dy = x.abs() - (a - r), y.abs() - (b - r)
    outside = _root(dx.clamp_min(0) ** 2 + dy.clamp_min(0) ** 2)
    return outside + torch.maximum(dx, dy).clamp_max(0) - r


def _capsule(x: Tensor, y: Tensor, angle: Tensor | float, half_length: float, r: float) -> Tensor:
    """Signed distance to a stroke through the origin at ``angle``, of half length and radius r."""
    angle = torch.as_tensor(angle, dtype=x.dtype, device=x.device)
    c, s = angle.cos(), angle.sin()
    along, across = c * x + s * y, c * y - s * x
    return _root((along.abs() - half_length).clamp_min(0) ** 2 + across**2) - r


def _hsv(hue: Tensor, saturation: Tensor | float, value: Tensor | float) -> Tensor:
    """RGB in [0, 1] with the channel inserted at dim 1; hue in turns."""
    offsets = torch.tensor([5.0, 3.0, 1.0], device=hue.device, dtype=hue.dtype)[:, None, None]
    k = (offsets + hue[:, None] * 6) % 6
    ramp = torch.minimum(torch.minimum(k, 4 - k), torch.ones_like(k)).clamp_min(0)
    value = torch.as_tensor(value, device=hue.device, dtype=hue.dtype)
    value = value[:, None] if value.ndim == 3 else value
    return value * (1 - saturation * ramp)


class _Portrait:
    """One batch of portraits; each method paints a layer, ``paint`` gives their order."""

    def __init__(self, factors: Tensor, size: int) -> None:
        self.canvas = _Canvas(len(factors), size, factors)
        self.x, self.y = self.canvas.x, self.canvas.y
        z = {name: factors[:, i, None, None] for i, name in enumerate(FACTOR_NAMES)}
        self.z = z
        self.unit = {name: (value + 1) / 2 for name, value in z.items()}
        self.width = 0.47 + 0.09 * z["face_width"]
        self.shift = 0.12 * z["yaw"]
        self.skin = self._skin_colour()
        self.hair = _hsv((0.06 + 0.09 * z["hair_hue"]) % 1.0, 0.75, 0.22 + 0.68 * self.unit["hair_lightness"])
        self.dark = 0.25 * self.hair + 0.75 * self.rgb(0.13, 0.09, 0.09)

    def rgb(self, r: float, g: float, b: float) -> Tensor:
        return torch.tensor([r, g, b], device=self.y.device, dtype=self.y.dtype)[None, :, None, None]

    def paint(self) -> Tensor:
        for layer in (self._background, self._long_hair, self._shoulders, self._face, self._freckles):
            layer()
        for layer in (self._beard, self._nose, self._mouth, self._eyes, self._brows, self._fringe):
            layer()
        self._glasses()
        return self.canvas.rgb.clamp(0, 1) * 2 - 1  # highlights on light skin pass 1

    def _skin_colour(self) -> Tensor:
        light, middle, dark = (self.rgb(*tone) for tone in _SKIN_TONES)
        t = self.z["skin_tone"][:, None]
        return torch.where(t < 0, torch.lerp(middle, light, -t), torch.lerp(middle, dark, t))

    def _background(self) -> None:
        # hue stops short of a full turn, so that −1 and 1 differ
        light = 0.97 - 0.13 * (self.y + 1) / 2 - 0.06 * self.x.square()
        colour = _hsv(0.41 + 0.41 * self.z["background_hue"], 0.42, 1.0)
        self.canvas.rgb = colour * light[:, None]

    def _long_hair(self) -> None:
        top, bottom = -0.82, -0.06 + 0.88 * self.unit["hair_length"]
        middle, half = (top + bottom) / 2, (bottom - top) / 2
        shape = _rounded_box(self.x, self.y - middle, self.width + 0.155, half, 0.32)
        shade = 0.86 - 0.12 * (self.y + 0.2).clamp(0, 1)
        self.canvas.fill(self.hair * shade[:, None], self.canvas.coverage(shape))

    def _shoulders(self) -> None:
        neck = _rounded_box(self.x - 0.3 * self.shift, self.y - 0.75, 0.19, 0.4, 0.1)
        self.canvas.fill(self.skin * 0.78, self.canvas.coverage(neck))
        shirt = _ellipse(self.x, self.y - 1.18, 0.80, 0.42)
        collar = _ellipse(self.x - 0.3 * self.shift, self.y - 0.72, 0.23, 0.14)
        self.canvas.fill(self.rgb(0.36, 0.42, 0.52), self.canvas.coverage(torch.maximum(shirt, -collar)))

    def _face(self) -> None:
        for side in (-1, 1):
            ear = _ellipse(self.x - side * self.width * 0.99 + 0.35 * self.shift, self.y - 0.02, 0.09, 0.13)
            self.canvas.fill(self.skin * 0.84, self.canvas.coverage(ear))
        self.outline = _ellipse(self.x, self.y - 0.02, self.width, 0.66)
        across = (self.x / self.width).clamp(-1, 1)
        # the cheek that turns away from the light darkens: yaw shades as well as shifts
        shade = 1 - 0.10 * across.square() + 0.17 * across * self.z["yaw"] - 0.05 * self.y.clamp(0, 1)
        self.canvas.fill(self.skin * shade.clamp(0.6, 1.08)[:, None], self.canvas.coverage(self.outline))
        self.face = self.canvas.coverage(self.outline)

    def _freckles(self) -> None:
        cover = torch.zeros_like(self.face)
        for px, py in _FRECKLES:
            for side in (-1.0, 1.0) if px else (1.0,):
                dot = _ellipse(self.x - self.shift - side * px, self.y - py, 0.042, 0.042)
                cover = torch.maximum(cover, self.canvas.coverage(dot, softness=0.02))
        self.canvas.fill(self.skin * self.rgb(0.52, 0.36, 0.30), cover * self.face * 0.95 * self.unit["freckles"])

    def _beard(self) -> None:
        # a full beard hangs below the chin, so that it shows on any skin and with any hair
        jaw = _ellipse(self.x - 0.4 * self.shift, self.y + 0.06, self.width * 0.80, 0.42)
        chin = _ellipse(self.x - 0.2 * self.shift, self.y - 0.08, self.width * 0.98, 0.72)
        region = torch.maximum(torch.maximum(chin, -jaw), 0.10 - self.y)
        opacity = self.canvas.coverage(region, softness=0.05) * 0.95 * self.unit["beard"]
        self.canvas.fill(0.45 * self.hair + 0.55 * self.dark, opacity)

    def _nose(self) -> None:
        x = self.x - 1.25 * self.shift
        bridge = _capsule(x, self.y - 0.06, math.pi / 2, 0.10, 0.03)
        tip = _ellipse(x, self.y - 0.17, 0.085, 0.05)
        self.canvas.fill(self.skin * 0.80, self.canvas.coverage(torch.minimum(bridge, tip), softness=0.03) * 0.8)

    def _mouth(self) -> None:
        half_width = 0.25
        u = (self.x - self.shift) / half_width
        bend = 0.5 - u.square()
        axis = self.y - 0.40 - 0.115 * self.z["smile"] * bend
        taper = _root((1 - u.square()).clamp_min(0))
        ends = (u.abs() - 1) * half_width
        opening = 0.115 * self.unit["mouth_opening"]

        def band(half: Tensor) -> Tensor:
            return torch.maximum(axis.abs() - half * taper, ends)

        self.canvas.fill(self.rgb(0.70, 0.22, 0.24), self.canvas.coverage(band(0.042 + opening)))
        inside = self.canvas.coverage(band(opening))
        self.canvas.fill(self.rgb(0.22, 0.05, 0.07), inside)
        teeth = inside * self.canvas.coverage(axis + 0.25 * opening)
        self.canvas.fill(self.rgb(0.97, 0.95, 0.92), teeth * self.unit["mouth_opening"].clamp_max(0.5) * 2)

    def _eyes(self) -> None:
        half_height = 0.022 + 0.098 * self.unit["eye_opening"]
        for side in (-1, 1):
            x, y = self.x - self.shift - side * 0.215, self.y + 0.10
            rim = _ellipse(x, y, 0.145, half_height + 0.032)
            self.canvas.fill(self.rgb(0.17, 0.11, 0.11), self.canvas.coverage(rim))
            white = self.canvas.coverage(_ellipse(x, y, 0.13, half_height))
            self.canvas.fill(self.rgb(0.98, 0.98, 0.97), white)
            iris = self.canvas.coverage(_ellipse(x - 0.35 * self.shift, y, 0.066, 0.066))
            self.canvas.fill(self.rgb(0.20, 0.33, 0.48), white * iris)
            pupil = self.canvas.coverage(_ellipse(x - 0.35 * self.shift, y, 0.032, 0.032))
            self.canvas.fill(self.rgb(0.04, 0.04, 0.06), white * pupil)

    def _brows(self) -> None:
        for side in (-1, 1):
            x, y = self.x - self.shift - side * 0.225, self.y + 0.315
            angle = -side * 0.55 * self.z["brow_angle"]
            stroke = _capsule(x, y, angle, 0.115, 0.036)
            self.canvas.fill(self.dark, self.canvas.coverage(stroke))

    def _fringe(self) -> None:
        head = _ellipse(self.x, self.y + 0.10, self.width + 0.09, 0.72)
        hairline = _ellipse(self.x - 0.8 * self.shift, self.y - 0.16, self.width * 0.93, 0.68)
        cap = torch.maximum(torch.maximum(head, -hairline), self.y - 0.05)
        gloss = 1 + 0.22 * (1 - ((self.y + 0.62) / 0.12).square()).clamp_min(0)
        self.canvas.fill((self.hair * gloss[:, None]).clamp(0, 1), self.canvas.coverage(cap))

    def _glasses(self) -> None:
        worn = self.unit["glasses"]
        frame = torch.full_like(self.face, 1.0)
        for side in (-1, 1):
            x, y = self.x - self.shift - side * 0.225, self.y + 0.09
            lens = _rounded_box(x, y, 0.20, 0.175, 0.12)
            frame = torch.minimum(frame, lens.abs() - 0.026)
            arm = _capsule(self.x - side * (0.41 + self.width) / 2 - 0.6 * self.shift, y + 0.05, 0.0, 0.06, 0.02)
            frame = torch.minimum(frame, arm)
            glare = self.canvas.coverage(_capsule(x + 0.07, y + 0.07, -0.8, 0.04, 0.012))
            self.canvas.fill(self.rgb(1.0, 1.0, 1.0), 0.14 * worn * self.canvas.coverage(lens))
            self.canvas.fill(self.rgb(1.0, 1.0, 1.0), 0.6 * worn * glare)
        bridge = _capsule(self.x - self.shift, self.y + 0.11, 0.0, 0.05, 0.022)
        self.canvas.fill(self.rgb(0.08, 0.08, 0.10), worn * self.canvas.coverage(torch.minimum(frame, bridge)))
