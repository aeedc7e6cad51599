"""What a model's folder says of its data."""

import json

import pytest

from diffgeo.data.factor_faces import FACTOR_NAMES
from diffgeo.diffusion.models.training_record import trained_factors, training_of
from diffgeo.errors import ModelError


@pytest.mark.parametrize(
    ("source", "factors"),
    [
        ("shipped:factor_faces", FACTOR_NAMES),
        ("shipped:factor_faces_4", ("background_hue", "hair_length", "smile", "glasses")),
        ("shipped:factor_faces_t2i", FACTOR_NAMES),
        ("shipped:factor_faces_flow", FACTOR_NAMES),
        ("shipped:factor_faces_flow_unet", FACTOR_NAMES),
        ("shipped:fashion_mnist", ()),
        ("owner/name@0123", FACTOR_NAMES),
    ],
)
def test_records_name_the_factors_that_vary(source, factors):
    assert trained_factors(source) == factors


def test_a_folder_of_ones_own_is_read(tmp_path):
    record = {"training": {"config": {"data": "factor_faces", "varying": ["smile", "yaw"]}}}
    (tmp_path / "evaluation.json").write_text(json.dumps(record))
    assert trained_factors(str(tmp_path)) == ("yaw", "smile")


@pytest.mark.parametrize("text", ["{", "[]", '{"training": {}}', '{"training": {"config": []}}'])
def test_a_damaged_record_is_named(tmp_path, text):
    (tmp_path / "evaluation.json").write_text(text)
    with pytest.raises(ModelError, match="is no record of a training"):
        trained_factors(str(tmp_path))


def test_trainings_that_differ_by_their_seed_share_their_settings(tmp_path):
    found = []
    for i, (seed, size, seen, keep) in enumerate(((0, 8, 10, []), (1, 8, 20, [0.5]), (0, 4, 10, []))):
        folder = tmp_path / str(i)
        folder.mkdir()
        record = {"training": {"config": {"seed": seed, "size": size, "keep": keep}, "images_seen": seen}}
        (folder / "evaluation.json").write_text(json.dumps(record))
        found.append(training_of(str(folder)))
    assert [(one.data, one.seed, one.images) for one in found] == [
        ("14 factors", 0, 10),
        ("14 factors", 1, 20),
        ("14 factors", 0, 10),
    ]
    assert found[0].settings == found[1].settings != found[2].settings
    assert training_of(str(tmp_path)) is None
