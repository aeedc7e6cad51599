"""Perceptual distances against closed forms on networks whose features are known."""

import pytest
import torch
from torch import nn
from torch.nn.functional import interpolate, silu

from diffgeo.composition import composed
from diffgeo.config import build
from diffgeo.data.factor_faces import render, sample_factors
from diffgeo.errors import ConfigError, ShapeError
from diffgeo.metrics.attributes import FactorNet, FactorPredictor, load_predictor
from diffgeo.metrics.perceptual import FeatureDistance, PixelDistance, best_measure, own_features


def identity_network(stages=1):
    """A network whose stage l shows SiLU of stage l − 1, the first one the pictures."""
    network = FactorNet(8, 2)
    network.features = nn.Sequential(*[nn.Conv2d(3, 3, 1, bias=False), nn.SiLU()] * stages)
    for layer in network.features[::2]:
        layer.weight.data = torch.eye(3)[..., None, None]
    return network


def flat(*colours, size=8):
    """One picture a colour."""
    return torch.tensor(colours)[..., None, None].expand(-1, -1, size, size)


def random_network(seed=0):
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return FactorNet(16, 4).eval()


@pytest.fixture(scope="module")
def faces():
    return render(sample_factors(6, generator=torch.Generator().manual_seed(5)))


@pytest.fixture(scope="module")
def predictor():
    return load_predictor()


@pytest.fixture(params=[PixelDistance, own_features], ids=["rmse", "factor_features"])
def measure(request, predictor):
    return request.param() if request.param is PixelDistance else own_features(predictor)


def test_every_measure_tells_its_name(measure):
    assert measure.name == {PixelDistance: "rmse", FeatureDistance: "factor_features"}[type(measure)]


def test_a_picture_is_at_no_distance_from_itself(measure, faces):
    assert torch.equal(measure(faces, faces), torch.zeros(6))


def test_distances_are_symmetric_and_positive(measure, faces):
    there = measure(faces, faces.roll(1, 0))
    torch.testing.assert_close(measure(faces.roll(1, 0), faces), there)
    assert there.min() > 0


