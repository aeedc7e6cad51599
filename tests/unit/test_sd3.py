"""Pipelines of Stable Diffusion 3's layout, tiny and with random weights, against diffusers itself."""

import pytest
import torch
from diffusers import FlowMatchEulerDiscreteScheduler

from diffgeo.diffusion.editing import single_step
from diffgeo.diffusion.image_tokens import ImageLayout
from diffgeo.diffusion.models import load_model
from diffgeo.diffusion.models.families.sd3 import T5_TOKENS, ZeroTokens
from diffgeo.diffusion.rectified_flow import RectifiedFlow
from diffgeo.diffusion.sampling import ddim_invert, ddim_sample, initial_noise
from diffgeo.errors import ConfigError, ModelError
from diffgeo.jacobian import JacobianOperator
from diffgeo.svd import local_basis
from family_pipelines import t5_encoder, t5_tokenizer
from folders import joint_pipeline

PROMPT = "a smiling face"
BLOCKS = [f"transformer_blocks.{i}" for i in range(3)]


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("joint")
    joint_pipeline().save_pretrained(folder)
    return folder


@pytest.fixture(scope="module")
def model(folder):
    return load_model(folder, prompt=PROMPT)


def at_own_steps(model, pipeline, steps):
    """The model on the timesteps that the pipeline's scheduler visits."""
    model.schedule = RectifiedFlow.of(pipeline.scheduler, steps=steps)
    return model


def latents_of(pipeline, x, **how):
    pipeline.set_progress_bar_config(disable=True)
    return pipeline(PROMPT, latents=x, output_type="latent", **how).images


@pytest.mark.parametrize("guidance", [1.0, 3.0])
def test_samples_are_those_of_the_pipeline(folder, guidance):
    pipeline = joint_pipeline()
    model = at_own_steps(load_model(folder, prompt=PROMPT, guidance=guidance), pipeline, 5)
    x = initial_noise(model, [0])
    expected = latents_of(pipeline, x, num_inference_steps=5, guidance_scale=guidance)
    found = ddim_sample(model, x, steps=5)
    torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-4)
    vae = pipeline.vae
    decoded = vae.decode(expected / vae.config.scaling_factor + vae.config.shift_factor).sample.clamp(-1, 1)
    torch.testing.assert_close(model.decode(found), decoded, rtol=1e-3, atol=1e-3)


def test_with_t5_as_it_is_published_the_prompt_has_its_tokens_too(tmp_path):
    pipeline = joint_pipeline()
    pipeline.register_modules(text_encoder_3=t5_encoder(width=40), tokenizer_3=t5_tokenizer())
    pipeline.save_pretrained(tmp_path)
    model = at_own_steps(load_model(tmp_path, prompt=PROMPT, guidance=3.0), pipeline, 3)
    assert model.text_tokens == 20 + T5_TOKENS
    assert {"text_encoder_3", "tokenizer_3"} <= set(model.parts)
    x = initial_noise(model, [0])
    expected = latents_of(pipeline, x, num_inference_steps=3, guidance_scale=3.0)
    torch.testing.assert_close(ddim_sample(model, x, steps=3), expected, rtol=1e-4, atol=1e-4)
    without = latents_of(joint_pipeline(), x, num_inference_steps=3, guidance_scale=3.0)
    assert (without - expected).abs().max() > 1e-3


@pytest.mark.parametrize("count", [1, 2, 300])
def test_zero_tokens_computed_as_one_are_exact(count):
    pipeline = joint_pipeline(qk_norm=None)
    pipeline.transformer.double()
    noise = torch.Generator().manual_seed(0)
    x, pooled, text = (torch.randn(size, generator=noise).double() for size in ((2, 4, 8, 8), (2, 32), (2, 7, 40)))
    time = torch.tensor([900.0, 100.0])
    many, one = (torch.cat([text, text.new_zeros(2, n, 40)], dim=1) for n in (count, 1))
    expected = pipeline.transformer(x, many, pooled, time).sample
    ZeroTokens.put_into(pipeline.transformer, count)
    torch.testing.assert_close(pipeline.transformer(x, one, pooled, time).sample, expected, rtol=1e-10, atol=1e-10)


