"""Radial spectra of pictures whose frequency content is known."""

import math

import pytest
import torch

from diffgeo.errors import ShapeError, ValueRangeError
from diffgeo.geometry import effective_dimension, half_energy_rank
from diffgeo.jacobian import JacobianOperator
from diffgeo.metrics.spectral import band_share, high_frequency_share, radial_power
from diffgeo.svd import energy, local_basis


def wave(cycles, size=32):
    phase = 2 * math.pi * cycles * torch.arange(size) / size
    return phase.cos().expand(1, 1, size, size)


@pytest.mark.parametrize("cycles", [1, 4, 11])
def test_a_wave_has_all_its_power_at_its_frequency(cycles):
    power = radial_power(wave(cycles))
    assert power[0, cycles].item() == pytest.approx(1, abs=1e-10)


def test_a_constant_picture_is_all_low_and_the_shares_of_any_picture_add_up_to_1():
    assert radial_power(torch.ones(1, 3, 16, 16))[0, 0].item() == pytest.approx(1)
    noise = torch.randn(5, 3, 16, 16, generator=torch.Generator().manual_seed(0))
    torch.testing.assert_close(radial_power(noise).sum(dim=1), torch.ones(5, dtype=torch.float64))


def test_white_noise_fills_a_band_by_its_area():
    noise = torch.randn(400, 1, 32, 32, generator=torch.Generator().manual_seed(0))
    share = band_share(radial_power(noise), 0, 0.25, 32).mean().item()
    inside = sum(round(math.hypot(x, y)) < 4 for x in range(-16, 16) for y in range(-16, 16))
    assert share == pytest.approx(inside / 1024, rel=0.05)


def test_bands_split_waves():
    power = radial_power(torch.cat([wave(2), wave(12)]))
    torch.testing.assert_close(band_share(power, 0, 0.25, 32), torch.tensor([1.0, 0.0], dtype=torch.float64))
    torch.testing.assert_close(band_share(power, 0.25, 2, 32), torch.tensor([0.0, 1.0], dtype=torch.float64))


def test_the_high_share_of_waves_is_that_of_their_powers_whatever_the_mean_and_the_channel():
    low, high = wave(4), wave(12)
    found = high_frequency_share(torch.cat([low, high, low + 0.5 * high, 0.3 + 0.1 * low + 0.2 * high]))
    assert found.tolist() == pytest.approx([0, 1, 0.2, 0.8], abs=1e-6)
    colours = torch.cat([low + 0.7, 0.5 * high - 0.7, torch.zeros_like(low)], dim=1)
    assert high_frequency_share(colours).item() == pytest.approx(0.2), "powers are averaged, not pictures"
    assert high_frequency_share(wave(6)).item() == pytest.approx(0, abs=1e-6)
    assert high_frequency_share(wave(6), cut=0.25).item() == pytest.approx(1)
    assert high_frequency_share(low.mT).item() == pytest.approx(0, abs=1e-6)


def test_constant_pictures_have_no_high_frequencies():
    constant = torch.tensor([0.0, 0.3, -1.0])[:, None, None, None].expand(3, 3, 32, 32)
    assert high_frequency_share(constant).tolist() == [0, 0, 0]


def test_white_noise_has_the_high_share_of_the_frequency_plane_and_adds_it_to_a_picture():
    noise = torch.randn(200, 3, 32, 32, generator=torch.Generator().manual_seed(0))
    outside = sum(round(math.hypot(x, y)) >= 8 for x in range(-16, 16) for y in range(-16, 16)) / 1023
    assert outside == pytest.approx(0.81, abs=0.03)
    share = high_frequency_share(noise)
    assert share.mean().item() == pytest.approx(outside, rel=0.01)
    assert share.std().item() < 0.02
    smooth = math.sqrt(2) * wave(2).expand(1, 3, -1, -1)  # of unit power; noise of variance s² has s²
    mixed = high_frequency_share(smooth + 0.5 * noise)
    assert mixed.mean().item() == pytest.approx(outside * 0.25 / 1.25, rel=0.02)


def test_pictures_of_another_shape_or_with_nan_have_no_high_share():
    with pytest.raises(ShapeError, match=r"expected \(B, C, H, W\)"):
        high_frequency_share(torch.ones(3, 8, 8))
    with pytest.raises(ValueRangeError, match="not finite"):
        high_frequency_share(torch.full((1, 3, 8, 8), math.nan))
    with pytest.raises(ValueRangeError, match="0 < cut"):
        high_frequency_share(torch.ones(1, 3, 8, 8), cut=1.5)


def test_what_has_no_spectrum_is_refused():
    with pytest.raises(ValueRangeError, match="0 or not finite"):
        radial_power(torch.zeros(1, 3, 8, 8))
    with pytest.raises(ShapeError, match=r"\(n, C, H, W\)"):
        radial_power(torch.ones(3, 8, 8))
    with pytest.raises(ValueRangeError, match="low < high"):
        band_share(torch.ones(1, 5), 0.5, 0.5, 8)


def test_effective_dimension_of_flat_and_single_spectra():
    assert effective_dimension(torch.full((7,), 3.0)) == pytest.approx(7)
    assert effective_dimension(torch.tensor([2.0, 0.0, 0.0])) == pytest.approx(1)
    assert effective_dimension(torch.tensor([2.0, 1.0])) == pytest.approx(25 / 17)


def test_half_of_the_energy_is_that_of_the_whole_jacobian():
    """Against the dense SVD: 12 directions hold half of their own energy soon, and never half of the whole."""
    generator = torch.Generator().manual_seed(0)
    matrix = torch.randn(150, 120, generator=generator, dtype=torch.float64) / torch.linspace(1, 2, 120)
    whole = torch.linalg.svdvals(matrix).square()
    truth = int((whole.cumsum(0) < whole.sum() / 2).sum()) + 1
    jacobian = JacobianOperator(lambda x: matrix @ x, torch.zeros(120, dtype=torch.float64))
    estimate = energy(jacobian)
    assert estimate == pytest.approx(whole.sum().item(), rel=0.05)
    wide = local_basis(lambda x: matrix @ x, jacobian.x, 60, tol=1e-6)
    assert half_energy_rank(wide.s, whole.sum().item()) == truth
    assert half_energy_rank(wide.s, estimate) == pytest.approx(truth, abs=3)
    narrow = wide.truncated(12)
    own = narrow.s.square().cumsum(0)
    assert int((own < own[-1] / 2).sum()) + 1 < 12 < truth  # what was reported before
    assert math.isnan(half_energy_rank(narrow.s, estimate))


def test_half_of_the_energy_at_its_edges():
    assert half_energy_rank(torch.tensor([1.0, 1.0]), 2.0) == 1
    assert half_energy_rank(torch.tensor([1.0, 1.0]), 4.0) == 2
    assert math.isnan(half_energy_rank(torch.tensor([1.0, 1.0]), 4.1))
