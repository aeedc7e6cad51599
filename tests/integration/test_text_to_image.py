"""The text-to-image training at toy size: what it writes, that it resumes, and the pieces that its quality rests on."""

import csv
import json

import pytest
import torch
from safetensors.torch import load_file

pytest.importorskip("transformers")

from diffusers import AutoencoderKL, StableDiffusionPipeline
from transformers import CLIPTokenizer

from diffgeo.data.factor_faces import FACTOR_NAMES, render, sample_factors
from diffgeo.diffusion.models import shipped_folder
from diffgeo.metrics.attributes import load_predictor
from training import text_to_image
from training.captions import VOCABULARY, caption
from training.evaluation_t2i import autoencoder_psnr, claims_found, evaluate_text_to_image
from training.text_to_image import TextToImageTraining, rate_factor, standardise, train_text_to_image
from training.tokenizer import byte_pairs, write_tokenizer


def settings(**changes):
    base = {
        "size": 16,
        "pool": 24,
        "vae_channels": [8, 8, 8],
        "vae_images": 16,
        "vae_batch_size": 4,
        "channels": [8, 16],
        "text_width": 16,
        "text_layers": 1,
        "images": 24,
        "batch_size": 4,
        "warmup": 8,
        "sample_every": 10**9,
    }
    return TextToImageTraining(**{**base, **changes})


@pytest.fixture
def quick_grids(monkeypatch):
    monkeypatch.setattr(text_to_image, "_sample_grid", lambda pipeline, path, device, seed: None)


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    folder = tmp_path_factory.mktemp("t2i")
    train_text_to_image(settings(), folder)
    return folder


def test_a_training_leaves_a_pipeline_with_its_record(trained):
    pipe = StableDiffusionPipeline.from_pretrained(trained / "pipeline")
    pipe.set_progress_bar_config(disable=True)
    picture = pipe("a smiling face", num_inference_steps=2, guidance_scale=3.0, output_type="pt").images
    assert picture.shape == (1, 3, 16, 16)
    assert pipe.scheduler.config.clip_sample is False
    with (trained / "log.csv").open() as file:
        assert [row["stage"] for row in csv.DictReader(file)] == ["vae", "unet"]
    facts = json.loads((trained / "training.json").read_text())
    assert facts["stages"]["vae"]["seen"] == 16
    assert facts["images_seen"] == 24
    assert (trained / "samples" / "000000024.txt").read_text().splitlines() == list(text_to_image.PROMPTS)
    assert (trained / "samples" / "000000024.png").exists()
    assert (trained / "loss.png").exists()


@pytest.mark.parametrize(
    "after", [pytest.param(2, marks=pytest.mark.nightly), pytest.param(6, marks=pytest.mark.slow)]
)  # in the first stage, in the second
def test_an_interrupted_training_ends_with_the_weights_of_an_uninterrupted_one(
    tmp_path, monkeypatch, quick_grids, after
):
    cfg = settings(checkpoint_minutes=0.0)
    whole = train_text_to_image(cfg, tmp_path / "whole")
    drawn, generator = 0, text_to_image.batch_generator

    def killing(device, seed, stream, step):
        nonlocal drawn
        drawn += stream > 0
        if drawn > after:
            raise KeyboardInterrupt
        return generator(device, seed, stream, step)

    with monkeypatch.context() as patch:
        patch.setattr(text_to_image, "batch_generator", killing)
        with pytest.raises(KeyboardInterrupt):
            train_text_to_image(cfg, tmp_path / "parts")
    parts = train_text_to_image(cfg, tmp_path / "parts")
    for name in ("unet/diffusion_pytorch_model", "vae/diffusion_pytorch_model", "text_encoder/model"):
        expected, found = load_file(whole / f"{name}.safetensors"), load_file(parts / f"{name}.safetensors")
        for key, value in expected.items():
            torch.testing.assert_close(found[key], value, atol=0, rtol=0)


def test_a_stage_ends_when_its_minutes_are_spent(tmp_path, quick_grids):
    train_text_to_image(settings(images=10**9, minutes=1e-3, vae_images=10**9, vae_minutes=1e-3), tmp_path)
    facts = json.loads((tmp_path / "training.json").read_text())
    for stage in facts["stages"].values():
        assert 0 < stage["seen"] < 10**6
        assert stage["seconds"] >= 0.06


def test_the_latents_of_the_pipeline_have_unit_variance(trained):
    vae = AutoencoderKL.from_pretrained(trained / "pipeline", subfolder="vae")
    factors = sample_factors(24, generator=text_to_image.batch_generator(torch.device("cpu"), 0, 0, 0))
    with torch.no_grad():
        latents = vae.encode(render(factors, 16)).latent_dist.mean * vae.config.scaling_factor
    assert latents.std() == pytest.approx(1, abs=0.02)
    assert latents.mean() == pytest.approx(0, abs=0.02)


