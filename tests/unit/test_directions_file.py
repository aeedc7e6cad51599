"""Directions on disk: what is kept, and what is refused."""

import json

import pytest
import torch
from safetensors.torch import save_file

from diffgeo import Directions, load_directions, save_directions
from diffgeo.diffusion.direction_files import KEY
from diffgeo.diffusion.models import PixelDiffusion
from diffgeo.errors import DirectionsError
from diffgeo.geometry import random_directions
from diffgeo.svd import local_basis


@pytest.fixture
def some(tiny_model):
    found = random_directions(16, 3, seed=1)
    return Directions.of(
        found,
        tiny_model,
        t=500,
        block="mid",
        pool="sum",
        labels=["a +", "b −", "no attribute"],
        provenance={"samples": ["seed 0", "seed 1"], "rank": 5},
    )


def test_what_was_saved_is_loaded(some, tmp_path):
    path = save_directions(tmp_path / "some.safetensors", some)
    found = load_directions(path)
    assert torch.equal(found.U, some.U)
    assert bool(found.score.isnan().all())
    for name in ("method", "t", "T", "block", "pool", "tap", "model", "digest", "labels", "provenance"):
        assert getattr(found, name) == getattr(some, name), name


def test_directions_fit_the_model_that_they_were_made_on(some, tiny_model):
    some.check(tiny_model, t=500, block="mid", pool="sum")


@pytest.mark.parametrize(
    ("other", "reason"),
    [
        ({"t": 499}, "timestep 500, not 499"),
        ({"block": "down.0"}, "block mid, not down.0"),
        ({"tap": "update"}, "feature.tap=output, not update"),
        ({"pool": None}, "pooling sum, not null"),
    ],
)
def test_another_place_is_refused_with_the_reason(some, tiny_model, other, reason):
    with pytest.raises(DirectionsError, match=reason):
        some.check(tiny_model, **{"t": 500, "block": "mid", "pool": "sum"} | other)


def test_another_model_is_refused_even_under_the_same_name(some, tiny_unet, schedule):
    other = PixelDiffusion(tiny_unet(seed=1), schedule, name="tiny", source="random")
    with pytest.raises(
        DirectionsError, match=r"were made on random, this is random .other weights, configs, or version"
    ):
        some.check(other, t=500, block="mid", pool="sum")


def test_the_digest_tells_weights_apart_and_nothing_else(tiny_unet, schedule):
    one, same, other = (
        PixelDiffusion(tiny_unet(seed=seed), schedule, name=name, source=name).digest
        for seed, name in ((0, "a"), (0, "b"), (1, "a"))
    )
    assert one == same != other


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (b"", "is no direction set"),
        (b"not safetensors at all", "is no direction set"),
    ],
)
def test_broken_files_are_refused(tmp_path, content, reason):
    path = tmp_path / "broken.safetensors"
    path.write_bytes(content)
    with pytest.raises(DirectionsError, match=reason):
        load_directions(path)


def test_other_safetensors_and_later_formats_are_refused(some, tmp_path):
    path = tmp_path / "other.safetensors"
    save_file({"U": some.U.contiguous(), "score": some.score}, path)
    with pytest.raises(DirectionsError, match="no direction set"):
        load_directions(path)
    save_file({"U": some.U.contiguous(), "score": some.score}, path, {KEY: json.dumps({"format": 4})})
    with pytest.raises(DirectionsError, match=r"format 4.*reads 3"):
        load_directions(path)
    with pytest.raises(DirectionsError, match="does not exist"):
        load_directions(tmp_path / "nowhere.safetensors")


def test_vectors_that_are_not_unit_are_refused_both_ways(some, tmp_path, tiny_model):
    twice = random_directions(16, 3)
    wrong = Directions.of(type(twice)(twice.U * 2, twice.score, "random"), tiny_model, t=1, block="mid", pool=None)
    with pytest.raises(DirectionsError, match="no unit vectors"):
        save_directions(tmp_path / "wrong.safetensors", wrong)
    with pytest.raises(DirectionsError, match=r"end in .safetensors"):
        save_directions(tmp_path / "some.pt", some)
    with pytest.raises(DirectionsError, match="1 labels for 3 directions"):
        Directions.of(twice, tiny_model, t=1, block="mid", pool=None, labels=["only one"])


def test_the_representation_is_a_line_without_the_numbers(some):
    said = "Directions(3 of length 16, method='random', t=500 of 999, block='mid', pool='sum', model='random')"
    assert repr(some) == said
    assert repr(random_directions(16, 3, seed=1)) == "GlobalDirections(3 of length 16, method='random')"


def test_a_basis_is_represented_by_its_size_and_accuracy():
    basis = local_basis(lambda x: x * torch.arange(1.0, 13.0).reshape(3, 2, 2), torch.zeros(3, 2, 2), 4)
    assert repr(basis).startswith("LocalBasis(4 directions, m=12, d=12, s=12 to 9, Certificate(converged, residual=")
    assert len(repr(basis)) < 200
