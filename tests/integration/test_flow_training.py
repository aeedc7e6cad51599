"""The flow training at toy size: what diffusers makes of its folders, that it resumes, and the tokens it is fed."""

import json

import pytest
import torch
from safetensors.torch import load_file

pytest.importorskip("transformers")

from diffusers import FlowMatchEulerDiscreteScheduler, StableDiffusion3Pipeline, StableDiffusionPipeline

from diffgeo.data.factor_faces import FACTOR_NAMES
from diffgeo.diffusion.models import load_model
from diffgeo.diffusion.noise_schedule import CLEAN
from diffgeo.diffusion.sampling import ddim_sample, initial_noise
from diffgeo.errors import ConfigError
from training import flow
from training.card import flow_card
from training.evaluation_t2i import evaluate_flow
from training.flow import FlowTraining, noise_level, train_flow

WEIGHTS = {
    "transformer": "transformer/diffusion_pytorch_model.safetensors",
    "unet": "unet/diffusion_pytorch_model.safetensors",
}
WITHOUT_T5 = {"text_encoder_3": None, "tokenizer_3": None}


def settings(network="transformer", **changes):
    base = {"pool": 6, "images": 12, "batch_size": 2, "warmup": 4, "decay": 0.5, "sample_every": 10**9}
    small = {"heads": 1, "layers": 2, "channels": [8, 16]}
    return FlowTraining(network, **{**base, **small, **changes})


@pytest.fixture
def quick_grids(monkeypatch):
    monkeypatch.setattr(flow, "_sample_grid", lambda *_: None)