def test_standardising_changes_latents_but_no_reconstruction():
    torch.manual_seed(0)
    vae = text_to_image._build_vae(settings()).eval()
    x, noise = torch.rand(5, 3, 16, 16) * 2 - 1, torch.randn(5, 4, 4, 4)
    with torch.no_grad():
        back, mean, logvar = text_to_image._reconstruct(vae, x, noise)
        at, spread = mean.mean(dim=(0, 2, 3)), mean.std(dim=(0, 2, 3))
        standardise(vae, at, spread)
        again, whitened, narrowed = text_to_image._reconstruct(vae, x, noise)
    torch.testing.assert_close(again, back, atol=1e-5, rtol=1e-4)
    torch.testing.assert_close(whitened.mean(dim=(0, 2, 3)), torch.zeros(4), atol=1e-4, rtol=0)
    torch.testing.assert_close(whitened.std(dim=(0, 2, 3)), torch.ones(4), atol=1e-4, rtol=0)
    torch.testing.assert_close(narrowed, logvar - 2 * spread.log()[:, None, None], atol=1e-4, rtol=1e-4)


def test_the_rate_follows_pictures_and_progress():
    cfg = settings(warmup=100, decay=0.4)
    assert rate_factor(0, 0.0, cfg) == pytest.approx(0.01)
    assert rate_factor(500, 0.5, cfg) == 1
    assert rate_factor(500, 0.8, cfg) == pytest.approx(0.5)
    assert rate_factor(500, 1.2, cfg) == 0


def test_every_word_is_one_token_and_nothing_is_unknown(tmp_path):
    tokenizer = write_tokenizer(VOCABULARY, tmp_path)
    assert all(len(tokenizer(word).input_ids) == 3 for word in VOCABULARY)
    assert len(tokenizer("xylophone 42 é").input_ids) > 10
    assert tokenizer.unk_token_id not in tokenizer("xylophone 42 é").input_ids[:-1]
    assert tokenizer.model_max_length == 77
    tokenizer.save_pretrained(tmp_path / "again")
    again = CLIPTokenizer.from_pretrained(tmp_path / "again")
    assert again("a xylophone, smiling").input_ids == tokenizer("a xylophone, smiling").input_ids


def test_merges_build_words_out_of_their_letters():
    assert byte_pairs(["ab", "abc"]) == [("a", "b"), ("a", "b</w>"), ("ab", "c</w>")]


def test_the_quick_token_ids_are_the_tokenizers(tmp_path):
    tokenizer = write_tokenizer(VOCABULARY, tmp_path)
    texts = [*caption(sample_factors(200), torch.Generator().manual_seed(0)), ""]
    slow = tokenizer(texts, padding="max_length", truncation=True, max_length=77, return_tensors="pt").input_ids
    assert torch.equal(text_to_image._token_ids(texts, tokenizer).long(), slow)


def test_claims_are_counted_by_factor():
    predictor = load_predictor()
    values = torch.zeros(2, len(FACTOR_NAMES))
    values[:, FACTOR_NAMES.index("hair_length")] = torch.tensor([0.5, -0.5])
    values[:, FACTOR_NAMES.index("glasses")] = torch.tensor([0.9, 0.9])
    found, claims = claims_found(["a face with long hair and glasses", "long hair"], values, predictor)
    assert found == {"hair_length": 0.5, "glasses": 1.0}
    assert claims == {"hair_length": 2, "glasses": 1}


def test_the_evaluation_measures_what_the_card_says(trained, tmp_path, monkeypatch):
    facts = evaluate_text_to_image(
        trained / "pipeline", "factor_predictor", n=6, steps=2, batch_size=4, device="cpu", renders=8
    )
    assert facts["vae_psnr_db"]["renders"] == 8
    assert facts["vae_psnr_db"]["min"] <= facts["vae_psnr_db"]["mean"]
    assert set(facts["found"]) == set(facts["claims"]) == set(facts["found_on_renders"])
    assert facts["megabytes"] < 1
    json.dumps(facts)


def test_the_psnr_of_an_autoencoder_is_that_of_its_pictures():
    vae = text_to_image._build_vae(settings()).eval()
    for parameter in vae.decoder.conv_out.parameters():
        torch.nn.init.zeros_(parameter)  # grey pictures
    z = sample_factors(8, generator=torch.Generator().manual_seed(1_000_003))
    expected = 10 * (4 / render(z, 16).square().mean(dim=(1, 2, 3))).log10()
    torch.testing.assert_close(autoencoder_psnr(vae, 16, n=8), expected, atol=1e-3, rtol=0)


@pytest.mark.nightly
def test_the_shipped_model_passes_the_figures_of_its_card():
    """The bars of the card, on the shipped float16 weights; the card's own figures are of 2,000 samples."""
    found = evaluate_text_to_image(
        shipped_folder("factor_faces_t2i"),
        shipped_folder("factor_predictor_64"),
        n=192,
        steps=25,
        batch_size=32,
        renders=128,
        device="cpu",
    )
    assert found["vae_psnr_db"]["mean"] >= 30
    assert found["coarse"] >= 0.85, found["found"]
    assert found["fine"] >= 0.65, found["found"]
    assert found["megabytes"] < 40
