"""Training loops: what a run learns does not depend on whether it was interrupted, and cards say what was measured."""

import json
import struct
from dataclasses import asdict

import numpy as np
import pytest
import torch
from safetensors.torch import load_file

from diffgeo.data.factor_faces import FACTOR_NAMES, render, sample_factors
from diffgeo.diffusion.models import load_model
from diffgeo.diffusion.models.training_record import trained_factors
from diffgeo.diffusion.sampling import ddim_invert, ddim_sample
from diffgeo.errors import ConfigError, DataError, ValueRangeError
from diffgeo.metrics.attributes import load_predictor
from training.card import KS_BAR, diffusion_card, predictor_card
from training.diffusion import DiffusionTraining, learning_rate, loss_weights, pictures, train_diffusion
from training.evaluation import factor_distances, held_out, reconstruction_psnr, sampled_factors
from training.fashion_mnist import fashion_mnist
from training.predictor import PredictorTraining


def settings(images, **changes):
    base = {"size": 8, "channels": [8, 16], "batch_size": 4, "warmup": 8, "decay": 0.5, "sample_every": 10**9}
    return DiffusionTraining(images=images, **{**base, **changes})


def batch(n, generator):
    return render(sample_factors(n, generator=generator), 8)


def assert_same_weights(found, expected):
    name = "unet/diffusion_pytorch_model.safetensors"
    found, expected = load_file(found / name), load_file(expected / name)
    assert found.keys() == expected.keys()
    for key, value in expected.items():
        torch.testing.assert_close(found[key], value, atol=0, rtol=0)


@pytest.fixture(scope="module")
def clothes(tmp_path_factory):
    """A folder like Fashion-MNIST's: 4 pictures to train on and 3 to test."""
    folder = tmp_path_factory.mktemp("fashion")
    for seed, (name, n) in enumerate({"train-images-idx3-ubyte": 4, "t10k-images-idx3-ubyte": 3}.items()):
        content = np.random.default_rng(seed).integers(0, 256, (n, 28, 28)).astype(np.uint8)
        (folder / name).write_bytes(struct.pack(">4I", 0x803, n, 28, 28) + content.tobytes())
    return folder


@pytest.fixture
def quick_grids(monkeypatch):
    monkeypatch.setattr(
        "training.diffusion._sample_grid", lambda pipeline, path, seed: path.parent.mkdir(exist_ok=True)
    )


def test_an_interrupted_training_ends_with_the_weights_of_an_uninterrupted_one(tmp_path, quick_grids):
    def killed(after):
        seen = 0

        def draw(n, generator):
            nonlocal seen
            seen += 1
            if seen > after:
                raise KeyboardInterrupt
            return batch(n, generator)

        return draw

    cfg = settings(24, checkpoint_minutes=0.0)
    whole = train_diffusion(cfg, tmp_path / "whole", batch)
    with pytest.raises(KeyboardInterrupt):
        train_diffusion(cfg, tmp_path / "parts", killed(3))
    facts = json.loads((tmp_path / "parts" / "training.json").read_text())
    assert facts["images_seen"] == 12
    parts = train_diffusion(cfg, tmp_path / "parts", batch)
    assert_same_weights(parts, whole)
    assert load_model(parts).latent_shape == (3, 8, 8)


def test_shares_of_a_training_are_kept_with_what_they_saw(tmp_path, quick_grids):
    cfg = settings(20, keep=[0.3, 1.0], varying=["yaw", "smile"])
    whole = train_diffusion(cfg, tmp_path / "whole", batch)
    kept = sorted((tmp_path / "whole" / "kept").iterdir())
    assert [path.name for path in kept] == ["00000008", "00000020"], "6 of 20 pictures are passed by the second batch"
    models = [load_model(path) for path in kept]
    assert models[0].digest != models[1].digest
    for name, value in load_model(whole).unet.state_dict().items():
        torch.testing.assert_close(models[1].unet.state_dict()[name], value, atol=1e-6, rtol=2**-10)
    for path, model in zip(kept, models, strict=True):
        record = json.loads((path / "evaluation.json").read_text())["training"]
        assert (record["images_seen"], record["config"]["seed"]) == (int(path.name), 0)
        assert trained_factors(model.source) == ("yaw", "smile")


