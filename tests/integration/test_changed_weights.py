"""A context whose model was changed from Python: studies use nothing that the old weights gave."""

import pytest
import torch

import diffgeo
from diffgeo.errors import DirectionsError
from diffgeo.geometry import GlobalDirections
from diffgeo.runner.prepare import prepare
from folders import save_pixels, unet


@pytest.fixture
def context(tmp_path):
    folder = save_pixels(tmp_path / "m", unet())
    words = (f"model.path={folder}", "model=local", "scale=smoke", "device=cpu", "data.samples=1", "predictor=none")
    words += ("schedule.steps=2", "schedule.edit=[1.0]", "svd.rank=2", "svd.tol=1e-2")
    cfg = diffgeo.settings(*words, "study=[spectrum]", f"store.path={tmp_path / 'store'}")
    return lambda: prepare(cfg)


def spectrum(context):
    return diffgeo.run_study("spectrum", context).table["singular_value_first"].tolist()


def change(context):
    weight = context.model.unet.conv_in.weight
    weight.data = weight.data * 1.5


def test_a_study_of_changed_weights_is_that_of_a_fresh_context(context):
    used, fresh = context(), context()
    before = spectrum(used)
    change(used)
    change(fresh)
    assert spectrum(used) == spectrum(fresh) != before


def test_directions_of_changed_weights_are_of_another_model(context):
    one = context()
    place = {"t": one.model.schedule.T, "block": "mid", "pool": None}
    found = GlobalDirections(torch.eye(4), torch.ones(4), "frechet")
    directions = diffgeo.Directions.of(found, one.model, **place)
    directions.check(one.model, **place)
    change(one)
    with pytest.raises(DirectionsError, match="were made on"):
        directions.check(one.model, **place)