def test_pictures_larger_than_the_positions_that_the_network_knows_are_refused(folder):
    pipeline = joint_pipeline()
    most = pipeline.transformer.config.pos_embed_max_size * 2 * pipeline.vae_scale_factor
    step = 2 * pipeline.vae_scale_factor
    assert load_model(folder, prompt=PROMPT, size=(most, step)).picture_shape == (most, step)
    with pytest.raises(ConfigError, match=f"model.size=.*allowed: at most {most} pixels a side"):
        load_model(folder, prompt=PROMPT, size=(most + step, step))


@pytest.mark.parametrize("block", BLOCKS)
def test_h_is_the_image_stream_of_a_block_laid_out_as_a_map(model, block):
    seen = {}
    module = model.unet.get_submodule(block)
    handle = module.register_forward_hook(lambda _module, _inputs, output: seen.update(text=output[0], image=output[1]))
    x = initial_noise(model, [0, 1])
    with torch.no_grad():
        model.forward(x, 499)
    handle.remove()
    h = model.feature_map(499, block)(x)
    assert h.shape == (2, 16, 4, 4)
    assert torch.equal(h.flatten(2).transpose(1, 2), seen["image"])
    torch.testing.assert_close(model.feature_map(499, block, "sum")(x), seen["image"].sum(dim=1))
    assert (seen["text"] is None) == (block == BLOCKS[-1])


def test_image_tokens_that_could_be_the_texts_are_refused():
    image, text = torch.randn(2, 16, 8), torch.randn(2, 7, 8)
    layout = ImageLayout(((4, 4),), text=7)
    for output in ((text, image), (None, image), image, [text, image], {"sample": image}, torch.cat([text, image], 1)):
        assert torch.equal(layout.image_in(output, "it returns").flatten(2).transpose(1, 2), image)
    for output in ((text, None), text, torch.randn(2, 9, 8), torch.randn(2, 8), torch.randn(2, 4, 4, 8), None):
        with pytest.raises(ConfigError, match=r"it returns .*the image has 4·4: it holds no image tokens"):
            layout.image_in(output, "it returns")
    equal = ImageLayout(((4, 4),), text=16)
    for output in ((torch.randn(2, 16, 8), image), image, (None, image)):
        with pytest.raises(ConfigError, match="cannot be told from those of the text"):
            equal.image_in(output, "it returns")


@pytest.mark.parametrize(
    ("path", "tap"),
    [("", "update"), *((path, tap) for path in ("", ".attn", ".ff") for tap in ("output", "normalised"))],
)
def test_any_module_of_a_block_is_tapped_in_its_image_stream(model, path, tap):
    block = f"{BLOCKS[1]}{path}"
    seen = {}

    def keep(_module, inputs, named, output):
        seen["output"] = {"": 1, ".attn": 0, ".ff": None}[path]
        seen["output"] = output if seen["output"] is None else output[seen["output"]]
        seen["input"] = named.get("hidden_states", inputs[0] if inputs else None)

    handle = model.unet.get_submodule(block).register_forward_hook(keep, with_kwargs=True)
    x = initial_noise(model, [0, 1])
    with torch.no_grad():
        model.forward(x, 499)
    handle.remove()
    assert seen["output"].shape == (2, 16, 16)  # the text has 21 tokens
    expected = {
        "output": seen["output"],
        "update": seen["output"] - seen["input"],
        "normalised": torch.nn.functional.layer_norm(seen["output"], (16,), eps=1e-6),
    }[tap]
    h = model.feature_map(499, block, tap=tap)(x)
    torch.testing.assert_close(h.flatten(2).transpose(1, 2), expected)
    torch.testing.assert_close(model.feature_map(499, block, "sum", tap)(x), expected.sum(dim=1))


@pytest.mark.parametrize("path", ["ff_context", "attn.to_add_out", "norm1_context", "attn.add_k_proj"])
def test_modules_of_the_text_are_refused(model, path):
    with pytest.raises(ConfigError, match=r"21 tokens \(the text's\), and the image has 4·4: it holds no image tokens"):
        model.feature_map(499, f"{BLOCKS[0]}.{path}")(initial_noise(model, [0]))


