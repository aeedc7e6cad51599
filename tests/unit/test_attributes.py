import hashlib
import json
import shutil

import pytest
import torch
from sklearn.metrics import r2_score, roc_auc_score
from torch import nn

from diffgeo.data.factor_faces import FACTOR_NAMES, FACTORS, render, sample_factors
from diffgeo.diffusion.models import shipped_folder
from diffgeo.errors import ModelError, ShapeError
from diffgeo.metrics.attributes import FactorPredictor, label_change, load_predictor


@pytest.fixture(scope="module")
def predictor():
    return load_predictor()


@pytest.fixture(scope="module")
def fresh():
    """512 faces that no training saw."""
    return sample_factors(512, generator=torch.Generator().manual_seed(987_654))


class Fixed(nn.Module):
    """Gives the same raw outputs for every picture, and remembers what it saw."""

    def __init__(self, raw):
        super().__init__()
        self.raw, self.seen = torch.tensor(raw), None

    def forward(self, images):
        self.seen = images
        return self.raw.expand(len(images), -1)


def test_shipped_predictor_reads_every_factor(predictor, fresh):
    predicted = predictor(render(fresh))
    assert predictor.names == FACTOR_NAMES
    for i, factor in enumerate(FACTORS):
        if factor.kind == "binary":
            assert roc_auc_score(fresh[:, i] > 0, predicted[:, i]) >= 0.995, factor.name
            assert predicted[:, i].abs().max() <= 1
        else:
            assert r2_score(fresh[:, i], predicted[:, i]) >= 0.98, factor.name


def test_a_change_of_one_factor_is_read_as_that_factor(predictor):
    for i, name in enumerate(FACTOR_NAMES):
        z = torch.zeros(2, 14)
        z[:, FACTOR_NAMES.index("glasses")] = -1
        z[0, i], z[1, i] = -1, 1
        low, high = predictor(render(z))
        assert label_change(predictor.names, high - low).split(", ")[0] == f"{name} +"


def test_large_pictures_are_read_like_small_ones(predictor, fresh):
    z = fresh[:64]
    small, large = predictor(render(z)), predictor(render(z, 128))
    assert (small - large).abs().mean() < 0.1


def test_resizing_is_antialiased_to_the_networks_size():
    network = Fixed([0.0])
    checkers = (torch.arange(64)[:, None] + torch.arange(64)).remainder(2).float() * 2 - 1
    FactorPredictor(network, ["a"], [False], 16)(checkers.expand(1, 3, 64, 64))
    assert network.seen.shape == (1, 3, 16, 16)
    assert network.seen.abs().max() < 0.2


def test_binary_outputs_are_probabilities_on_minus_one_to_one():
    predictor = FactorPredictor(Fixed([2.0, 2.0, -30.0]), ["a", "b", "c"], [False, True, True], 8)
    values = predictor(torch.zeros(1, 3, 8, 8))[0]
    assert values[0] == 2.0
    assert values[1].item() == pytest.approx(2 * torch.sigmoid(torch.tensor(2.0)).item() - 1)
    assert values[2].item() == pytest.approx(-1)


def test_prediction_of_a_picture_does_not_depend_on_its_batch(predictor, fresh):
    pictures = render(fresh[:5])
    torch.testing.assert_close(predictor(pictures)[2:3], predictor(pictures[2:3]), rtol=1e-4, atol=1e-5)


def test_double_precision_pictures_are_read(predictor, fresh):
    pictures = render(fresh[:3])
    assert torch.equal(predictor(pictures.double()), predictor(pictures))


@pytest.mark.parametrize("shape", [(3, 32, 32), (2, 1, 32, 32), (2, 4, 32, 32)])
def test_other_than_rgb_batches_are_refused(predictor, shape):
    with pytest.raises(ShapeError, match=r"expected \(B, 3, H, W\)"):
        predictor(torch.zeros(shape))


NAMES = ("skin", "hair", "smile", "beard")


@pytest.mark.parametrize(
    ("change", "label"),
    [
        ([0.1, 0.9, 0.0, -0.3], "hair +, beard −"),
        ([0.0, 0.0, -1.0, 0.0], "smile −"),
        ([0.4, 0.3, 0.2, 0.5], "beard +, skin +, hair +"),
        ([0.14, -0.14, 0.0, 0.1], "no attribute"),
    ],
)
def test_labels_name_at_most_three_changes_strongest_first(change, label):
    assert label_change(NAMES, torch.tensor(change)) == label


def test_label_threshold_is_inclusive_and_adjustable():
    change = torch.tensor([0.5, 0.25, 0.0, 0.0])
    assert label_change(NAMES, change, threshold=0.5) == "skin +"
    assert label_change(NAMES, change, threshold=0.51) == "no attribute"


# --- files


@pytest.fixture
def folder(tmp_path):
    return shutil.copytree(shipped_folder("factor_predictor"), tmp_path / "predictor")


def test_a_copied_folder_is_the_same_predictor(folder, predictor, fresh):
    pictures = render(fresh[:2])
    assert torch.equal(load_predictor(folder)(pictures), predictor(pictures))


def without_digests(folder):
    (folder / "SHA256SUMS").unlink(missing_ok=True)


def edit_config(folder, **changes):
    without_digests(folder)
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps({k: v for k, v in {**config, **changes}.items() if v != "DROP"}))


def truncate(folder):
    without_digests(folder)
    path = folder / "model.safetensors"
    path.write_bytes(path.read_bytes()[:1000])


DAMAGES = {
    "no folder": shutil.rmtree,
    "no weights": lambda f: (without_digests(f), (f / "model.safetensors").unlink()),
    "no config": lambda f: (without_digests(f), (f / "config.json").unlink()),
    "truncated weights": truncate,
    "empty weights": lambda f: (without_digests(f), (f / "model.safetensors").write_bytes(b"")),
    "no json": lambda f: (without_digests(f), (f / "config.json").write_text("{")),
    "binary config": lambda f: (without_digests(f), (f / "config.json").write_bytes(b"\xff\xfe\x00")),
    "missing key": lambda f: edit_config(f, width="DROP"),
    "other width": lambda f: edit_config(f, width=8),
    "fewer names": lambda f: edit_config(f, names=["a"]),
    "config is a list": lambda f: (without_digests(f), (f / "config.json").write_text("[]")),
    "width is text": lambda f: edit_config(f, width="wide"),
    "names is a number": lambda f: edit_config(f, names=5),
    "fewer flags than names": lambda f: edit_config(f, binary=[False]),
}


@pytest.mark.parametrize("damage", list(DAMAGES))
def test_damaged_folders_are_refused_by_name(folder, damage):
    DAMAGES[damage](folder)
    with pytest.raises(ModelError, match="predictor"):
        load_predictor(folder)


def test_tampered_weights_are_told_by_their_digest(folder):
    path = folder / "model.safetensors"
    digest = hashlib.sha256(path.read_bytes()).hexdigest()
    (folder / "SHA256SUMS").write_text(f"{digest}  model.safetensors\n")
    load_predictor(folder)
    content = bytearray(path.read_bytes())
    content[-1] ^= 1
    path.write_bytes(content)
    with pytest.raises(ModelError, match=r"model\.safetensors is damaged"):
        load_predictor(folder)
