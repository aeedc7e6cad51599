import time

import pytest
import torch
from torch.nn.functional import avg_pool2d

from diffgeo.data.factor_faces import FACTOR_NAMES, FACTORS, render, sample_factors
from diffgeo.errors import ShapeError, ValueRangeError

GLASSES = FACTOR_NAMES.index("glasses")


def factors(n, seed=0):
    return sample_factors(n, generator=torch.Generator().manual_seed(seed))


def pair(name, low=-1.0, high=1.0):
    """Two faces that differ in one factor, all others 0 and no glasses."""
    z = torch.zeros(2, len(FACTORS))
    z[:, GLASSES] = -1
    z[:, FACTOR_NAMES.index(name)] = torch.tensor([low, high])
    return render(z)


def test_a_picture_is_a_function_of_its_factors_alone():
    z = factors(5)
    first = render(z)
    torch.rand(100)
    assert torch.equal(render(z.clone()), first)


def test_a_picture_does_not_depend_on_its_batch():
    z = factors(6)
    together = render(z)
    for i in range(6):
        assert torch.equal(render(z[i : i + 1])[0], together[i])
    assert torch.equal(render(z.flip(0)), together.flip(0))


@pytest.mark.parametrize("size", [64, 128])
def test_large_pictures_shrink_to_the_small_ones(size):
    z = factors(16)
    difference = (avg_pool2d(render(z, size), size // 32) - render(z)).abs()
    assert difference.mean() < 0.015
    unrelated = (render(z.roll(1, 0)) - render(z)).abs()
    assert difference.mean() < 0.1 * unrelated.mean()


@pytest.mark.parametrize("factor", FACTORS, ids=lambda f: f.name)
def test_every_factor_changes_the_picture(factor):
    low, high = pair(factor.name)
    assert (high - low).abs().mean() > 0.008
    assert (high - low).abs().max() > 0.3


@pytest.mark.parametrize("name", [f.name for f in FACTORS if f.kind == "continuous"])
def test_every_continuous_factor_changes_the_picture_at_both_halves(name):
    low, middle = pair(name, -1, 0)
    _, high = pair(name, 0, 1)
    for step in (middle - low, high - middle):
        assert step.abs().max() > 0.05


def test_coarse_factors_move_more_than_fine_ones():
    change = {f: (lambda p: (p[1] - p[0]).abs().mean().item())(pair(f.name)) for f in FACTORS}
    coarse = [v for f, v in change.items() if f.scale == "coarse"]
    fine = [v for f, v in change.items() if f.scale == "fine"]
    assert min(coarse) > 2 * max(fine)


@pytest.mark.parametrize("name", ["background_hue", "hair_hue"])
def test_both_ends_of_a_hue_differ(name):
    low, high = pair(name)
    assert (high - low).abs().max() > 0.4


def test_background_is_red_below_and_violet_above():
    low, high = pair("background_hue")
    (r1, g1, b1), (r2, g2, b2) = low[:, 1, 1].tolist(), high[:, 1, 1].tolist()
    assert r1 > g1
    assert r1 > b1
    assert b2 > g2
    assert r2 > g2


def test_skin_darkens_and_hair_lightens():
    face, hair = (slice(15, 18), slice(9, 12)), (slice(4, 6), slice(14, 18))
    light, dark = pair("skin_tone")
    assert light[:, face[0], face[1]].mean() > dark[:, face[0], face[1]].mean() + 0.3
    low, high = pair("hair_lightness")
    assert high[:, hair[0], hair[1]].mean() > low[:, hair[0], hair[1]].mean() + 0.3


def test_yaw_mirrors_the_picture():
    left, right = pair("yaw")
    straight = pair("yaw", 0, 0)[0]
    torch.testing.assert_close(straight, straight.flip(-1), rtol=0, atol=1e-5)
    assert (left - right).abs().max() > 0.5
    torch.testing.assert_close(left, right.flip(-1), rtol=0, atol=1e-5)


def test_pixels_lie_between_minus_one_and_one():
    corners = torch.where(torch.rand(300, 14, generator=torch.Generator().manual_seed(1)) < 0.5, -1.0, 1.0)
    pictures = render(torch.cat([factors(300), corners]))
    assert pictures.min() >= -1
    assert pictures.max() <= 1
    assert pictures.min() < -0.7
    assert pictures.max() > 0.8


def test_gradient_matches_finite_differences():
    z = factors(2, seed=3).double() * 0.9
    weights = torch.randn(2, 3, 32, 32, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    z.requires_grad_()
    (render(z) * weights).sum().backward()
    with torch.no_grad():
        for i, name in enumerate(FACTOR_NAMES):
            step = torch.zeros(14, dtype=torch.float64)
            step[i] = 1e-6
            difference = ((render(z + step) - render(z - step)) * weights).sum(dim=(1, 2, 3)) / 2e-6
            torch.testing.assert_close(z.grad[:, i], difference, rtol=1e-3, atol=1e-3, msg=name)
            assert difference.abs().max() > 1e-2, name


def test_double_precision_paints_the_same_picture():
    z = factors(3)
    high = render(z.double())
    assert high.dtype == torch.float64
    torch.testing.assert_close(high.float(), render(z), rtol=0, atol=1e-4)


def test_no_factors_no_pictures():
    assert render(torch.zeros(0, 14)).shape == (0, 3, 32, 32)


@pytest.mark.parametrize("shape", [(14,), (2, 13), (1, 2, 14)])
def test_factors_of_other_shape_are_refused(shape):
    with pytest.raises(ShapeError, match=r"expected \(n, 14\)"):
        render(torch.zeros(shape))


@pytest.mark.parametrize("value", [1.01, -2.0, float("nan"), float("inf")])
def test_factors_outside_their_range_are_refused(value):
    z = torch.zeros(2, 14)
    z[1, 3] = value
    with pytest.raises(ValueRangeError, match=r"factors lie in \[-1, 1\]"):
        render(z)


def test_too_small_pictures_are_refused():
    with pytest.raises(ValueRangeError, match="size is 7"):
        render(torch.zeros(1, 14), 7)


def test_drawn_factors_are_uniform_and_independent():
    n = 20_000
    z = factors(n)
    for i, factor in enumerate(FACTORS):
        column = z[:, i].double().sort().values
        if factor.kind == "binary":
            assert set(column.tolist()) == {-1.0, 1.0}
            assert abs(column.mean().item()) < 4 / n**0.5
        else:
            uniform = torch.linspace(-1, 1, n, dtype=torch.float64)
            assert (column - uniform).abs().max() / 2 < 1.95 / n**0.5  # Kolmogorov-Smirnov at 1e-3
    correlation = torch.corrcoef(z.T) - torch.eye(14)
    assert correlation.abs().max() < 4.5 / n**0.5


def test_drawing_is_reproducible_and_needs_no_global_state():
    state = torch.get_rng_state()
    assert torch.equal(factors(4, seed=2), factors(4, seed=2))
    assert not torch.equal(factors(4, seed=2), factors(4, seed=3))
    assert torch.equal(torch.get_rng_state(), state)


@pytest.mark.parametrize("varying", [["yaw"], ["glasses", "smile"], ["beard", "skin_tone", "yaw"], []])
def test_factors_that_do_not_vary_rest_and_the_others_draw_what_they_always_draw(varying):
    drawn = sample_factors(50, generator=torch.Generator().manual_seed(4), varying=varying)
    free = factors(50, seed=4)
    for i, factor in enumerate(FACTORS):
        if factor.name in varying:
            assert torch.equal(drawn[:, i], free[:, i])
        else:
            assert bool((drawn[:, i] == (-1 if factor.kind == "binary" else 0)).all())


def test_when_every_factor_varies_nothing_rests():
    drawn = sample_factors(50, generator=torch.Generator().manual_seed(4), varying=FACTOR_NAMES)
    assert torch.equal(drawn, factors(50, seed=4))


def test_a_factor_that_does_not_exist_cannot_vary():
    with pytest.raises(ValueRangeError, match=r"no factor is called moustache, nose; factors are background_hue"):
        sample_factors(1, varying=["nose", "yaw", "moustache"])


def test_a_negative_number_of_factors_is_refused():
    with pytest.raises(ValueRangeError, match="-1 factor vectors"):
        sample_factors(-1)


@pytest.mark.nightly
def test_rendering_speed_is_at_least_500_pictures_a_second():
    z = factors(500)
    render(z)
    best = 0.0
    for _ in range(3):
        start = time.perf_counter()
        render(z)
        best = max(best, 500 / (time.perf_counter() - start))
    assert best >= 500