def test_the_blocks_are_those_of_the_transformer(model):
    assert model.blocks == BLOCKS
    with pytest.raises(ConfigError, match=r"feature\.block is 'mid'.*transformer_blocks\.0"):
        model.feature_map(499)


def test_products_with_several_columns_go_through_the_network_together(model, caplog):
    jacobian = JacobianOperator(model.feature_map(499, BLOCKS[1]), initial_noise(model, [0])[0])
    with caplog.at_level("INFO", logger="diffgeo"):
        jacobian.rmv(jacobian.mv(torch.eye(256)[:, :3]))
    assert "one point at a time" not in caplog.text


@pytest.mark.parametrize("block", BLOCKS)
def test_the_jacobian_is_adjoint_and_has_a_basis(model, block):
    x = initial_noise(model, [0])[0]
    f = model.feature_map(999, block)
    jacobian = JacobianOperator(f, x)
    v = torch.randn(x.numel(), 2, generator=torch.Generator().manual_seed(0))
    jv = jacobian.mv(v)
    w = torch.randn(jv.shape, generator=torch.Generator().manual_seed(1))
    torch.testing.assert_close((jv * w).sum(), (v * jacobian.rmv(w)).sum(), rtol=1e-3, atol=1e-3)
    basis = local_basis(f, x, 3)
    assert basis.certificate.converged
    torch.testing.assert_close(jacobian.mv(basis.V), basis.U * basis.s, rtol=1e-3, atol=1e-3 * float(basis.s[0]))


def test_inversion_gives_the_picture_back_to_first_order(model):
    x0 = ddim_sample(model, initial_noise(model, [0]), steps=40)
    errors = [(ddim_sample(model, ddim_invert(model, x0, steps=steps), steps=steps) - x0).norm() for steps in (40, 160)]
    assert errors[1] < 0.4 * errors[0]
    assert errors[1] < 0.1 * x0.norm()


def test_an_edit_along_a_direction_changes_the_picture(model):
    x = ddim_sample(model, initial_noise(model, [0]), steps=8, stop=499)
    basis = local_basis(model.feature_map(499, BLOCKS[1]), x[0], 1)
    moved = single_step(x[0], basis.V[:, 0], torch.tensor([0.0, 2.0]))
    plain, edited = ddim_sample(model, moved, steps=8, start=499)
    torch.testing.assert_close(plain, ddim_sample(model, x, steps=8, start=499)[0], rtol=1e-4, atol=1e-4)
    assert (edited - plain).norm() > 0.5


def test_h_depends_on_the_prompt_alone_and_not_on_guidance(folder, model):
    x = initial_noise(model, [0])
    f = model.feature_map(499, BLOCKS[1])
    guided = load_model(folder, prompt=PROMPT, guidance=9.0, negative_prompt="no glasses")
    torch.testing.assert_close(guided.feature_map(499, BLOCKS[1])(x), f(x))
    assert (model.prompted("long red hair").feature_map(499, BLOCKS[1])(x) - f(x)).norm() > 1e-3 * f(x).norm()
    assert model.digest == guided.digest
    told = model.fingerprint["told"]
    assert told["text"].shape == (1, 21, 40)  # texts of 20 tokens, a zero token
    assert told["pooled"].shape == (1, 32)


@pytest.mark.parametrize(
    ("scheduler", "tokens"), [({"use_dynamic_shifting": True, "base_image_seq_len": 16, "max_image_seq_len": 32}, 16)]
)
def test_a_dynamic_shift_is_that_of_the_image_tokens(tmp_path, scheduler, tokens):
    pipeline = joint_pipeline()
    pipeline.scheduler = FlowMatchEulerDiscreteScheduler(**scheduler)
    pipeline.save_pretrained(tmp_path)
    found = load_model(tmp_path, prompt=PROMPT).schedule
    assert torch.equal(found.sigmas, RectifiedFlow.of(pipeline.scheduler, tokens=tokens).sigmas)


def test_a_folder_without_a_part_is_refused(tmp_path):
    joint_pipeline().save_pretrained(tmp_path)
    (tmp_path / "tokenizer_2").rename(tmp_path / "elsewhere")
    with pytest.raises(ModelError, match="lacks tokenizer_2"):
        load_model(tmp_path, prompt=PROMPT)
