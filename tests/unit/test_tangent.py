"""The exact tangent space of FactorFaces, and the portrait nearest to a picture."""

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from diffgeo.data.factor_faces import FACTOR_NAMES, FACTORS, render, sample_factors
from diffgeo.data.tangent import continuous_factors, fit_factors, tangent_space, tangents
from diffgeo.diffusion.models import load_model
from diffgeo.errors import ShapeError, ValueRangeError
from diffgeo.metrics.attributes import load_predictor
from diffgeo.metrics.data_distance import DistanceFromData

FOUR = ("background_hue", "hair_length", "smile", "glasses")
GLASSES = FACTOR_NAMES.index("glasses")


def faces(n, seed=0, varying=None):
    return sample_factors(n, generator=torch.Generator().manual_seed(seed), varying=varying)


@pytest.fixture(scope="module")
def predictor():
    return load_predictor()


@pytest.mark.parametrize("size", [32, 64])
def test_tangents_are_the_differences_of_renders(size):
    z, h = faces(1, seed=3)[0].double() * 0.9, 1e-6
    z[GLASSES] = 1
    found = tangents(z, size)
    assert found.names == continuous_factors()
    assert found.tau.shape == (3 * size * size, 13)
    for name, column, length in zip(found.names, found.tau.T, found.lengths, strict=True):
        e = torch.zeros(len(FACTORS), dtype=torch.float64)
        e[FACTOR_NAMES.index(name)] = h
        difference = (render((z + e)[None], size) - render((z - e)[None], size)).flatten() / (2 * h)
        assert torch.allclose(column * length, difference, atol=1e-6 * length.item()), name


@settings(max_examples=8, deadline=None)
@given(seed=st.integers(0, 2**31), corner=st.booleans())
def test_tangents_are_finite_unit_and_spanned_by_the_basis(seed, corner):
    z = faces(1, seed=seed)[0].double()
    z = z.sign() if corner else z  # derivatives exist at the bounds of the factors, too
    found = tangents(z)
    assert torch.isfinite(found.tau).all()
    assert torch.allclose(found.tau.norm(dim=0), torch.ones(len(found.names), dtype=torch.float64))
    assert torch.allclose(found.basis.T @ found.basis, torch.eye(found.rank, dtype=torch.float64), atol=1e-12)
    assert torch.allclose(found.basis @ (found.basis.T @ found.tau), found.tau, atol=1e-6)


def test_the_model_of_four_factors_has_three_tangents():
    found = tangents(faces(1, varying=FOUR)[0].double(), varying=FOUR)
    assert found.names == ("background_hue", "hair_length", "smile")
    assert found.rank == 3


def test_a_hidden_factor_has_no_tangent_and_a_repeated_one_adds_no_rank():
    generator = torch.Generator().manual_seed(0)
    column = torch.randn(20, 3, generator=generator, dtype=torch.float64)
    jacobian = torch.cat([column, 1e-9 * column[:, :1], 2 * column[:, 1:2]], dim=1)
    found = tangent_space(jacobian, ["a", "b", "c", "covered", "again"])
    assert found.names == ("a", "b", "c", "again")
    assert found.hidden == ("covered",)
    assert found.rank == 3


def test_tangents_are_pushed_by_the_derivative_of_a_map():
    space, picture = tangents(faces(1)[0].double()), render(faces(1).double())[0]
    generator = torch.Generator().manual_seed(1)
    a = torch.randn(300, picture.numel(), generator=generator, dtype=torch.float64)
    found = space.pushed(lambda x: (a @ x.flatten()).sin(), picture)
    columns = (a @ picture.flatten()).cos()[:, None] * (a @ (space.tau * space.lengths))
    assert torch.allclose(found.tau * found.lengths, columns, atol=1e-9)
    assert found.rank == space.rank
    blind = space.pushed(lambda x: x.flatten() - space.tau[:, 0] * (space.tau[:, 0] @ x.flatten()), picture)
    assert blind.hidden == (*space.hidden, space.names[0])
    assert blind.rank == space.rank - 1


def test_tangents_of_latents_are_the_differences_of_encoded_renders():
    model, z, h = load_model("factor_faces_t2i", prompt="a face"), faces(1, seed=3)[0].double() * 0.9, 1e-2
    found = tangents(z, 64).pushed(lambda x: model.encode(x[None])[0], render(z[None], 64)[0].float())
    assert found.tau.shape[0] == model.latent_size
    for name in ("hair_length", "background_hue"):
        e = torch.zeros(len(FACTORS), dtype=torch.float64)
        e[FACTOR_NAMES.index(name)] = h
        ends = model.encode(render(torch.stack([z + e, z - e]), 64).float()).flatten(1).double()
        difference = (ends[0] - ends[1]) / (2 * h)
        i = found.names.index(name)
        assert torch.cosine_similarity(difference, found.tau[:, i], dim=0) > 0.99, name
        assert difference.norm() == pytest.approx(found.lengths[i].item(), rel=0.1)


