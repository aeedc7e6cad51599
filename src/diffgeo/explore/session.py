"""What the explorer does, without the page: find directions at a picture's x_t, mix them, say how to do it again.

An :class:`Explorer` is shared by all visitors and keeps nothing of them: what a visitor has is a
:class:`LatentDirections` (and a :class:`Picture`, if one was uploaded), which the page holds for as long as the visitor
stays. Latents and bases of seeds go through the run's store; nothing of an uploaded picture does.

Previews walk the DDIM schedule in ``preview`` steps, a divisor of ``schedule.steps``, so that both schedules share the
timesteps at which edits are made: the x_t of a preview is exactly that of the saved picture.
"""

from __future__ import annotations

import math
from collections import OrderedDict
from collections.abc import Sequence
from dataclasses import replace
from functools import partial
from typing import Any, get_args

import torch
from torch import Tensor

from diffgeo.config import Config, DataConfig
from diffgeo.convergence import Tally
from diffgeo.data.images import list_images
from diffgeo.diffusion.direction_files import Directions
from diffgeo.errors import ConfigError, ValueRangeError
from diffgeo.explore.commands import again, refuse_other_place, settings_of
from diffgeo.explore.directions import carried, directions_inside, padded, saved
from diffgeo.explore.painting import mask_of, text_of
from diffgeo.explore.parts import (
    Card,
    Choice,
    EditedPicture,
    LatentDirections,
    Picture,
    Report,
    Reporting,
    Source,
    preview_steps,
)
from diffgeo.explore.uploads import picture_of
from diffgeo.geometry import GlobalDirections, global_directions
from diffgeo.metrics.attributes import label_change
from diffgeo.metrics.damage import clipped_share
from diffgeo.session import Context, Sample
from diffgeo.session.progress import Display
from diffgeo.svd import LocalBasis

REMEMBERED = 16
"""Places at seeds, and sets of global directions, that are kept for the next visitor."""
STRENGTHS = (0.005, 0.01, 0.015, 0.02, 0.03, 0.04, 0.06, 0.08, 0.1, 0.15)
"""Among which one is suggested for an upload."""
SEEN = 0.06
"""Share of the range by which a suggested step may change an upload, on average."""
LIMIT = 2.0
"""Largest weight of a direction, in units of ``edit.strength``."""


