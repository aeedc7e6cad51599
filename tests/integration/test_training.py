"""Training loops: what a run learns does not depend on whether it was interrupted, and cards say what was measured."""

import json
from dataclasses import asdict

import pytest
import torch
from safetensors.torch import load_file

from diffgeo.data.factor_faces import FACTOR_NAMES, render, sample_factors
from diffgeo.metrics.attributes import load_predictor
from diffgeo.models import load_model
from diffgeo.training.card import diffusion_card
from diffgeo.training.diffusion import DiffusionTraining, learning_rate, loss_weights, train_diffusion
from diffgeo.training.evaluation import factor_distances, reconstruction_psnr, sampled_factors


def settings(images, **changes):
    base = {"size": 8, "channels": [8, 16], "batch_size": 4, "warmup": 8, "decay": 0.5, "sample_every": 10**9}
    return DiffusionTraining(images=images, **{**base, **changes})


def batch(n, generator):
    return render(sample_factors(n, generator=generator), 8)


@pytest.fixture
def quick_grids(monkeypatch):
    monkeypatch.setattr(
        "diffgeo.training.diffusion._sample_grid", lambda pipeline, path, seed: path.parent.mkdir(exist_ok=True)
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
    whole = train_diffusion(cfg, batch, tmp_path / "whole")
    with pytest.raises(KeyboardInterrupt):
        train_diffusion(cfg, killed(3), tmp_path / "parts")
    facts = json.loads((tmp_path / "parts" / "training.json").read_text())
    assert facts["images_seen"] == 12
    parts = train_diffusion(cfg, batch, tmp_path / "parts")
    name = "unet/diffusion_pytorch_model.safetensors"
    expected, found = load_file(whole / name), load_file(parts / name)
    for key, value in expected.items():
        torch.testing.assert_close(found[key], value, atol=0, rtol=0)
    assert load_model(parts).latent_shape == (3, 8, 8)


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
    card = diffusion_card(facts, evaluation)
    assert "| glasses | 0.310 | **no** |" in card
    assert "| smile | 0.050 | yes |" in card
    assert "training.min_snr=5.0` from picture 0" in card
    assert "training.images=10` from picture 5" in card


@pytest.mark.slow
def test_the_shipped_model_reconstructs_held_out_renders(shipped):
    assert reconstruction_psnr(shipped, n=8).mean() >= 35


def test_renders_are_at_no_distance_from_renders_and_noise_is():
    predictor = load_predictor()
    renders = render(sample_factors(400, generator=torch.Generator().manual_seed(1)))
    noise = torch.rand(100, 3, 32, 32, generator=torch.Generator().manual_seed(2)) * 2 - 1
    assert max(factor_distances(predictor(renders), predictor, size=32).values()) < 0.15
    assert max(factor_distances(predictor(noise), predictor, size=32).values()) > 0.5


def test_a_sample_does_not_depend_on_its_neighbours(shipped):
    predictor = load_predictor()
    together = sampled_factors(shipped, predictor, [3, 4], steps=4)
    torch.testing.assert_close(sampled_factors(shipped, predictor, [4], steps=4), together[1:], atol=1e-3, rtol=0)
