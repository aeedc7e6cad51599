"""The denoising residual against a data set whose denoiser is known, and on pictures that are plainly on or off it."""

import math

import pytest
import torch

from diffgeo.data.factor_faces import render, sample_factors
from diffgeo.errors import ShapeError
from diffgeo.metrics.residual import AT, NOISES, ResidualChange, denoising_residual


def faces(n, seed=0):
    return render(sample_factors(n, generator=torch.Generator().manual_seed(seed)))


class Point:
    """A model that knows one picture: ε(x) = (x − √α x0)/√(1−α), exact for data that are that picture alone."""

    def __init__(self, schedule, x0):
        self.schedule, self.x0, self.editor = schedule, x0, self

    def encode(self, pictures):
        return pictures

    def predict_noise(self, x, t):
        a = self.schedule.alpha(t)
        return (x - math.sqrt(a) * self.x0) / math.sqrt(1 - a)


def test_the_residual_of_a_single_point_is_its_distance_in_units_of_the_noise(schedule):
    x0, away = torch.zeros(3, 8, 8), torch.full((1, 3, 8, 8), 0.2)
    found = denoising_residual(Point(schedule, x0), torch.cat([x0[None], away]))
    a = schedule.alpha(round(AT * schedule.T))
    assert found[0].item() == pytest.approx(0, abs=1e-5)
    assert found[1].item() == pytest.approx(0.2 * math.sqrt(a / (1 - a)), rel=1e-5)


def test_pictures_off_the_data_have_a_larger_residual(shipped):
    clean = faces(4)
    noisy = (clean + 0.1 * torch.randn(clean.shape, generator=torch.Generator().manual_seed(1))).clamp(-1, 1)
    on, off = denoising_residual(shipped, clean), denoising_residual(shipped, noisy)
    assert bool((off > on + 0.1).all())


def test_pictures_are_judged_one_by_one_and_by_the_same_noise(shipped):
    pictures = faces(3)
    alone = torch.cat([denoising_residual(shipped, one[None]) for one in pictures])
    torch.testing.assert_close(denoising_residual(shipped, pictures), alone, rtol=1e-4, atol=1e-5)


def test_one_picture_without_a_batch_is_refused(shipped):
    with pytest.raises(ShapeError, match="expected \\(B, 3, H, W\\)"):
        denoising_residual(shipped, faces(1)[0])


def test_the_change_is_that_against_the_original_in_batches_or_not(schedule):
    x0 = torch.zeros(1, 3, 8, 8)
    one, edited = Point(schedule, x0[0]), torch.stack([x0[0] + size for size in (0.1, 0.2, -0.4)])
    a = schedule.alpha(round(AT * schedule.T))
    expected = torch.tensor([0.1, 0.2, 0.4], dtype=torch.float64) * math.sqrt(a / (1 - a))
    torch.testing.assert_close(ResidualChange(one)(edited, x0), expected, rtol=1e-4, atol=1e-5)
    sizes, evaluate = [], one.predict_noise
    one.predict_noise = lambda x, t: sizes.append(len(x)) or evaluate(x, t)
    torch.testing.assert_close(ResidualChange(one, at_once=3)(edited, x0), expected, rtol=1e-4, atol=1e-5)
    assert sizes == [3] * NOISES + [1] * NOISES
    torch.testing.assert_close(ResidualChange(one)(x0, edited[1:2]), -expected[1:2], rtol=1e-4, atol=1e-5)
