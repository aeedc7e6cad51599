"""Every family of models, tiny and with random weights, against diffusers' own pipeline and dense derivatives."""

import shutil
from contextlib import nullcontext
from pathlib import Path

import numpy as np
import pytest
import torch
from diffusers import DiffusionPipeline, DPMSolverMultistepScheduler
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.overrides import TorchFunctionMode

import family_pipelines
from diffgeo.diffusion.editing import single_step
from diffgeo.diffusion.models import load_model
from diffgeo.diffusion.models.family import families
from diffgeo.diffusion.noise_schedule import CLEAN
from diffgeo.diffusion.rectified_flow import RectifiedFlow
from diffgeo.diffusion.sampling import ddim_invert, ddim_sample, initial_noise
from diffgeo.errors import ConfigError, ModelError
from diffgeo.jacobian import JacobianOperator, operator
from diffgeo.session.digests import readable
from diffgeo.svd import local_basis
from folders import joint_pipeline, patch, without

PROMPT, NEGATIVE, STEPS = "a smiling face", "no hat", 5
FAMILIES = ["labelled", "ldm", "ldm_kl", "sd", "sd_v", "sdxl", "dit", "flux"]
FAMILIES += ["pixart", "pixart_sigma", "pixart_sized", "sana"]
QUICK = ["labelled", "ldm", "sdxl", "dit", "flux"]
SLOW = [pytest.param(name, marks=pytest.mark.slow) for name in FAMILIES if name not in QUICK]
LABELS, UNTOLD = ("labelled", "dit"), ("ldm", "ldm_kl")
TEXTS = [name for name in FAMILIES if name not in LABELS + UNTOLD]
GUIDED = [*TEXTS, "dit"]
SAMPLED = [(name, 1.0) for name in FAMILIES] + [(name, 3.0) for name in GUIDED]
BLOCKS = dict.fromkeys(("labelled", "ldm", "ldm_kl", "sd", "sd_v", "sdxl"), "mid")


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    """``made(family)``: a tiny pipeline and its folder."""
    known = {}

    def of(family):
        if family not in known:
            pipeline = getattr(family_pipelines, family)()
            pipeline.set_progress_bar_config(disable=True)
            folder = tmp_path_factory.mktemp(family)
            pipeline.save_pretrained(folder)
            known[family] = pipeline, folder
        return known[family]

    return of


@pytest.fixture(scope="module")
def model(made):
    """``model(family, **settings)``: it as diffgeo loads it, under a prompt or label."""

    def of(family, **settings):
        told = {"class_label": 3} if family in LABELS else {"prompt": PROMPT} if family in TEXTS else {}
        size = {"size": (16, 16)} if family == "flux" else {}
        return load_model(made(family)[1], **told | size | settings)

    return of


def block_of(family):
    return BLOCKS.get(family, "transformer_blocks.1")


def output_of(model, block, x):
    """What a plain hook sees a module return."""
    seen = []
    handle = model.unet.get_submodule(block).register_forward_hook(lambda _module, _inputs, output: seen.append(output))
    with torch.no_grad():
        model.forward(x, model.schedule.T)
    handle.remove()
    return seen[0]


def latents_of(family, pipeline, x, guidance):
    """What the pipeline itself samples from noise x."""
    common = {"num_inference_steps": STEPS, "output_type": "latent", "latents": x}
    scaled = {"guidance_scale": guidance, "negative_prompt": NEGATIVE}
    if family == "labelled":
        return _labelled_by_hand(pipeline, x)
    if family in ("sd", "sd_v", "sdxl"):
        return pipeline(PROMPT, **common, **scaled).images
    if family == "sana":
        return pipeline(PROMPT, **common, **scaled, height=32, width=32, use_resolution_binning=False).images
    if family == "flux":
        packed = pipeline._pack_latents(x, len(x), 4, 8, 8)
        negative = {"true_cfg_scale": guidance, "negative_prompt": NEGATIVE, "guidance_scale": 3.5}
        found = pipeline(PROMPT, **common | {"latents": packed}, **negative, height=16, width=16).images
        return pipeline._unpack_latents(found, 16, 16, 2)
    plain = {"clean_caption": False, "use_resolution_binning": False}
    return pipeline(PROMPT, **common, **scaled, **plain).images