@pytest.mark.parametrize("share", [0.0, -0.5, 1.5])
def test_a_share_that_no_training_has_is_refused(tmp_path, share):
    with pytest.raises(ConfigError, match="shares are above 0 and at most 1"):
        train_diffusion(settings(8, keep=[share]), tmp_path / "model", batch)
    assert not (tmp_path / "model").exists()


def test_without_a_batch_the_settings_name_the_pictures(tmp_path, quick_grids):
    cfg = settings(8, varying=["yaw", "smile"])
    drawn = []

    def draw(n, generator):
        z = sample_factors(n, generator=generator, varying=["yaw", "smile"])
        drawn.append(z)
        return render(z, 8)

    assert_same_weights(train_diffusion(cfg, tmp_path / "named"), train_diffusion(cfg, tmp_path / "given", draw))
    assert len(drawn) == 2


def test_grey_pictures_train_a_model_of_one_channel(tmp_path, quick_grids, clothes):
    cfg = settings(4, data="fashion_mnist", path=str(clothes), size=32)
    model = load_model(train_diffusion(cfg, tmp_path / "model"))
    assert model.latent_shape == (1, 32, 32)
    assert json.loads((tmp_path / "model" / "training.json").read_text())["config"]["data"] == "fashion_mnist"


# --- what is drawn and what is held out


def test_faces_are_rendered_from_the_factors_of_the_generator():
    draw = pictures(settings(8, size=16))
    found = draw(3, torch.Generator().manual_seed(2))
    assert torch.equal(found, render(sample_factors(3, generator=torch.Generator().manual_seed(2)), 16))


def test_faces_differ_only_in_the_factors_that_vary():
    drawn = pictures(settings(8, size=16, varying=["skin_tone"]))(5, torch.Generator().manual_seed(2))
    z = sample_factors(5, generator=torch.Generator().manual_seed(2), varying=["skin_tone"])
    assert torch.equal(drawn, render(z, 16))
    assert torch.equal(drawn[:, :, 0, 0], drawn[:1, :, 0, 0].expand(5, 3))  # the background rests


def test_clothes_are_drawn_from_the_training_split_evenly(clothes):
    cfg, known = settings(8, data="fashion_mnist", path=str(clothes), size=32), fashion_mnist(clothes, "train")
    draw = pictures(cfg)
    found = draw(400, torch.Generator().manual_seed(0))
    which = (found[:, None] == known).flatten(2).all(dim=2)
    assert bool((which.sum(dim=1) == 1).all())
    counts = which.sum(dim=0)
    assert (counts - 100).abs().max() < 4 * (400 * 3 / 16) ** 0.5
    assert torch.equal(draw(5, torch.Generator().manual_seed(3)), pictures(cfg)(5, torch.Generator().manual_seed(3)))
    assert not torch.equal(draw(5, torch.Generator().manual_seed(3)), draw(5, torch.Generator().manual_seed(4)))


@pytest.mark.parametrize("changes", [{"data": "cifar"}, {"data": "cifar", "size": 32}, {"data": "fashion_mnist"}])
def test_pictures_that_nobody_can_draw_are_refused(changes):
    with pytest.raises(ConfigError, match=r"known are factor_faces, and fashion_mnist at size 32"):
        pictures(settings(8, **changes))


def test_pictures_that_are_not_there_are_refused_before_training(tmp_path):
    cfg = settings(8, data="fashion_mnist", size=32, path=str(tmp_path / "nowhere"))
    with pytest.raises(DataError, match="is missing"):
        train_diffusion(cfg, tmp_path / "model")
    assert not (tmp_path / "model").exists()