def test_one_picture_is_compared_with_every_other(measure, faces):
    expected = measure(faces[:1].expand_as(faces), faces)
    torch.testing.assert_close(measure(faces[:1], faces), expected, rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(measure(faces, faces[:1]), expected, rtol=1e-4, atol=1e-5)


def test_a_distance_does_not_depend_on_the_batch(measure, faces):
    together = measure(faces, faces.flip(0))
    torch.testing.assert_close(measure(faces[1:2], faces[4:5]), together[1:2], rtol=1e-4, atol=1e-5)


def test_double_precision_pictures_are_compared(measure, faces):
    found = measure(faces.double(), faces.double().roll(1, 0))
    assert found.dtype == torch.float32
    torch.testing.assert_close(found, measure(faces, faces.roll(1, 0)))


def test_distances_grow_with_noise(measure, faces):
    noise = torch.randn(faces.shape, generator=torch.Generator().manual_seed(0))
    distances = torch.stack([measure(faces + sigma * noise, faces) for sigma in (0, 0.01, 0.03, 0.1, 0.3)])
    assert bool((distances.diff(dim=0) > 0).all())


def test_another_face_is_further_than_the_same_face_with_a_little_noise(faces, predictor):
    distance = own_features(predictor)
    noise = 0.05 * torch.randn(faces.shape, generator=torch.Generator().manual_seed(0))
    assert distance(faces + noise, faces).max() < distance(faces.roll(1, 0), faces).min()


@pytest.mark.parametrize("value", [0.0, 0.25, 1.0, 2.0])
def test_pixels_that_all_differ_by_a_value_are_at_that_distance(value):
    a = flat((-1.0, -1.0, -1.0), (-0.5, -0.9, -1.0))
    torch.testing.assert_close(PixelDistance()(a, a + value), torch.full((2,), value))


def test_the_distance_of_pixels_is_the_root_of_the_mean_square():
    a, b = torch.zeros(1, 3, 2, 2), torch.zeros(1, 3, 2, 2)
    b[0, 1, 0, 1], b[0, 2, 1, 1] = 0.6, -0.8
    assert PixelDistance()(a, b).item() == pytest.approx((1 / 12) ** 0.5)


def test_feature_distance_of_flat_colours_is_the_squared_chord_of_their_unit_features():
    distance = FeatureDistance(identity_network(), 8)
    red, green, dark, grey = (1.0, 0.0, 0.0), (0.0, 1.0, 0.0), (-1.0, 0.0, 0.0), (0.5, 0.5, 0.5)
    found = distance(flat(red, red, red), flat(green, dark, grey))
    # orthogonal: 2; opposite: 4, the largest; (1, 0, 0) with (1, 1, 1)/√3: 2 − 2/√3
    torch.testing.assert_close(found, torch.tensor([2.0, 4.0, 2 - 2 / 3**0.5]))
    # features are made unit: brightness alone is no difference
    assert distance(flat((0.2, 0.2, 0.2)), flat((0.9, 0.9, 0.9))).item() == pytest.approx(0, abs=1e-6)


def test_feature_distance_is_the_mean_over_pixels_and_stages():
    a, b = (torch.rand(2, 3, 8, 8, generator=torch.Generator().manual_seed(i)) * 2 - 1 for i in (0, 1))
    parts, y, z = [], a.double(), b.double()
    for _ in range(3):
        y, z = silu(y), silu(z)
        difference = y / y.norm(dim=1, keepdim=True) - z / z.norm(dim=1, keepdim=True)
        parts.append(difference.square().sum(dim=1).mean(dim=(1, 2)))
    expected = torch.stack(parts).mean(dim=0).float()
    torch.testing.assert_close(FeatureDistance(identity_network(3), 8)(a, b), expected)


def test_feature_distance_looks_after_every_non_linearity():
    network, seen = random_network(), []
    for layer in network.features:
        if isinstance(layer, nn.SiLU):
            layer.register_forward_hook(lambda _, __, out: seen.append(out))
    a, b = (torch.rand(1, 3, 16, 16, generator=torch.Generator().manual_seed(i)) * 2 - 1 for i in (0, 1))
    found = FeatureDistance(network, 16)(a, b).item()
    assert len(seen) == 12
    chords = [
        (y / y.norm(dim=1, keepdim=True) - z / z.norm(dim=1, keepdim=True)).square().sum(dim=1).mean().item()
        for y, z in zip(seen[:6], seen[6:], strict=True)
    ]
    assert found == pytest.approx(sum(chords) / 6, rel=1e-5)


def test_feature_distance_neither_trains_nor_follows_the_network():
    network = random_network().train()
    distance = FeatureDistance(network, 16)
    before = {k: v.clone() for k, v in network.state_dict().items()}
    a = torch.rand(2, 3, 16, 16, generator=torch.Generator().manual_seed(0)).requires_grad_()
    assert not distance(a, a.detach().flip(0)).requires_grad
    assert all(torch.equal(v, before[k]) for k, v in network.state_dict().items())
    assert not any(p.requires_grad for p in network.parameters())


def test_pictures_of_another_size_are_resized_to_the_networks():
    distance = FeatureDistance(random_network(), 16)
    large, other = (torch.rand(2, 3, 48, 40, generator=torch.Generator().manual_seed(i)) * 2 - 1 for i in (0, 1))
    small, smaller = (interpolate(x, (16, 16), mode="bilinear", antialias=True) for x in (large, other))
    torch.testing.assert_close(distance(large, other), distance(small, smaller))


def test_auto_takes_the_features_where_there_is_a_factor_predictor(predictor):
    class Other(nn.Module):
        def forward(self, images):
            return images.mean(dim=(1, 2, 3))[:, None]

    assert best_measure(predictor, 32).name == "factor_features"
    assert best_measure(predictor, 32).size == predictor.size
    assert best_measure(None, 32).name == "rmse"
    assert best_measure(FactorPredictor(Other(), ["a"], [False], 8), 32).name == "rmse"
    with pytest.raises(ConfigError, match=r"needs model\.predictor=factor_predictor; use metric=rmse"):
        own_features(FactorPredictor(Other(), ["a"], [False], 8))


def test_features_without_a_predictor_are_refused():
    with pytest.raises(ConfigError, match=r"needs model\.predictor=factor_predictor; use metric=rmse"):
        own_features(None)


@pytest.mark.parametrize("choice", ["auto", "factor_features", "lpips", "rmse"])
def test_every_choice_makes_the_measure_of_its_name(predictor, choice, tmp_path, monkeypatch):
    """By the one way that a measure of the user's own takes."""
    cfg = composed([f"metric={choice}"]).metric
    monkeypatch.setattr(torch.hub, "get_dir", lambda: str(tmp_path))
    known = {"predictor": predictor, "side": 32, "device": "cpu"}
    if choice == "lpips":
        with pytest.raises(ConfigError, match="metric=lpips needs alexnet"):
            build("metric", cfg, **known)
    else:
        assert build("metric", cfg, **known).name == {"auto": "factor_features"}.get(choice, choice)
    assert cfg.perceptual == choice


@pytest.mark.parametrize(
    ("first", "second"),
    [
        ((2, 3, 8, 8), (3, 3, 8, 8)),
        ((2, 3, 8, 8), (2, 3, 8, 9)),
        ((2, 3, 8, 8), (2, 1, 8, 8)),
        ((3, 8, 8), (3, 8, 8)),
    ],
)
def test_pictures_that_do_not_correspond_are_refused(measure, first, second):
    with pytest.raises(ShapeError, match=r"expected equal \(B, 3, H, W\)"):
        measure(torch.zeros(first), torch.zeros(second))