class Explorer:
    """A model to explore.

    Args:
        context: the model with the command line's settings.
        overrides: the command line's words for Hydra, which :meth:`command` repeats.
        preview: at most so many DDIM steps in previews.
        directions: of a file, offered beside the local and global ones.
        file: that file's path, for :meth:`command`.
        mask: painted at the start, as :func:`~diffgeo.explore.painting.text_of` says it; the one that ``data.masks``
            has for the first picture if None.

    Raises:
        ConfigError: an edit that follows one direction alone, such as ``edit=shooting``; or a timestep, block or
            pooling is asked for that is not the file's.
        DataError: the mask does not fit.
        DirectionsError: the directions belong to another model.
    """

    def __init__(
        self,
        context: Context,
        *,
        overrides: Sequence[str] = (),
        preview: int = 20,
        directions: Directions | None = None,
        file: str | None = None,
        mask: str | None = None,
    ) -> None:
        if not context.editor.mixes:
            method = context.cfg.edit.method
            raise ConfigError(
                f"edit={method} follows one direction and cannot mix several", "take edit=single or guidance"
            )
        self.context, self.overrides, self.directions, self.file = context, tuple(overrides), directions, file
        self.preview = preview_steps(context.cfg.schedule.steps, preview)
        images = context.cfg.data.images
        self._files = None if images is None else list_images(images)
        self._places: OrderedDict[Choice, LatentDirections] = OrderedDict()
        self._shared: OrderedDict[Choice, GlobalDirections] = OrderedDict()
        self._cards: OrderedDict[tuple[Choice, int, int], list[Card]] = OrderedDict()
        if directions is not None:
            tap = context.cfg.feature.tap
            directions.check(context.model, t=directions.t, block=directions.block, pool=directions.pool, tap=tap)
            refuse_other_place(context, self.overrides, directions, file or "the file")
        if mask is None and context.masks:
            mask = text_of(context.masks.of(context.samples.first(1)[0]))
        if mask is not None:
            self._mask(mask)
        self.mask = mask

    @property
    def files(self) -> list[Any] | None:
        """Pictures of ``data.images``; None if seeds are explored."""
        return None if self._files is None else list(self._files)

    @property
    def sources(self) -> tuple[Source, ...]:
        """What ``Choice.source`` may be."""
        return get_args(Source) if self.directions is not None else ("local", "global", "mask")

    @property
    def times(self) -> list[float]:
        """Fractions of T at which edits can be made, rising: those of the preview's schedule."""
        return [i / self.preview for i in range(1, self.preview + 1)]

    @property
    def blocks(self) -> list[str]:
        """What ``Choice.block`` may be: the model's blocks, and the one that it starts with, which may be a path."""
        known = self.context.model.blocks
        return known if self.start.block in known else [*known, self.start.block]

    @property
    def start(self) -> Choice:
        """What the command line asks for."""
        cfg, found, mask = self.context.cfg, self.directions, self.mask
        sample = cfg.seed if self._files is None else 0
        source: Source = self.whole if mask is None else "mask"
        asked = cfg.schedule.edit if cfg.schedule.edit_log_snr is None else [self.context.edit_times[0][0]]
        feature, wanted = (cfg.feature, asked[0]) if found is None else (found, found.t / found.T)
        at = min(self.times, key=lambda frac: abs(frac - wanted))
        return Choice(sample, at, feature.block, feature.pool, cfg.svd.rank, source, cfg.edit.strength, mask)

    @property
    def whole(self) -> Source:
        """Whose directions are shown where there is no mask."""
        return "local" if self.directions is None else "file"

    def samples(self, most: int = 24) -> list[tuple[str, Tensor]]:
        """What can be picked: (name, picture (3, H, W)) of the first seeds, or of ``data.images``."""
        context = self._view(self.context)
        found = context.samples.first(min(most, context.cfg.data.samples if self._files is None else len(self._files)))
        if self._files is None:
            top = context.model.schedule.first(context.cfg.schedule.steps)
            pictures = context.decoder(torch.stack([context.latents.of(s, top) for s in found]), top, found[0])
        else:
            pictures = context.model.decode(torch.stack([s.x0 for s in found if s.x0 is not None]))
        return [(s.name, picture) for s, picture in zip(found, pictures, strict=True)]

    def upload(self, content: bytes, name: str) -> Picture:
        """Check an uploaded file and encode its picture; the bytes are not kept.

        Raises:
            DataError: as :func:`diffgeo.explore.uploads.picture_of`.
        """
        pixels = picture_of(content, *self.context.model.picture_shape)
        with torch.no_grad():
            return Picture(name, self.context.model.encode(pixels[None])[0])

    def place(
        self,
        choice: Choice,
        picture: Picture | None = None,
        *,
        earlier: LatentDirections | None = None,
        report: Report | None = None,
    ) -> LatentDirections:
        """Go to a picture's x_t and find directions there.

        Args:
            choice: which.
            picture: the uploaded one; None takes ``choice.sample``.
            earlier: where the visitor was; its latents are used again where they are of the same picture.
            report: told of progress.

        Raises:
            ConfigError: no such block, rank or source.
            DataError: the mask is no mask of the model's pictures, or nothing or all of it is painted.
            DirectionsError: the file's directions belong elsewhere.
        """
        if choice.source not in self.sources:
            raise ConfigError(
                f"there are no directions of a {choice.source}", "start the explorer with directions=FILE"
            )
        if picture is None and choice in self._places:
            self._places.move_to_end(choice)
            return self._places[choice]
        display, mask = self._display(report), None
        if choice.source == "mask":
            mask = self._mask(choice.mask or "")
        context, sample = self._at(choice, picture, earlier, display)
        t = context.edit_times[0][1]
        x = context.latents.of(sample, t)
        if mask is None:
            basis = context.bases.of(sample, t)
            V, fit = self._directions(choice, basis, t, display)
        else:
            display_of = partial(self._display, report)
            (V, basis), fit = directions_inside(context, x, t, mask, display_of), None
        silent = replace(context, display=self._display(None))
        original = self._view(silent).decoder(x[None], t, sample)[0]
        names = self.directions.labels if choice.source == "file" and self.directions is not None else None
        place = LatentDirections(choice, picture, silent, sample, t, x, basis, V, fit, original, names, mask)
        if picture is None:
            _remember(self._places, choice, place)
        return place

    def suggested(self, place: LatentDirections) -> tuple[LatentDirections, str]:
        """The same place with a strength at which weight 1 of the first direction is seen and does not saturate.

        It is the largest of :data:`STRENGTHS` that changes the picture by at most :data:`SEEN` of the range on average
        and brings no more than that share of its values to black or white; the smallest if none does.

        Args:
            place: of an uploaded picture, which may lie where a model's own pictures do not.

        Returns:
            (place, why in a sentence).
        """
        first = torch.eye(place.rank)[:1]
        choices = [replace(place.choice, strength=strength) for strength in STRENGTHS]
        moved = torch.cat([self.moved(replace(place, choice=choice), first) for choice in choices])
        after = self._view(place.context).decoder(moved, place.t, place.sample)
        change = ((after - place.original).abs().mean(dim=(1, 2, 3)) / 2).tolist()
        saturated = (clipped_share(after) - clipped_share(place.original[None])).tolist()
        fits = [i for i in range(len(choices)) if change[i] <= SEEN and saturated[i] <= SEEN]
        best = fits[-1] if fits else 0
        why = (
            f"Suggested for this upload: at weight 1, direction 1 changes the picture by {100 * change[best]:.1f} % of "
            "the range on average, which is seen and does not saturate it."
        )
        if not fits:
            why = f"The smallest, for this upload: direction 1 changes it by {100 * change[0]:.1f} % even so."
        return self.place(choices[best], place.picture, earlier=place), why

    def cards(
        self, place: LatentDirections, first: int = 0, count: int = 8, report: Report | None = None
    ) -> list[Card]:
        """Directions ``first`` … with their pictures at weights ∓1 and what changes in between, in one batch."""
        key = (place.choice, first, count)
        if place.picture is None and key in self._cards:
            return self._cards[key]
        chosen = range(first, min(first + count, place.rank))
        unit = torch.eye(place.rank)[list(chosen)]
        moved = self.moved(place, torch.cat([-unit, unit]))
        context = replace(self._view(place.context), display=self._display(report))
        minus, plus = context.decoder(moved, place.t, place.sample).chunk(2)
        changes = self._scores(plus) - self._scores(minus)
        cards = []
        for k, i in enumerate(chosen):
            label = place.names[i] if place.names else label_change(self.attributes, changes[k])
            value = (place.basis.s if place.fit is None else place.fit)[i].item()
            cards.append(Card(i, minus[k], plus[k], label if self.attributes or place.names else "", value))
        if place.picture is None:
            _remember(self._cards, key, cards)
        return cards

    @property
    def attributes(self) -> tuple[str, ...]:
        """What the predictor reads off pictures; none if there is no predictor."""
        return () if self.context.predictor is None else self.context.predictor.names

    def moved(self, place: LatentDirections, weights: Tensor) -> Tensor:
        """Latents x + Σ wᵢ γ vᵢ, γ = ``edit.strength`` · √d, then as ``edit`` says.

        Args:
            place: where.
            weights: one mixture a row, shape (B, k).

        Returns:
            shape (B, C, H, W).
        """
        gamma = place.choice.strength * math.sqrt(place.x.numel())
        offsets = gamma * weights.to(place.V) @ place.V.T
        return place.context.editor.displace(place.x, offsets.reshape(-1, *place.x.shape), place.t, place.sample)

    def edit(self, place: LatentDirections, weights: Sequence[float], *, full: bool = False) -> EditedPicture:
        """Move x along several directions at once, and compare the pictures.

        Args:
            place: where.
            weights: of the directions, at most as many as there are; without any the picture stays as it is, exactly.
            full: decode with ``schedule.steps``, as a run does, instead of the preview's.

        Raises:
            ValueRangeError: more weights than directions, or the edit broke the picture.
        """
        context = place.context if full else self._view(place.context)
        context = replace(context, store=None)
        before = context.decoder(place.x[None], place.t, place.sample)[0] if full else place.original
        after = before
        if any(weights):
            moved = self.moved(place, padded(place, weights)[None])
            after = context.decoder(moved, place.t, place.sample)[0]
            if not bool(after.isfinite().all()):
                raise ValueRangeError("the edited picture holds NaN", "move the sliders back or lower edit.strength")
        changes = self._scores(after[None])[0] - self._scores(before[None])[0]
        difference = (after - before).abs().mean(dim=0) / 2
        steps = context.cfg.schedule.steps
        return EditedPicture(before.cpu(), after.cpu(), difference.cpu(), self.attributes, changes, steps)

    def direction(self, place: LatentDirections, weights: Sequence[float], label: str | None = None) -> Directions:
        """The mixed direction, to be saved; see :func:`diffgeo.explore.directions.saved`."""
        return saved(place, weights, label)

    def words(self, place: LatentDirections) -> list[str]:
        """The settings of a place as words of the command line: composed, they give ``place.context.cfg``."""
        return settings_of(place.context.cfg, self.overrides, None if place.picture is None else place.picture.name)

    def command(self, place: LatentDirections, weights: Sequence[float]) -> str:
        """Command lines that do the same: the edit, and a run that finds and shows these directions."""
        choice = place.choice
        source = self.file if choice.source == "file" and self.file else choice.source
        return again(self.words(place), source, weights, uploaded=place.picture is not None, mask=choice.mask)

    def _at(
        self, choice: Choice, picture: Picture | None, earlier: LatentDirections | None, display: Display
    ) -> tuple[Context, Sample]:
        """The context and sample of a choice, with the latents that an earlier place of the same sample has."""
        cfg = self._settings(choice, picture)
        if earlier is not None and earlier.picture is picture and (picture or earlier.choice.sample == choice.sample):
            return replace(earlier.context, cfg=cfg, display=display), earlier.sample
        context = self._fresh(cfg, display)
        if picture is not None:
            context.store = None
            return context, Sample(0, picture.name, picture.x0, None)
        return context, context.samples.first(1)[0]

    def _fresh(self, cfg: Config, display: Display) -> Context:
        """The explorer's model under other settings, with nothing computed yet."""
        own = self.context
        fresh = replace(own.with_model(own.model, cfg), display=display, tally=Tally())
        fresh.predictor, fresh.own_predictor = own.predictor, own.own_predictor
        return fresh

    def _display(self, report: Report | None, during: str = "") -> Display:
        return Reporting(report, self.context.interruption, during)

    def _mask(self, text: str) -> Tensor:
        model = self.context.model
        return mask_of(text, *model.picture_shape).to(model.device)

    def _settings(self, choice: Choice, picture: Picture | None) -> Config:
        cfg, files = self.context.cfg, self._files
        listed = None if files is None or picture is not None else [str(files[choice.sample])]
        return replace(
            cfg,
            seed=choice.sample if files is None and picture is None else cfg.seed,
            data=DataConfig(samples=1, images=listed),
            schedule=replace(cfg.schedule, edit=[choice.t_frac], edit_log_snr=None),
            feature=replace(cfg.feature, block=choice.block, pool=choice.pool),
            svd=replace(cfg.svd, rank=choice.rank),
            edit=replace(cfg.edit, strength=choice.strength),
        )

    def _directions(self, choice: Choice, basis: LocalBasis, t: int, display: Display) -> tuple[Tensor, Tensor | None]:
        """V (d, k) of a choice at a picture's local basis, and how well each fits the picture."""
        if choice.source == "local":
            return basis.V, None
        if choice.source == "global":
            u = self._global(choice, t, display).U
        else:
            assert self.directions is not None
            tap = self.context.cfg.feature.tap
            self.directions.check(self.context.model, t=t, block=choice.block, pool=choice.pool, tap=tap)
            u = self.directions.U
        return carried(u, basis)

    def _global(self, choice: Choice, t: int, display: Display) -> GlobalDirections:
        """Directions that the first samples share, whatever picture they are for."""
        first = self.context.cfg.seed if self._files is None else 0
        key = replace(choice, sample=first, strength=0.06)
        if key not in self._shared:
            own = self.context
            cfg = replace(self._settings(key, None), seed=own.cfg.seed, data=own.cfg.data)
            context = self._fresh(cfg, display)
            samples = context.samples.first(max(2, cfg.data.samples))
            if len(samples) < 2:
                raise ConfigError("global directions need 2 pictures or more, data.images has 1", "take local ones")
            bases = [context.bases.of(sample, t) for sample in samples]
            rank = min(basis.rank for basis in bases)
            _remember(self._shared, key, global_directions([basis.truncated(rank) for basis in bases]))
        return self._shared[key]

    def _view(self, context: Context) -> Context:
        """The same context with the preview's schedule, and without a store: pictures of previews are not kept."""
        cfg = context.cfg
        return replace(context, cfg=replace(cfg, schedule=replace(cfg.schedule, steps=self.preview)), store=None)

    def _scores(self, pictures: Tensor) -> Tensor:
        predictor = self.context.predictor
        return torch.zeros(len(pictures), 0) if predictor is None else predictor(pictures)


def _remember(kept: OrderedDict[Any, Any], key: Any, value: Any) -> None:
    kept[key] = value
    while len(kept) > REMEMBERED:
        kept.popitem(last=False)