def test_factors_that_do_not_exist_cannot_vary_in_training(tmp_path):
    with pytest.raises(ValueRangeError, match="no factor is called nose"):
        pictures(settings(8, varying=["nose"]))(1, torch.Generator())


def test_held_out_clothes_are_of_the_other_split(clothes):
    cfg = settings(8, data="fashion_mnist", path=str(clothes), size=32)
    assert torch.equal(held_out(cfg, 2), fashion_mnist(clothes, "test")[:2])


def test_held_out_faces_are_renders_like_those_of_the_training_and_none_of_them():
    cfg = settings(8, size=16, varying=["yaw", "skin_tone"])
    found = held_out(cfg, 3)
    z = sample_factors(3, generator=torch.Generator().manual_seed(1_000_003), varying=["yaw", "skin_tone"])
    assert torch.equal(found, render(z, 16))
    trained_on = pictures(cfg)(50, torch.Generator().manual_seed(0))
    assert not bool((found[:, None] == trained_on).flatten(2).all(dim=2).any())


def test_the_rate_rises_rests_and_falls_to_nothing():
    cfg = settings(1000, warmup=100, learning_rate=1.0)
    assert learning_rate(0, cfg) == pytest.approx(0.01)
    assert learning_rate(300, cfg) == 1.0
    assert learning_rate(750, cfg) == pytest.approx(0.5)
    assert learning_rate(1000, cfg) == 0


def test_loss_weights_are_those_of_the_docstring():
    alphas = torch.tensor([0.999, 0.9, 0.5, 0.02, 1e-4], dtype=torch.float64)
    snr = alphas / (1 - alphas)
    expected = [5 / snr[0], 5 / snr[1], 1, (0.05 / snr[3]) ** 0.5, 10]
    torch.testing.assert_close(
        loss_weights(alphas, 5.0), torch.tensor([float(w) for w in expected], dtype=torch.float64)
    )


def test_the_card_names_the_factors_beyond_the_bar_and_every_sitting():
    distances = dict.fromkeys(FACTOR_NAMES, 0.05) | {"glasses": 0.31}
    facts = {"config": asdict(DiffusionTraining()), "images_seen": 10, "seconds": 60, "loss": 0.5, "device": "x"}
    facts["sittings"] = [
        {"from_image": 0, "config": asdict(DiffusionTraining(min_snr=5.0))},
        {"from_image": 5, "config": asdict(DiffusionTraining(images=10))},
    ]
    evaluation = {"samples": 7, "ks_distance": distances, "reconstruction_psnr_db": {"mean": 40.0, "min": 36.0}}
    card = diffusion_card("faces_x", facts, evaluation)
    assert "| glasses | 0.310 | **no** |" in card
    assert "| smile | 0.050 | yes |" in card
    assert "training.min_snr=5.0 out=outputs/training/faces_x` from picture 0" in card
    assert "training.images=10 out=outputs/training/faces_x` from picture 5" in card
    assert "`python tools/ship.py diffusion outputs/training/faces_x`" in card
    assert "all 14 factors varying" in card
    assert "(bar: mean at least 35)" in card
    evaluation["reconstruction_psnr_db"]["mean"] = 34.9
    assert "**34.9 dB**, worst 36.0 dB (bar: mean at least 35, missed)" in diffusion_card("faces_x", facts, evaluation)


def test_the_card_tells_which_factors_vary():
    cfg = DiffusionTraining(varying=["yaw", "smile"], channels=[8, 16])
    facts = {"config": asdict(cfg), "images_seen": 10, "seconds": 60, "loss": 0.5, "device": "x"}
    facts["sittings"] = [{"from_image": 0, "config": asdict(cfg)}]
    evaluation = {"samples": 7, "ks_distance": {"yaw": 0.05}, "reconstruction_psnr_db": {"mean": 40.0, "min": 36.0}}
    card = diffusion_card("two_factors", facts, evaluation)
    assert "only yaw, smile varying" in card
    assert "training.channels=[8,16] training.varying=[yaw,smile] out=outputs/training/two_factors` from" in card


