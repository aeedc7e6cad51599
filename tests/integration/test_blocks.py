"""``feature.block`` and ``feature.tap`` as a run takes them: each is a map of its own, for the store, too."""

import pytest

import diffgeo
from diffgeo.errors import ConfigError, UnsuitableModelError
from diffgeo.runner.prepare import prepare
from folders import save_pixels, unet

FEATURES = ["feature.block=mid", "feature.tap=update", "feature.tap=normalised", "feature.block=mid_block.resnets.0"]


@pytest.fixture
def context(tmp_path):
    folder = save_pixels(tmp_path / "m", unet())

    def prepared(*words):
        plain = (f"model.path={folder}", "model=local", "scale=smoke", "device=cpu", "data.samples=1", "predictor=none")
        plain += ("schedule.steps=2", "schedule.edit=[1.0]", "svd.rank=2", "svd.tol=1e-2")
        return prepare(diffgeo.settings(*plain, "study=[spectrum]", *words))

    return prepared


@pytest.mark.slow
def test_a_store_tells_blocks_and_taps_apart(context, tmp_path):
    values, alone = [], []
    for feature in FEATURES:
        for found, kept in ((values, f"store.path={tmp_path / 'store'}"), (alone, "store.enabled=false")):
            table = diffgeo.run_study("spectrum", context(feature, kept)).table
            assert (table["tap"] == (feature.split("=")[1] if "tap" in feature else "output")).all()
            found.append(tuple(table["singular_value_first"]))
    assert values == alone
    assert len(set(values)) == len(FEATURES)


@pytest.mark.parametrize("words", [("feature.block=down.0", "feature.tap=update"), ("feature.block=time_embedding",)])
def test_a_block_without_such_a_map_is_refused_before_anything_is_computed(context, words):
    with pytest.raises(ConfigError, match=r"has no update|holds no image tokens"):
        context(*words)


def test_data_sets_are_not_compared_by_a_block_that_their_models_lack(tiny_pipeline):
    models = f"study.dataset_complexity.models=[{tiny_pipeline},{tiny_pipeline}]"
    words = ["study=[dataset_complexity]", models, "feature.block=down.2", "scale=smoke", "device=cpu"]
    with pytest.raises(UnsuitableModelError, match=r"by down\.2, which it cannot be asked for: .*lacks"):
        diffgeo.run_study("dataset_complexity", diffgeo.settings(*words, "tracking=none", "store.enabled=false"))
