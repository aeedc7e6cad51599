"""Text-to-image models: the shipped one, and a tiny Stable Diffusion with random weights, against diffusers itself."""

import logging

import pytest
import torch
from diffusers import DDIMScheduler, StableDiffusionPipeline

from diffgeo.diffusion.models import LatentDiffusion, load_model, shipped_folder
from diffgeo.diffusion.sampling import ddim_invert, ddim_sample, initial_noise
from diffgeo.errors import ConfigError, ModelError, ShapeError
from diffgeo.jacobian import JacobianOperator
from diffgeo.svd import local_basis

PROMPT = "portrait of a smiling face with long red hair and glasses, blue background"


@pytest.fixture(scope="module")
def prompted():
    return load_model("factor_faces_t2i", prompt=PROMPT, guidance=3.0)


@pytest.fixture(scope="module")
def pipeline():
    pipe = StableDiffusionPipeline.from_pretrained(
        shipped_folder("factor_faces_t2i"), safety_checker=None, requires_safety_checker=False, dtype=torch.float32
    )
    pipe.scheduler = DDIMScheduler.from_config(pipe.scheduler.config, timestep_spacing="leading")
    pipe.set_progress_bar_config(disable=True)
    return pipe


def test_guided_noise_is_that_of_the_pipelines_parts(prompted, pipeline):
    x, t = initial_noise(prompted, [0, 1]), 700
    conditional, unconditional = pipeline.encode_prompt(PROMPT, "cpu", 1, True, "")
    with torch.no_grad():
        parts = [
            pipeline.unet(x, t, encoder_hidden_states=e.expand(2, -1, -1)).sample for e in (unconditional, conditional)
        ]
    expected = prompted.schedule.to_noise(parts[0] + 3 * (parts[1] - parts[0]), x, t)
    torch.testing.assert_close(prompted.predict_noise(x, t), expected, rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(
        prompted.guided(1.0).predict_noise(x, t), prompted.schedule.to_noise(parts[1], x, t), rtol=1e-4, atol=1e-5
    )


def test_the_codec_is_the_pipelines(prompted, pipeline):
    with torch.no_grad():
        x0 = ddim_sample(prompted, initial_noise(prompted, [0]), steps=8, clip=False)
        picture = prompted.decode(x0)
        expected = pipeline.vae.decode(x0 / pipeline.vae.config.scaling_factor).sample.clamp(-1, 1)
    torch.testing.assert_close(picture, expected)
    assert picture.shape == (1, 3, 64, 64)
    assert prompted.picture_size == 64
    again = prompted.decode(prompted.encode(picture))
    assert (again - picture).square().mean().sqrt() < 0.1
    with pytest.raises(ShapeError, match=r"needs \(64, 64\)"):
        prompted.encode(torch.zeros(1, 3, 32, 32))


def test_the_feature_map_runs_the_conditional_network_without_guidance(prompted):
    x = initial_noise(prompted, [0])
    f, other = prompted.feature_map(999), prompted.guided(9.0).feature_map(999)
    torch.testing.assert_close(f(x), other(x))
    elsewhere = load_model("factor_faces_t2i", prompt="portrait of a face with short green hair").feature_map(999)
    assert (f(x) - elsewhere(x)).norm() > 0.01 * f(x).norm()


def test_the_jacobian_through_cross_attention_is_adjoint_and_that_of_differences():
    model = load_model("factor_faces_t2i", prompt=PROMPT, dtype=torch.float64)
    x = initial_noise(model, [0])[0]
    f = model.feature_map(999)
    jacobian = JacobianOperator(f, x)
    generator = torch.Generator().manual_seed(0)
    v = torch.randn(x.numel(), 2, generator=generator, dtype=torch.float64)
    jv = jacobian.mv(v)
    w = torch.randn(jv.shape, generator=generator, dtype=torch.float64)
    torch.testing.assert_close((jv * w).sum(), (v * jacobian.rmv(w)).sum(), rtol=1e-9, atol=0)
    step = 1e-5 * v[:, 0].reshape(x.shape)
    with torch.no_grad():
        slope = (f(x + step) - f(x - step)).flatten() / 2e-5
    torch.testing.assert_close(jv[:, 0], slope, rtol=1e-5, atol=1e-6)


@pytest.mark.slow
def test_a_basis_of_rank_three_and_inversion(prompted):
    x = initial_noise(prompted, [3])
    basis = local_basis(prompted.feature_map(999), x[0], 3, tol=1e-3)
    assert basis.V.shape == (1024, 3)
    with torch.no_grad():
        picture = ddim_sample(prompted, x, steps=20, clip=False)
        plain = prompted.inverter
        assert plain.guidance == 1
        back = ddim_sample(plain, ddim_invert(plain, picture, steps=40), steps=40, clip=False)
        shown = prompted.decode(picture), prompted.decode(back)
    assert 10 * torch.log10(4 / (shown[0] - shown[1]).square().mean()) > 30


def test_a_prompt_that_is_too_long_says_what_was_cut(caplog):
    with caplog.at_level(logging.WARNING):
        load_model("factor_faces_t2i", prompt=" ".join(["smiling face"] * 60) + " glasses")
    assert "cut off" in caplog.text
    assert "glasses" in caplog.text


def test_an_empty_prompt_is_the_model_without_one_and_says_so(caplog):
    with caplog.at_level(logging.WARNING):
        model = load_model("factor_faces_t2i", prompt=" ", guidance=3.0)
    assert "the prompt is empty" in caplog.text
    x = initial_noise(model, [0])
    empty = load_model("factor_faces_t2i", prompt="", guidance=3.0)
    torch.testing.assert_close(empty.predict_noise(x, 500), empty.guided(1.0).predict_noise(x, 500))


def test_prompts_and_models_must_fit():
    with pytest.raises(ConfigError, match=r"text-to-image model.*prompt="):
        load_model("factor_faces_t2i")
    with pytest.raises(ConfigError, match="takes no prompt"):
        load_model("factor_faces", prompt="a face")


def test_parts_of_different_models_are_refused(prompted):
    parts = (prompted.unet, prompted.schedule, prompted.vae)
    with pytest.raises(ModelError, match="8 numbers a token, the network takes"):
        LatentDiffusion(*parts, lambda _: {"text": torch.zeros(1, 77, 8)}, "face", name="x", source="x")


def test_another_prompt_is_the_model_loaded_with_it(prompted):
    x, text = initial_noise(prompted, [0]), "sad face with short hair"
    other = load_model("factor_faces_t2i", prompt=text, guidance=3.0)
    torch.testing.assert_close(prompted.prompted(text).predict_noise(x, 500), other.predict_noise(x, 500))
    torch.testing.assert_close(prompted.prompted(text).feature_map(500)(x), other.feature_map(500)(x))
    assert prompted.prompted(text).unet is prompted.unet
    assert prompted.prompt == PROMPT


def test_an_edit_prompt_changes_features_and_not_the_sampling(prompted):
    x, text = initial_noise(prompted, [0]), "sad face with short hair"
    editing = load_model("factor_faces_t2i", prompt=PROMPT, edit_prompt=text, guidance=3.0)
    torch.testing.assert_close(editing.predict_noise(x, 500), prompted.predict_noise(x, 500))
    torch.testing.assert_close(editing.feature_map(500)(x), prompted.prompted(text).feature_map(500)(x))
    unguided = prompted.prompted(text).guided(1.0)
    torch.testing.assert_close(editing.editor.predict_noise(x, 500), unguided.predict_noise(x, 500))
    assert editing.conditioning["edit_prompt"] == text
    assert "edit_prompt" not in prompted.conditioning


def test_a_prompts_embedding_is_the_text_encoders_output(prompted, pipeline):
    tokens = pipeline.tokenizer(PROMPT, return_tensors="pt", padding="max_length", max_length=77, truncation=True)
    with torch.no_grad():
        out = pipeline.text_encoder(tokens.input_ids)
    torch.testing.assert_close(prompted.encode_prompt(PROMPT)["text"], out.last_hidden_state)


@pytest.mark.parametrize("part", ["vae", "tokenizer", "text_encoder"])
def test_a_folder_without_one_of_its_parts_is_refused(tmp_path, part):
    import shutil

    folder = tmp_path / "model"
    shutil.copytree(shipped_folder("factor_faces_t2i"), folder, ignore=shutil.ignore_patterns(part, "SHA256SUMS"))
    with pytest.raises(ModelError, match=f"lacks {part}"):
        load_model(folder, prompt="a face", local_files_only=True)