def test_the_predictors_card_names_its_commands():
    facts = {"config": asdict(PredictorTraining(size=64)), "images_seen": 5, "seconds": 90, "device": "x"}
    card = predictor_card("eyes", facts | {"held_out": {"yaw": 0.98765}})
    assert "training=factor_predictor training.size=64 out=outputs/training/eyes`" in card
    assert "`python tools/ship.py predictor outputs/training/eyes`" in card
    assert "| yaw | 0.9877 |" in card


@pytest.mark.nightly
def test_the_shipped_model_reconstructs_held_out_renders(shipped):
    assert reconstruction_psnr(shipped, held_out(DiffusionTraining(), 8)).mean() >= 35


@pytest.mark.parametrize("batch_size", [1, 2, 64])
def test_the_psnr_is_that_of_inverting_and_sampling(tiny_model, batch_size):
    clean = render(sample_factors(3, generator=torch.Generator().manual_seed(0)), 8)
    back = ddim_sample(tiny_model, ddim_invert(tiny_model, clean, steps=5), steps=5).clamp(-1, 1)
    expected = 10 * (4 / (back - clean).double().square().mean(dim=(1, 2, 3))).log10()
    found = reconstruction_psnr(tiny_model, clean, steps=5, batch_size=batch_size)
    torch.testing.assert_close(found.double(), expected, rtol=0, atol=1e-2)


def test_factors_that_rest_are_not_compared():
    predictor, varying = load_predictor(), ["yaw", "skin_tone"]
    z = sample_factors(200, generator=torch.Generator().manual_seed(1), varying=varying)
    distances = factor_distances(predictor(render(z)), predictor, size=32, varying=varying)
    assert set(distances) == set(varying)
    assert max(distances.values()) < 0.2
    half = torch.cat([z[:, :1], z[:, 1:] / 2], dim=1)
    half[:, FACTOR_NAMES.index("glasses")] = -1
    squeezed = factor_distances(predictor(render(half)), predictor, size=32, varying=varying)
    # uniform on [−½, ½] against [−1, 1]: sup |F₁ − F₂| = ¼
    assert squeezed["skin_tone"] == pytest.approx(0.25, abs=0.1)


def test_renders_are_at_no_distance_from_renders_and_noise_is():
    predictor = load_predictor()
    renders = render(sample_factors(400, generator=torch.Generator().manual_seed(1)))
    noise = torch.rand(100, 3, 32, 32, generator=torch.Generator().manual_seed(2)) * 2 - 1
    assert max(factor_distances(predictor(renders), predictor, size=32).values()) < 0.15
    assert max(factor_distances(predictor(noise), predictor, size=32).values()) > 0.5


@pytest.mark.slow
def test_the_autoencoder_that_ships_blurs_freckles_beyond_the_bar_and_nothing_else():
    reader, model = load_predictor("factor_predictor_64"), load_model("factor_faces_flow", prompt="")
    renders = render(sample_factors(448, generator=torch.Generator().manual_seed(1)), 64)
    with torch.no_grad():
        factors = torch.cat([reader(model.decode(model.encode(part))) for part in renders.split(32)])
    distances = factor_distances(factors, reader, size=64)
    assert distances.pop("freckles") == pytest.approx(0.17, abs=0.03)
    assert max(distances.values()) < KS_BAR


def test_a_sample_does_not_depend_on_its_neighbours(shipped):
    predictor = load_predictor()
    together = sampled_factors(shipped, predictor, [3, 4], steps=4)
    torch.testing.assert_close(sampled_factors(shipped, predictor, [4], steps=4), together[1:], atol=1e-3, rtol=0)
