"""Chroma and clipping against colours whose values are known."""

import itertools

import pytest
import torch

from diffgeo.data.factor_faces import FACTOR_NAMES, sample_factors
from diffgeo.errors import ShapeError
from diffgeo.metrics.damage import chroma, clipped_share, off_target_distance
from diffgeo.metrics.perceptual import PixelDistance


def flat(*colours):
    """One 4×5 picture a colour, given in [0, 1]."""
    return torch.tensor(colours)[..., None, None].expand(-1, -1, 4, 5) * 2 - 1


PURE = [c for c in itertools.product((0.0, 1.0), repeat=3) if len(set(c)) == 2]


@pytest.mark.parametrize("colour", PURE)
def test_pure_colours_have_chroma_1(colour):
    assert chroma(flat(colour)).item() == pytest.approx(1)


@pytest.mark.parametrize("level", [0.0, 0.3, 1.0])
def test_greys_have_none(level):
    assert chroma(flat((level, level, level))).item() == pytest.approx(0, abs=1e-7)


def test_chroma_scales_with_saturation_and_does_not_see_brightness():
    red, pale, dim, bright = flat((1.0, 0.0, 0.0), (1.0, 0.6, 0.6), (0.4, 0.0, 0.0), (0.8, 0.4, 0.4)).split(1)
    assert chroma(red).item() == pytest.approx(1)
    for picture in (pale, dim, bright):
        assert chroma(picture).item() == pytest.approx(0.4)


def test_chroma_is_the_symmetric_form_of_its_components():
    # α² + β² = R² + G² + B² − RG − GB − BR, so that no channel is preferred
    rgb = torch.rand(50, 3, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    r, g, b = rgb.T
    expected = (r * r + g * g + b * b - r * g - g * b - b * r).sqrt().float()
    for order in itertools.permutations(range(3)):
        torch.testing.assert_close(chroma(flat(*rgb[:, order].tolist())), expected)


def test_chroma_is_the_mean_over_pixels_and_every_picture_has_its_own():
    pictures = flat((0.5, 0.5, 0.5), (0.0, 0.0, 1.0)).clone()
    pictures[0, :, :, 0] = torch.tensor([1.0, -1.0, -1.0])[:, None]  # a fifth of it red
    torch.testing.assert_close(chroma(pictures), torch.tensor([0.2, 1.0]))


def test_clipped_share_counts_values_at_or_beyond_the_limits():
    pictures = torch.zeros(2, 3, 2, 2)
    pictures[0].flatten()[:5] = torch.tensor([1.0, -1.0, 0.999, -7.0, 0.99])
    torch.testing.assert_close(clipped_share(pictures), torch.tensor([4 / 12, 0.0]))
    torch.testing.assert_close(clipped_share(pictures, limit=0.5), torch.tensor([5 / 12, 0.0]))
    torch.testing.assert_close(clipped_share(pictures, limit=2.0), torch.tensor([1 / 12, 0.0]))


def test_clipping_a_picture_does_not_change_its_clipped_share():
    pictures = 1.5 * torch.randn(4, 3, 8, 8, generator=torch.Generator().manual_seed(0))
    assert torch.equal(clipped_share(pictures.clamp(-1, 1)), clipped_share(pictures))


def test_latents_of_any_channels_can_be_clipped():
    assert torch.equal(clipped_share(torch.ones(2, 1, 4, 4)), torch.ones(2))


@pytest.mark.parametrize("shape", [(3, 4, 4), (1, 2, 3, 4, 4)])
def test_single_pictures_are_refused(shape):
    with pytest.raises(ShapeError, match=r"expected \(B, C, H, W\)"):
        clipped_share(torch.zeros(shape))


@pytest.mark.parametrize("shape", [(3, 4, 4), (2, 1, 4, 4), (2, 4, 4, 4)])
def test_only_rgb_has_chroma(shape):
    with pytest.raises(ShapeError, match=r"expected \(B, 3, H, W\)"):
        chroma(torch.zeros(shape))


def test_what_changed_besides_the_target_is_seen_alone():
    before = sample_factors(1, generator=torch.Generator().manual_seed(0))[0]
    hue, hair = FACTOR_NAMES.index("background_hue"), FACTOR_NAMES.index("hair_length")
    after = before.repeat(3, 1)
    after[0, hue] += 0.5 * (1 if before[hue] < 0 else -1)  # the target alone
    after[1, hue] = after[0, hue]
    after[1, hair] = -before[hair]  # and something else
    after[2] = after[1]
    found = off_target_distance(before, after, torch.tensor([hue, hue, hair]), PixelDistance())
    assert found[0] == 0
    assert found[1] > 0
    assert found[2] > found[1]  # the hue of the whole background is more to see than the hair
    beyond = after.clone()
    beyond[:, FACTOR_NAMES.index("smile")] = 1.7  # a predictor overshoots
    assert bool(off_target_distance(before, beyond, torch.tensor([hue] * 3), PixelDistance()).isfinite().all())
    with pytest.raises(ShapeError, match="14"):
        off_target_distance(before, after[:, :3], torch.tensor([0] * 3), PixelDistance())