def _labelled_by_hand(pipeline, x):
    scheduler = pipeline.scheduler
    scheduler.set_timesteps(STEPS)
    for t in scheduler.timesteps:
        output = pipeline.unet(x, t, class_labels=torch.full((len(x),), 3)).sample
        x = scheduler.step(output, t, x).prev_sample
    return x


@pytest.mark.parametrize(("family", "guidance"), SAMPLED)
def test_samples_are_those_of_the_pipeline(made, model, family, guidance):
    pipeline, _ = made(family)
    how = {"spacing": None} if family in ("sd", "sdxl") else {}
    how |= {"negative_prompt": NEGATIVE} if family in TEXTS else {}
    found = model(family, guidance=guidance, **how)
    if family in ("dit", *UNTOLD):  # they take no latents, and give pictures
        x = torch.randn(1, *found.latent_shape, generator=torch.Generator().manual_seed(5))
        settings = {"num_inference_steps": STEPS, "output_type": "np"}
        if family == "dit":
            settings |= {"class_labels": [3], "guidance_scale": guidance}
        expected = pipeline(generator=torch.Generator().manual_seed(5), **settings).images
        pictures = found.decode(ddim_sample(found, x, steps=STEPS)) / 2 + 0.5
        np.testing.assert_allclose(pictures.permute(0, 2, 3, 1).numpy(), expected, rtol=1e-4, atol=1e-4)
        return
    if family == "sana":  # Flux gives its own σ, which are diffgeo's
        found.schedule = RectifiedFlow.of(pipeline.scheduler, steps=STEPS)
    x = initial_noise(found, [0])
    expected = latents_of(family, pipeline, x, guidance)
    torch.testing.assert_close(ddim_sample(found, x, steps=STEPS), expected, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("guidance", [1.0, 3.0])
def test_a_scheduler_that_rounds_its_timesteps_is_followed(made, guidance):
    """Sana's is a DPM solver on the flow; the first order of it is Euler's."""
    folder = made("sana")[1]
    pipeline = DiffusionPipeline.from_pretrained(folder)
    pipeline.set_progress_bar_config(disable=True)
    pipeline.scheduler = DPMSolverMultistepScheduler(
        use_flow_sigmas=True, prediction_type="flow_prediction", flow_shift=3.0, solver_order=1
    )
    found = load_model(folder, prompt=PROMPT, negative_prompt=NEGATIVE, guidance=guidance)
    found.schedule = RectifiedFlow.of(pipeline.scheduler, steps=STEPS)
    times = [found.schedule.network_time(t) for t in found.schedule.timesteps(STEPS)]
    assert times == [float(t) for t in pipeline.scheduler.timesteps[:STEPS]] or times == [int(t) for t in times]
    x = initial_noise(found, [0])
    expected = latents_of("sana", pipeline, x, guidance)
    torch.testing.assert_close(ddim_sample(found, x, steps=STEPS), expected, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("family", ["dit", "pixart"])
@pytest.mark.parametrize("in_config", [True, False], ids=["index and config", "index alone"])
def test_transformers_have_the_name_of_when_they_were_published(made, tmp_path, family, in_config):
    """As facebook/DiT-XL-2-256 and PixArt-alpha/PixArt-XL-2-1024-MS call theirs, which diffusers reads all the same."""
    folder = Path(shutil.copytree(made(family)[1], tmp_path / family))
    patch(folder / "model_index.json", transformer=["diffusers", "Transformer2DModel"])
    if in_config:
        patch(folder / "transformer" / "config.json", _class_name="Transformer2DModel")
    told = {"class_label": 3} if family == "dit" else {"prompt": PROMPT}
    now, then = (load_model(one, **told) for one in (made(family)[1], folder))
    assert type(then.unet) is type(now.unet)
    x = initial_noise(now, [0])
    assert torch.equal(now.forward(x, 500), then.forward(x, 500))
    patch(folder / "model_index.json", transformer=["diffusers", "UNet2DModel"])
    with pytest.raises(ModelError, match="the transformer is a UNet2DModel"):
        load_model(folder, **told)


def test_true_guidance_of_a_distilled_network_is_told(model, caplog):
    model("flux")
    assert "distilled" not in caplog.text
    model("flux", guidance=7.5)
    assert "model.guidance=7.5 is true CFG beside its own guidance" in caplog.text


@pytest.mark.parametrize("steps", [4, 5])
def test_the_steps_are_those_that_flux_visits(made, model, steps):
    pipeline, _ = made("flux")
    latents = pipeline._pack_latents(torch.randn(1, 4, 8, 8), 1, 4, 8, 8)
    common = {"num_inference_steps": steps, "output_type": "latent", "latents": latents}
    pipeline(PROMPT, height=16, width=16, **common)
    schedule = model("flux").schedule
    found = [schedule.b(t) for t in [*schedule.timesteps(steps), CLEAN]]
    torch.testing.assert_close(torch.tensor(found), pipeline.scheduler.sigmas)


@pytest.mark.parametrize("family", FAMILIES)
def test_pictures_are_those_of_the_autoencoder_and_back(made, model, family):
    pipeline, _ = made(family)
    found = model(family)
    x0 = initial_noise(found, [1])
    pictures = found.decode(x0)
    assert pictures.shape == (1, 3, *found.picture_shape)
    if family == "labelled":
        assert torch.equal(pictures, x0.clamp(-1, 1))
        return
    vae = pipeline.vqvae if family in UNTOLD else pipeline.vae
    config = vae.config
    expected = vae.decode(x0 / config.scaling_factor + (config.get("shift_factor") or 0)).sample
    torch.testing.assert_close(pictures, expected.clamp(-1, 1))
    assert found.encode(pictures).shape == x0.shape


@pytest.mark.slow
@pytest.mark.parametrize("family", QUICK + SLOW)
def test_a_basis_an_edit_and_inversion(model, family):
    found = model(family)
    f = found.feature_map(found.schedule.T, block_of(family))
    x = initial_noise(found, [0])
    basis = local_basis(f, x[0], 3)
    assert basis.certificate.converged
    jacobian = JacobianOperator(f, x[0])
    size = float(basis.s[0])
    torch.testing.assert_close(jacobian.mv(basis.V), basis.U * basis.s, rtol=1e-3, atol=1e-3 * size)
    torch.testing.assert_close(jacobian.rmv(basis.U), basis.V * basis.s, rtol=1e-3, atol=1e-3 * size)
    middle = found.schedule.timesteps(4)[2]
    x_t = ddim_sample(found, x, steps=4, stop=middle)
    moved = single_step(x_t[0], basis.V[:, 0], torch.tensor([0.0, 2.0]))
    plain, edited = ddim_sample(found, moved, steps=4, start=middle)
    assert (edited - plain).norm() > 0.1
    x0 = ddim_sample(found, x, steps=40)
    errors = [(ddim_sample(found, ddim_invert(found, x0, steps=n), steps=n) - x0).norm() for n in (20, 80)]
    assert errors[1] < 0.6 * errors[0]


class AllInDouble(TorchFunctionMode):
    """No cast to float32, in which Stable Diffusion 3 and Sana take some norms and attention whatever their dtype is.

    What is rounded there differs from rule to rule, by up to 1e-7.
    """

    def __torch_function__(self, func, types, args=(), kwargs=None):
        cast = func is torch.Tensor.float or (func is torch.Tensor.to and args[1:] == (torch.float32,))
        if cast and args[0].dtype == torch.float64:
            return args[0]
        return func(*args, **(kwargs or {}))


@pytest.fixture(scope="module")
def loaded(model, tmp_path_factory):
    """``loaded(family, dtype)``: any family's model, Stable Diffusion 3's among them."""

    def of(family, dtype):
        if family != "sd3":
            return model(family, dtype=dtype)
        folder = tmp_path_factory.mktemp(family)
        joint_pipeline().save_pretrained(folder)
        return load_model(folder, prompt=PROMPT, dtype=dtype)

    return of


@pytest.mark.parametrize(("dtype", "bar"), [(torch.float32, 1e-5), (torch.float64, 1e-10)], ids=["single", "double"])
@pytest.mark.parametrize("family", ["sd3", *QUICK, *SLOW])
def test_products_are_those_of_torchs_own_rules(loaded, family, dtype, bar, monkeypatch):
    found = loaded(family, dtype)
    features = found.feature_map(found.schedule.T, block_of(family))

    def f(x):
        with AllInDouble() if dtype == torch.float64 else nullcontext():
            return features(x)

    x = initial_noise(found, [0])[0]
    generator = torch.Generator().manual_seed(1)
    with sdpa_kernel(SDPBackend.MATH):
        h, pull = torch.func.vjp(f, x)
        v, u = (torch.randn(like.shape, generator=generator, dtype=dtype) for like in (x, h))
        pushed, pulled = torch.func.jvp(f, (x,), (v,))[1].flatten(), pull(u)[0].flatten()
    for mode, limit in (("copies", operator.COPIES_BYTES), ("one graph", 0)):
        monkeypatch.setattr(operator, "COPIES_BYTES", limit)
        jacobian = JacobianOperator(f, x)
        assert jacobian.mode == mode
        assert (jacobian @ v.flatten() - pushed).norm() < bar * pushed.norm()
        assert (jacobian.T @ u.flatten() - pulled).norm() < bar * pulled.norm()


@pytest.mark.parametrize("family", [name for name in FAMILIES if name not in BLOCKS])
def test_h_of_every_block_is_the_image_stream(model, family):
    found = model(family)
    x = initial_noise(found, [0, 1])
    count = (x.shape[-2] // found.patch) * (x.shape[-1] // found.patch)
    assert count != found.text_tokens
    for block in found.blocks:
        output = output_of(found, block, x)
        streams = output if isinstance(output, tuple) else (output,)
        (image,) = [one for one in streams if one.shape[1] == count]
        h = found.feature_map(found.schedule.T, block)(x)
        assert torch.equal(h.flatten(2).transpose(1, 2), image)
        torch.testing.assert_close(found.feature_map(found.schedule.T, block, "sum")(x), image.sum(dim=1))


@pytest.mark.parametrize("family", TEXTS)
def test_h_is_of_the_prompt_and_not_of_guidance(model, family):
    found, guided = model(family), model(family, guidance=4.0, negative_prompt=NEGATIVE)
    x = initial_noise(found, [0])
    block, t = block_of(family), found.schedule.T
    h = found.feature_map(t, block)(x)
    torch.testing.assert_close(guided.feature_map(t, block)(x), h)
    other = found.prompted("long red hair").feature_map(t, block)(x)
    assert (other - h).norm() > 1e-4 * h.norm()
    assert found.digest == guided.digest
    assert found.conditioning["prompt"] == PROMPT


@pytest.mark.parametrize("family", LABELS)
def test_h_and_samples_are_of_the_label(model, family):
    found = model(family)
    other = model(family, class_label=4)
    x, t = initial_noise(found, [0]), found.schedule.T
    assert (other.forward(x, t) - found.forward(x, t)).norm() > 1e-3
    assert found.conditioning["class_label"] == 3
    assert readable(found.fingerprint) != readable(other.fingerprint)
    f, g = (one.feature_map(t, block_of(family)) for one in (found, other))
    assert not torch.allclose(f(x), g(x))


@pytest.mark.parametrize(("family", "last"), [("labelled", 5), ("dit", 999)])
def test_a_label_is_asked_for_and_has_its_range(model, family, last):
    for wrong in (last + 1, -1):
        with pytest.raises(ConfigError, match=rf"class_label={wrong} is none of the {last + 1} classes.*0 to {last}"):
            model(family, class_label=wrong)
    with pytest.raises(ConfigError, match=rf"is class-conditional; say model\.class_label=0 to {last}"):
        model(family, class_label=None)
    with pytest.raises(ConfigError, match="takes no prompt"):
        model(family, prompt=PROMPT)
    assert model(family, class_label=last).conditioning["class_label"] == last


@pytest.mark.parametrize("family", TEXTS)
def test_a_prompt_is_asked_for_and_a_label_refused(model, family):
    with pytest.raises(ConfigError, match="is a text-to-image model"):
        model(family, prompt=None)
    with pytest.raises(ConfigError, match="has no classes"):
        model(family, class_label=1)


@pytest.mark.parametrize("family", UNTOLD)
def test_a_model_that_is_told_nothing_refuses_prompts_and_labels(model, family):
    assert model(family).conditioning == {}
    with pytest.raises(ConfigError, match="takes no prompt"):
        model(family, prompt=PROMPT)
    with pytest.raises(ConfigError, match="has no classes"):
        model(family, class_label=1)


def test_a_vq_autoencoder_decodes_the_nearest_codes(model):
    found = model("ldm")
    x0 = initial_noise(found, [1])
    codes = found.vae.quantize.embedding.weight
    places = (x0 / 0.4).permute(0, 2, 3, 1).reshape(-1, 3)
    nearest = codes[torch.cdist(places, codes).argmin(1)].reshape(1, 8, 8, 3).permute(0, 3, 1, 2)
    assert len(torch.cdist(places, codes).argmin(1).unique()) > 2
    torch.testing.assert_close(found.decode(x0), found.decode(0.4 * nearest))
    expected = found.vae.decode(nearest, force_not_quantize=True).sample.clamp(-1, 1)
    torch.testing.assert_close(found.decode(x0), expected)


def test_a_vq_config_older_than_the_scaling_factor_means_latents_that_were_not_scaled(made, tmp_path):
    folder = shutil.copytree(made("ldm")[1], tmp_path / "ldm")
    without(folder / "vqvae" / "config.json", "scaling_factor")
    found = load_model(folder)
    x0 = initial_noise(found, [1])
    torch.testing.assert_close(found.decode(x0), found.vae.decode(x0).sample.clamp(-1, 1))
    assert found.digest != load_model(made("ldm")[1]).digest


def test_a_vq_autoencoder_of_other_latents_is_refused(tmp_path):
    family_pipelines.ldm(family_pipelines.vq_autoencoder(vq_embed_dim=4)).save_pretrained(tmp_path)
    with pytest.raises(ModelError, match="latents have 4 channels, the network takes 3"):
        load_model(tmp_path)


def test_text_within_flux_is_left_out_or_refused(model):
    found = model("flux")
    x, t = initial_noise(found, [0]), found.schedule.T
    block = "single_transformer_blocks.0.proj_out"
    both = output_of(found, block, x)
    assert both.shape[1] == 512 + 16  # text and image
    h = found.feature_map(t, block)(x)
    assert torch.equal(h.flatten(2).transpose(1, 2), both[:, 512:])
    with pytest.raises(ConfigError, match=r"512 tokens \(the text's\), and the image has 4·4: it holds no image"):
        found.feature_map(t, "transformer_blocks.0.ff_context")(x)


def test_the_guidance_that_flux_is_given_is_part_of_the_model(model):
    found, other = model("flux"), model("flux", embedded_guidance=1.0)
    x, t = initial_noise(found, [0]), found.schedule.T
    assert not torch.allclose(found.forward(x, t), other.forward(x, t))
    assert readable(found.fingerprint) != readable(other.fingerprint)
    assert other.conditioning["embedded_guidance"] == 1.0


def test_no_negative_prompt_of_sdxl_is_zeros_as_its_pipeline_has_it(made, model):
    pipeline, _ = made("sdxl")
    found = model("sdxl", guidance=3.0, spacing=None)
    x = initial_noise(found, [0])
    common = {"num_inference_steps": STEPS, "output_type": "latent", "guidance_scale": 3.0, "latents": x}
    expected = pipeline(PROMPT, **common).images
    torch.testing.assert_close(ddim_sample(found, x, steps=STEPS), expected, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize(
    ("family", "shape"), [("ldm", (3, 8, 12)), ("sdxl", (4, 8, 12)), ("pixart", (4, 8, 12)), ("flux", (4, 8, 12))]
)
def test_pictures_need_not_be_square(model, family, shape):
    found = model(family, size=(16, 24))
    assert found.latent_shape == shape
    assert found.picture_shape == (16, 24)
    x = initial_noise(found, [0])
    h = found.feature_map(found.schedule.T, block_of(family))(x)
    assert h.shape[-2] * 3 == h.shape[-1] * 2
    assert found.decode(ddim_sample(found, x, steps=2)).shape == (1, 3, 16, 24)
    with pytest.raises(ConfigError, match=r"model\.size=\[15,24\] does not fit .*multiples of"):
        model(family, size=(15, 24))


def test_a_scheduler_of_neither_process_is_refused(made, tmp_path):
    folder = shutil.copytree(made("dit")[1], tmp_path / "dit")
    patch(folder / "scheduler" / "scheduler_config.json", _class_name="EDMEulerScheduler")
    patch(folder / "model_index.json", scheduler=["diffusers", "EDMEulerScheduler"])
    with pytest.raises(ModelError, match="EDMEulerScheduler is refused"):
        load_model(folder, class_label=1)


def test_a_pipeline_of_no_family_is_refused_with_those_there_are(made, tmp_path):
    folder = shutil.copytree(made("sdxl")[1], tmp_path / "sdxl")
    patch(folder / "model_index.json", _class_name="StableDiffusionXLInpaintPipeline")
    with pytest.raises(ModelError, match="holds a StableDiffusionXLInpaintPipeline") as caught:
        load_model(folder, prompt=PROMPT)
    assert all(kind in str(caught.value) for kind in families())