@pytest.fixture(scope="module")
def unet(tmp_path_factory):
    """The folder of a toy U-Net."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(flow, "_sample_grid", lambda *_: None)
        return train_flow(settings("unet"), tmp_path_factory.mktemp("unet"))


@pytest.fixture(scope="module")
def transformer(tmp_path_factory):
    """The folder of a toy transformer, with weights far from the identity that it starts at."""
    folder = tmp_path_factory.mktemp("flow")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(flow, "_start_at_identity", lambda network: None)
        return train_flow(settings(), folder)


def test_diffusers_samples_the_folder_of_the_transformer(transformer):
    pipe = StableDiffusion3Pipeline.from_pretrained(transformer, **WITHOUT_T5)
    pipe.set_progress_bar_config(disable=True)
    assert isinstance(pipe.scheduler, FlowMatchEulerDiscreteScheduler)
    assert pipe.scheduler.config.shift == 3.0
    picture = pipe("a smiling face", num_inference_steps=2, guidance_scale=3.0, output_type="pt").images
    assert picture.shape == (1, 3, 64, 64)
    assert bool(picture.isfinite().all())
    assert (transformer.parent / "samples" / "00000012.png").exists()
    assert (transformer.parent / "loss.png").exists()


@pytest.mark.parametrize("zeros", [1, 9, 256])
def test_training_computes_what_the_pipeline_would_with_that_many_zero_tokens(transformer, zeros):
    pipe = StableDiffusion3Pipeline.from_pretrained(transformer, **WITHOUT_T5)
    prompts = ["a smiling face with long red hair", "glasses, blue background"]
    given = {"prompt_2": None, "prompt_3": None, "do_classifier_free_guidance": False, "max_sequence_length": zeros}
    states, _, pooled, _ = pipe.encode_prompt(prompts, **given)
    assert states.shape[1] == 48 + zeros
    x, sigma = torch.randn(2, 4, 16, 16, generator=torch.Generator().manual_seed(0)), torch.tensor([0.2, 0.9])
    trained = flow._Transformer(settings(), pipe.vae, torch.device("cpu"))
    trained.network.load_state_dict(pipe.transformer.state_dict())
    tokens = pipe.tokenizer(prompts, padding="max_length", max_length=48, return_tensors="pt").input_ids
    with torch.no_grad():
        expected = pipe.transformer(x, states, pooled, 1000 * sigma).sample
        found, other = (trained.velocity(x, sigma, tokens, n) for n in (zeros, zeros + 40))
    torch.testing.assert_close(found, expected, atol=1e-5, rtol=1e-5)
    assert (other - expected).abs().max() > 1e-4, "the number of zero tokens makes a difference"


@pytest.mark.parametrize("network", ["transformer", pytest.param("unet", marks=pytest.mark.slow)])
def test_an_interrupted_training_ends_with_the_weights_of_an_uninterrupted_one(
    tmp_path, monkeypatch, quick_grids, network
):
    cfg = settings(network, checkpoint_minutes=0.0)
    whole = train_flow(cfg, tmp_path / "whole")
    generator, drawn = flow.batch_generator, 0

    def killing(device, seed, stream, step):
        nonlocal drawn
        drawn += stream
        if drawn > 3:
            raise KeyboardInterrupt
        return generator(device, seed, stream, step)

    with monkeypatch.context() as patch:
        patch.setattr(flow, "batch_generator", killing)
        with pytest.raises(KeyboardInterrupt):
            train_flow(cfg, tmp_path / "parts")
    assert json.loads((tmp_path / "parts" / "training.json").read_text())["images_seen"] == 6
    parts = train_flow(cfg, tmp_path / "parts")
    expected, found = load_file(whole / WEIGHTS[network]), load_file(parts / WEIGHTS[network])
    for key, value in expected.items():
        torch.testing.assert_close(found[key], value, atol=0, rtol=0)


def test_the_samplers_of_both_networks_step_along_the_straight_path(unet):
    pipe = StableDiffusionPipeline.from_pretrained(unet, safety_checker=None)
    pipe.scheduler.set_timesteps(5)
    x, v = torch.randn(1, 4, 16, 16), torch.randn(1, 4, 16, 16)
    here, there = pipe.scheduler.sigmas[:2]
    found = pipe.scheduler.step(v, pipe.scheduler.timesteps[0], x).prev_sample
    torch.testing.assert_close(found, x + (there - here) * v, atol=1e-4, rtol=1e-4)


@pytest.mark.parametrize("network", ["transformer", "unet"])
def test_diffgeo_loads_both_folders_and_samples_by_eulers_steps(request, network):
    model = load_model(request.getfixturevalue(network), prompt="a smiling face", guidance=2.0)
    assert model.latent_shape == (4, 16, 16)
    expected = x = initial_noise(model, [0])
    sigmas = [model.schedule.sigma(t) for t in (*model.schedule.timesteps(4), CLEAN)]
    assert sigmas == pytest.approx([1, 0.9, 0.75, 0.5, 0])
    with torch.no_grad():
        for t, here, there in zip(model.schedule.timesteps(4), sigmas, sigmas[1:], strict=False):
            expected = expected + (there - here) * model.output(expected, t)
    torch.testing.assert_close(ddim_sample(model, x, steps=4), expected, rtol=1e-4, atol=1e-4)


def test_noise_levels_are_those_of_the_scheduler():
    scheduler = FlowMatchEulerDiscreteScheduler(shift=3.0)
    u = torch.arange(1000, 0, -1) / 1000
    torch.testing.assert_close(noise_level(u, 3.0), scheduler.sigmas)


def test_the_two_networks_that_ship_are_of_about_one_size():
    cfg = FlowTraining()
    vae = flow.AutoencoderKL.from_pretrained(flow.shipped_folder(cfg.source) / "vae")
    sizes = [
        sum(p.numel() for p in kind(cfg, vae, torch.device("cpu")).network.parameters())
        for kind in flow._DENOISERS.values()
    ]
    assert max(sizes) / min(sizes) < 1.2
    assert max(sizes) < 5e6


def test_no_caption_is_cut():
    tokens, empty = flow.caption_tokens(
        flow.sample_factors(2000, generator=torch.Generator().manual_seed(5)), flow._tokenizer(FlowTraining()), 2, 0
    )
    assert tokens.shape == (2000, 2, 48)
    assert bool((tokens[..., -1] == empty[-1]).all())
    assert bool((tokens[..., -2] == empty[-1]).all())


def test_another_network_is_refused_before_training(tmp_path):
    with pytest.raises(ConfigError, match="known are transformer, unet"):
        train_flow(settings("mamba"), tmp_path / "out")
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("network", ["transformer", pytest.param("unet", marks=pytest.mark.slow)])
def test_a_flow_is_measured_and_its_card_says_so(request, network):
    folder = request.getfixturevalue(network)
    evaluation = evaluate_flow(folder, "factor_predictor_64", n=4, reconstructed=2, steps=2, batch_size=3, device="cpu")
    assert set(evaluation["ks_distance"]) == set(FACTOR_NAMES)
    assert evaluation["reconstruction_psnr_db"]["min"] <= evaluation["reconstruction_psnr_db"]["mean"]
    facts = json.loads((folder.parent / "training.json").read_text()) | {"prompts": ["a face"]}
    card = flow_card(f"factor_faces_{network}", facts, evaluation)
    assert f"of the autoencoder alone {evaluation['vae_psnr_db']['mean']:.1f} dB" in card
    assert ("text_encoder_3=None" in card) == (network == "transformer")
    assert "training.pool=6 training.heads=1" in card
    assert "`python tools/ship.py flow outputs/training/factor_faces_" in card