def test_tangents_need_a_factor_that_shows():
    with pytest.raises(ValueRangeError, match="no factor changes the picture"):
        tangents(faces(1)[0], varying=["glasses"])
    with pytest.raises(ValueRangeError, match="no factor is called nose"):
        tangents(faces(1)[0], varying=["nose"])
    with pytest.raises(ShapeError, match=r"\(2, 14\)"):
        tangents(faces(2))


@pytest.mark.parametrize("size", [32, 64])
def test_off_is_zero_for_portraits(size, predictor):
    z = faces(8, seed=11)
    pictures = render(z, size)
    off = DistanceFromData(predictor)(pictures, pictures[:1])
    assert off.shape == (8,)
    assert off.max() < 1e-3


@pytest.mark.parametrize("spread", [0.03, 0.1])
def test_off_of_noisy_portraits_is_the_noise_outside_of_the_tangent_space(spread, predictor):
    pictures = render(faces(8, seed=12))
    noisy = pictures + spread * torch.randn(pictures.shape, generator=torch.Generator().manual_seed(1))
    size = pictures[0].numel()
    # each picture's own noise, so that only the fit is tested
    own = (noisy - pictures).flatten(1).square().mean(dim=1).sqrt()
    off = DistanceFromData(predictor)(noisy)
    assert (off / (own * math.sqrt((size - 13) / size)) - 1).abs().max() < 0.01
    assert (off / (spread * math.sqrt((size - 13) / size)) - 1).abs().max() < 0.05


def test_the_fit_finds_the_factors_from_a_poor_guess_and_the_other_value_of_glasses():
    z = faces(6, seed=13).double()
    guess = z + 0.3 * torch.randn(z.shape, generator=torch.Generator().manual_seed(2), dtype=torch.float64)
    guess[:, GLASSES] = -z[:, GLASSES]
    found = fit_factors(render(z), guess)
    assert found.residual.max() < 1e-4
    assert (found.z - z).abs().max() < 1e-2
    assert torch.equal(found.z[:, GLASSES], z[:, GLASSES])
    assert found.z.abs().max() <= 1


def test_factors_that_do_not_vary_rest_where_the_data_have_them(predictor):
    z = faces(4, seed=14, varying=FOUR)
    found = DistanceFromData(predictor, FOUR).fit(render(z))
    assert found.residual.max() < 1e-3
    still = [j for j, name in enumerate(FACTOR_NAMES) if name not in FOUR]
    assert torch.equal(found.z[:, still], torch.zeros(4, len(still)))
    other = DistanceFromData(predictor, FOUR).fit(render(faces(4, seed=14)))
    assert other.residual.min() > 0.02  # portraits, but none of this data set


def test_a_fit_does_not_depend_on_its_batch(predictor):
    pictures = render(faces(3, seed=15)) + 0.05 * torch.randn(3, 3, 32, 32, generator=torch.Generator().manual_seed(3))
    measure = DistanceFromData(predictor, starts=2)
    assert torch.allclose(measure(pictures)[1:2], measure(pictures[1:2]), rtol=1e-3)


def test_a_far_hue_is_found(predictor):
    """The background's hue goes around a circle: from the wrong side, steps downhill end in a local minimum."""
    z = faces(4, seed=16)
    z[:, 0] = 0.95
    guess = z.clone()
    guess[:, 0] = -0.6
    assert fit_factors(render(z), guess).residual.max() < 1e-3


def test_shapes_of_fits_are_checked():
    with pytest.raises(ShapeError, match="3, size, size"):
        fit_factors(torch.zeros(2, 3, 32, 16), torch.zeros(2, 14))
    with pytest.raises(ShapeError, match="starts have shape"):
        fit_factors(torch.zeros(2, 3, 32, 32), torch.zeros(1, 14))
    with pytest.raises(ValueRangeError, match="starts is 0"):
        fit_factors(torch.zeros(2, 3, 32, 32), torch.zeros(2, 14), starts=0)
    assert fit_factors(torch.zeros(0, 3, 32, 32), torch.zeros(0, 14)).residual.shape == (0,)
