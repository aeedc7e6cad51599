"""What a network takes and gives, checked at load: each case is refused with its reason, or works."""

import shutil

import pytest
import torch
from diffusers import AutoencoderKL, AutoencoderTiny, DDIMPipeline, DDIMScheduler, DDPMScheduler, PNDMScheduler
from safetensors.torch import load_file, save_file

from diffgeo.diffusion.models import load_model
from diffgeo.diffusion.noise_schedule import Clipping
from diffgeo.diffusion.sampling import ddim_invert, ddim_sample, initial_noise
from diffgeo.errors import ModelError
from folders import autoencoder, conditional_unet, copied, patch, save_pixels, save_prompted, unet, without

PROMPT = "a smiling face"


@pytest.fixture(scope="module")
def pixels(tmp_path_factory):
    return save_pixels(tmp_path_factory.mktemp("inputs") / "pixels")


@pytest.fixture(scope="module")
def prompted(tmp_path_factory):
    return save_prompted(tmp_path_factory.mktemp("inputs") / "prompted")


def refused(folder, *words, **how):
    """The message, in the form of what is wrong, a semicolon, and what to do."""
    with pytest.raises(ModelError) as caught:
        load_model(folder, **how)
    message = str(caught.value)
    for word in words:
        assert word in message, message
    what, _, advice = message.partition("; ")
    assert what
    assert advice
    return message


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"class_embed_type": "timestep"}, ("class embeddings",)),
        ({"in_channels": 2, "out_channels": 1}, ("takes 2 channels and gives 1",)),
        ({"in_channels": 3, "out_channels": 1}, ("takes 3 channels and gives 1",)),
        ({"in_channels": 1, "out_channels": 3}, ("takes 1 channels and gives 3",)),
        ({"in_channels": 3, "out_channels": 9}, ("takes 3 channels and gives 9",)),
        ({"in_channels": 4, "out_channels": 4}, ("works on 4 channels", "1 (grey) or 3 (RGB)")),
        ({"in_channels": 2, "out_channels": 2}, ("works on 2 channels",)),
        ({"sample_size": 15}, ("divisible by 2", "is 15")),
        ({"sample_size": (16, 15)}, ("divisible by 2",)),
        ({"sample_size": None}, ("lacks sample_size",)),
        ({"time_embedding_type": "fourier"}, ("divides by t",)),
    ],
)
def test_networks_on_pixels_that_cannot_work_are_refused_at_load(tmp_path, changes, words):
    refused(save_pixels(tmp_path / "m", unet(**changes)), *words)


@pytest.mark.parametrize("size", [0, -1, "x", [16], [16, 16, 16], 10**6, 16.5, True])
def test_absurd_sizes_are_refused_at_load(pixels, tmp_path, size):
    folder = copied(pixels, tmp_path / "m")
    patch(folder / "unet" / "config.json", sample_size=size)
    refused(folder, "sample_size")


@pytest.mark.parametrize("changes", [{"in_channels": 1, "out_channels": 1}, {"in_channels": 3, "out_channels": 6}])
def test_grey_models_and_learned_variances_are_not_refused(tmp_path, changes):
    model = load_model(save_pixels(tmp_path / "m", unet(**changes)))
    x = initial_noise(model, [0])
    expected = model.unet(x, 500).sample[:, : changes["in_channels"]]
    assert expected.shape == x.shape == (1, changes["in_channels"], 16, 16)
    torch.testing.assert_close(model.predict_noise(x, 500), expected)
    assert model.decode(ddim_sample(model, x, steps=2)).shape == (1, 3, 16, 16)


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"in_channels": 9}, ("takes 9 channels and gives 4", "inpainting")),
        ({"in_channels": 8, "out_channels": 8}, ("latents have 4 channels, the network takes 8",)),
        (
            {
                "addition_embed_type": "text_time",
                "addition_time_embed_dim": 8,
                "projection_class_embeddings_input_dim": 64,
            },
            ("added conditions",),
        ),
        ({"encoder_hid_dim": 24, "encoder_hid_dim_type": "text_proj"}, ("hidden states",)),
        ({"class_embed_type": "timestep"}, ("class embeddings",)),
        ({"num_class_embeds": 3}, ("class label", "num_class_embeds=3")),
        ({"time_cond_proj_dim": 8}, ("guidance scale",)),
    ],
)
def test_networks_with_prompts_that_take_more_are_refused_at_load(tmp_path, changes, words):
    refused(save_prompted(tmp_path / "m", conditional_unet(**changes)), *words, prompt=PROMPT)


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"latent_channels": 8}, ("latents have 8 channels, the network takes 4",)),
        ({"in_channels": 1, "out_channels": 1}, ("not of RGB",)),
        ({"latents_mean": [0.0] * 4, "latents_std": [1.0] * 4}, ("latents_mean",)),
    ],
)
def test_autoencoders_of_another_model_are_refused_at_load(tmp_path, changes, words):
    refused(save_prompted(tmp_path / "m", vae=autoencoder(**changes)), *words, prompt=PROMPT)


@pytest.mark.parametrize(
    ("part", "kind", "words"),
    [
        ("unet", ["diffusers", "UNet2DConditionModel"], ("the unet is a UNet2DConditionModel",)),
        ("unet", ["diffusers", "AutoencoderKL"], ("UNet2DModel",)),
        ("unet", [None, None], ("names no unet",)),
        ("scheduler", ["diffusers", "NoSuchScheduler"], ("diffusers has no NoSuchScheduler",)),
        ("scheduler", ["diffusers", "LCMScheduler"], ("distilled",)),
    ],
)
def test_parts_of_another_class_are_refused(pixels, tmp_path, part, kind, words):
    folder = copied(pixels, tmp_path / "m")
    patch(folder / "model_index.json", **{part: kind})
    refused(folder, *words)


def test_a_conditional_network_in_a_folder_of_pixels_is_refused(tmp_path):
    refused(save_pixels(tmp_path / "m", conditional_unet()), "the unet is a UNet2DConditionModel", "UNet2DModel")


@pytest.mark.parametrize("value", [float("nan"), float("inf"), -float("inf")])
@pytest.mark.parametrize(
    ("kind", "file", "part"),
    [
        ("pixels", "unet/diffusion_pytorch_model.safetensors", "unet"),
        ("prompted", "vae/diffusion_pytorch_model.safetensors", "vae"),
        ("prompted", "text_encoder/model.safetensors", "text_encoder"),
    ],
)
def test_weights_that_are_no_numbers_are_named(request, tmp_path, kind, file, part, value):
    folder = copied(request.getfixturevalue(kind), tmp_path / "m")
    tensors = load_file(folder / file)
    name = sorted(tensors)[3]
    tensors[name].view(-1)[1] = value
    save_file(tensors, folder / file, {"format": "pt"})
    refused(folder, part, name.removeprefix("text_model."), "1 of", prompt=PROMPT if kind == "prompted" else None)


@pytest.mark.parametrize(
    ("kind", "file"),
    [
        ("pixels", "unet/diffusion_pytorch_model.safetensors"),
        ("prompted", "vae/diffusion_pytorch_model.safetensors"),
        ("prompted", "text_encoder/model.safetensors"),
    ],
)
def test_surplus_missing_and_other_tensors_are_listed(request, tmp_path, kind, file):
    prompt = PROMPT if kind == "prompted" else None
    for change in ("surplus", "missing", "shape"):
        folder = copied(request.getfixturevalue(kind), tmp_path / change)
        tensors = load_file(folder / file)
        first = sorted(tensors)[0]
        if change == "surplus":
            tensors |= {f"extra.{i}.weight": torch.zeros(2) for i in range(7)}
        elif change == "missing":
            del tensors[first]
        else:
            tensors[first] = torch.zeros(3, 5)
        save_file(tensors, folder / file, {"format": "pt"})
        words = {"surplus": ("7 tensors (extra.0.weight", "and 2 more"), "missing": (first,), "shape": (first,)}[change]
        refused(folder, *(word.removeprefix("text_model.") for word in words), prompt=prompt)


def adapted(tensors):
    """A network's tensors as PEFT names them once an adapter is at its first query."""
    name = next(name for name in sorted(tensors) if name.endswith(("to_q.weight", "q_proj.weight")))
    stem, weight = name.removesuffix("weight"), tensors[name]
    rest = {key: value for key, value in tensors.items() if key != name}
    added = {"lora_A.default.weight": weight[:2].clone(), "lora_B.default.weight": weight[:, :2].clone()}
    return rest | {f"{stem}base_layer.weight": weight} | {stem + key: value for key, value in added.items()}


@pytest.mark.parametrize("strict", [True, False])
@pytest.mark.parametrize(("kind", "part"), [("pixels", "unet"), ("prompted", "unet"), ("prompted", "text_encoder")])
def test_a_network_saved_with_an_adapter_that_is_not_fused_is_refused(request, tmp_path, kind, part, strict):
    folder = copied(request.getfixturevalue(kind), tmp_path / "m")
    (file,) = (folder / part).glob("*.safetensors")
    save_file(adapted(load_file(file)), file, {"format": "pt"})
    prompt = {"prompt": PROMPT} if kind == "prompted" else {}
    refused(folder, "adapter (LoRA) that is not fused: 2", "lora_A.default", "fuse_lora()", strict=strict, **prompt)


@pytest.mark.parametrize("whole", [True, False])
def test_a_text_encoder_saved_as_its_adapter_alone_is_refused(prompted, tmp_path, whole):
    """So transformers saves an encoder with an adapter. Without PEFT it would read weights beside one and leave it."""
    folder = copied(prompted, tmp_path / "m")
    encoder = folder / "text_encoder"
    tensors = adapted(load_file(encoder / "model.safetensors"))
    added = {f"base_model.model.{key}": value for key, value in tensors.items() if "lora" in key}
    save_file(added, encoder / "adapter_model.safetensors", {"format": "pt"})
    (encoder / "adapter_config.json").write_text('{"peft_type": "LORA", "r": 2, "base_model_name_or_path": null}')
    if not whole:
        (encoder / "config.json").unlink()
        (encoder / "model.safetensors").unlink()
    refused(folder, "text_encoder holds an adapter (LoRA) that is not fused", "fuse_lora()", prompt=PROMPT)


@pytest.mark.parametrize("part", ["safety_checker", "feature_extractor", "image_encoder"])
def test_parts_that_are_never_used_need_not_be_there(prompted, tmp_path, part):
    folder = copied(prompted, tmp_path / "m")
    kind = {
        "safety_checker": ["stable_diffusion", "StableDiffusionSafetyChecker"],
        "feature_extractor": ["transformers", "CLIPFeatureExtractor"],
        "image_encoder": ["transformers", "CLIPVisionModelWithProjection"],
    }[part]
    patch(folder / "model_index.json", **{part: kind, "requires_safety_checker": True})
    assert load_model(folder, prompt=PROMPT).digest == load_model(prompted, prompt=PROMPT).digest


def test_an_unknown_part_that_is_never_used_needs_no_folder(pixels, tmp_path):
    folder = copied(pixels, tmp_path / "m")
    patch(folder / "model_index.json", vqvae=["diffusers", "VQModel"], movq=["diffusers", "VQModel"])
    assert load_model(folder).digest == load_model(pixels).digest


@pytest.mark.parametrize("file", ["model_index.json"])
def test_an_index_with_a_byte_order_mark_is_read(pixels, tmp_path, file):
    folder = copied(pixels, tmp_path / "m")
    (folder / file).write_text((folder / file).read_text(), encoding="utf-8-sig")
    assert load_model(folder).digest == load_model(pixels).digest


@pytest.mark.parametrize("safe", [True, False])
@pytest.mark.parametrize("save", [save_pixels, save_prompted])
def test_weights_that_are_there_as_a_variant_only_are_named(tmp_path, save, safe):
    folder = save(tmp_path / "m", variant="fp16", safe_serialization=safe)
    prompt = PROMPT if save is save_prompted else None
    refused(folder, "say model.variant=fp16", prompt=prompt)
    assert load_model(folder, variant="fp16", prompt=prompt).dtype == torch.float32
    with pytest.raises(ModelError, match=r"no weights of the variant 'bf16'; there are fp16"):
        load_model(folder, variant="bf16", prompt=prompt)


def test_a_variant_of_one_part_alone_is_taken_for_that_part(prompted, tmp_path):
    folder = copied(prompted, tmp_path / "m")
    file = folder / "unet" / "diffusion_pytorch_model.safetensors"
    shutil.move(file, file.with_name("diffusion_pytorch_model.non_ema.safetensors"))
    refused(folder, "weights of its unet as a variant only", "model.variant=non_ema", prompt=PROMPT)
    model = load_model(folder, variant="non_ema", prompt=PROMPT)
    assert model.digest == load_model(prompted, prompt=PROMPT).digest


def test_a_variant_of_a_folder_without_any_is_refused(pixels):
    with pytest.raises(ModelError, match=r"no weights of the variant 'fp16'; leave model\.variant out"):
        load_model(pixels, variant="fp16")


def test_shards_of_a_variant_are_found(tmp_path):
    folder = save_pixels(tmp_path / "m", variant="fp16", max_shard_size="100KB")
    assert len(list((folder / "unet").glob("*fp16-0*of*.safetensors"))) > 1
    refused(folder, "say model.variant=fp16")
    assert load_model(folder, variant="fp16").dtype == torch.float32


def tiny_autoencoder():
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        return AutoencoderTiny(
            encoder_block_out_channels=(8, 8),
            decoder_block_out_channels=(8, 8),
            num_encoder_blocks=(1, 1),
            num_decoder_blocks=(1, 1),
        )


def test_a_tiny_autoencoder_encodes_and_decodes_as_in_diffusers(tmp_path):
    vae = tiny_autoencoder()
    model = load_model(save_prompted(tmp_path / "m", vae=vae), prompt=PROMPT)
    picture = torch.rand(2, 3, 16, 16, generator=torch.Generator().manual_seed(0)) * 2 - 1
    with torch.no_grad():
        latents = vae.encode(picture).latents
        expected = vae.decode(latents).sample.clamp(-1, 1)
    torch.testing.assert_close(model.encode(picture), latents)
    torch.testing.assert_close(model.decode(latents), expected)
    x = ddim_invert(model, model.encode(picture), steps=4)
    assert bool(torch.isfinite(model.decode(ddim_sample(model, x, steps=4))).all())


@pytest.mark.parametrize("size", [(8, 16), (16, 8), (7, 9)])
def test_oblong_latents_have_oblong_pictures(prompted, tmp_path, size):
    folder = copied(prompted, tmp_path / "m")
    patch(folder / "unet" / "config.json", sample_size=list(size))
    model = load_model(folder, prompt=PROMPT)
    shape = (2 * size[0], 2 * size[1])
    assert model.picture_shape == shape
    assert model.decode(model.encode(torch.zeros(1, 3, *shape))).shape == (1, 3, *shape)
    assert model.predict_noise(initial_noise(model, [0]), 500).shape == (1, 4, *size)


def test_oblong_pixels_have_oblong_pictures(tmp_path):
    model = load_model(save_pixels(tmp_path / "m", unet(sample_size=(8, 16)), DDPMScheduler(clip_sample=False)))
    assert (model.picture_shape, model.picture_size, model.bounded) == ((8, 16), 16, False)
    picture = torch.rand(1, 3, 8, 16, generator=torch.Generator().manual_seed(0)) * 2 - 1
    x = ddim_invert(model, model.encode(picture), steps=4)
    assert model.decode(ddim_sample(model, x, steps=4)).shape == picture.shape


def constant(value):
    """A network that gives the same number everywhere."""
    network = unet()
    with torch.no_grad():
        network.conv_out.weight.zero_()
        network.conv_out.bias.fill_(value)
    return network


@pytest.mark.parametrize(
    ("clipping", "value"),
    [
        ({"clip_sample": False}, 1.5),
        ({"clip_sample_range": 2}, 1.5),
        ({"clip_sample_range": 1.25}, 1.25),
        ({"clip_sample": True}, 1.0),
        ({"clip_sample": False, "thresholding": True, "sample_max_value": 3.0}, 1.0),
    ],
)
def test_generated_samples_are_clipped_as_the_scheduler_says(tmp_path, clipping, value):
    folder = save_pixels(tmp_path / "m", constant(1.5), DDPMScheduler(prediction_type="sample", **clipping))
    model = load_model(folder)
    x = initial_noise(model, [0])
    scheduler = DDIMScheduler.from_pretrained(folder, subfolder="scheduler")
    scheduler.set_timesteps(4)
    expected = x
    for t in scheduler.timesteps:
        expected = scheduler.step(model.unet(expected, t).sample, t, expected).prev_sample
    found = ddim_sample(model, x, steps=4, clip=model.bounded)
    torch.testing.assert_close(found, torch.full_like(found, value))
    torch.testing.assert_close(found, expected)


def test_stable_diffusion_never_clips_latents_as_its_own_pipeline(tmp_path):
    model = load_model(save_prompted(tmp_path / "m"), prompt=PROMPT)
    patch(tmp_path / "m" / "scheduler" / "scheduler_config.json", clip_sample=True)
    assert not load_model(tmp_path / "m", prompt=PROMPT).bounded
    assert not model.bounded


def test_a_ddim_pipeline_puts_its_scheduler_into_ddims_own_class(tmp_path):
    DDIMPipeline(unet(), DDIMScheduler()).save_pretrained(tmp_path / "m")
    PNDMScheduler().save_pretrained(tmp_path / "m" / "scheduler")
    patch(tmp_path / "m" / "model_index.json", scheduler=["diffusers", "PNDMScheduler"])
    pipeline = DDIMPipeline.from_pretrained(tmp_path / "m")
    model = load_model(tmp_path / "m")
    assert pipeline.scheduler.config.clip_sample
    assert model.schedule.clipping == Clipping(pipeline.scheduler.config.clip_sample_range)


def test_the_old_key_of_the_parametrisation_is_read_from_a_folder(tmp_path):
    folder = save_pixels(tmp_path / "old")
    without(folder / "scheduler" / "scheduler_config.json", "prediction_type")
    patch(folder / "scheduler" / "scheduler_config.json", predict_epsilon=False)
    assert load_model(folder).schedule.prediction == "sample"


@pytest.mark.parametrize("prediction", ["v_prediction", "sample"])
def test_zero_terminal_snr_gives_the_latents_of_diffusers(tmp_path, prediction):
    settings = {"prediction_type": prediction, "rescale_betas_zero_snr": True, "timestep_spacing": "trailing"}
    folder = save_pixels(tmp_path / "m", scheduler=DDIMScheduler(**settings))
    model = load_model(folder)
    x = initial_noise(model, [0])
    scheduler = DDIMScheduler.from_pretrained(folder, subfolder="scheduler")
    scheduler.set_timesteps(5)
    expected = x
    for t in scheduler.timesteps:
        expected = scheduler.step(model.unet(expected, t).sample, t, expected).prev_sample
    torch.testing.assert_close(ddim_sample(model, x, steps=5, clip=True), expected, rtol=1e-4, atol=1e-4)
    clean, noise = model.predict(x, model.schedule.T)
    assert torch.equal(noise, x)
    assert torch.equal(clean, model.unet(x, 999).sample * (-1 if prediction == "v_prediction" else 1))


@pytest.mark.parametrize("scheduler", ["EulerDiscreteScheduler", "UniPCMultistepScheduler"])
def test_the_nearly_zero_signal_of_other_classes_is_no_division(tmp_path, scheduler):
    import diffusers

    kind = getattr(diffusers, scheduler)(prediction_type="v_prediction", rescale_betas_zero_snr=True)
    model = load_model(save_pixels(tmp_path / "m", scheduler=kind))
    x = initial_noise(model, [0])
    ours = ddim_sample(model, x, steps=4)
    exact = load_model(tmp_path / "m", dtype=torch.float64)
    torch.testing.assert_close(ours.double(), ddim_sample(exact, x.double(), steps=4), rtol=1e-4, atol=1e-4)


def test_folders_of_the_fields_of_a_config_that_no_class_knows_are_refused(pixels, tmp_path):
    folder = copied(pixels, tmp_path / "m")
    patch(folder / "scheduler" / "scheduler_config.json", beta_warmup=3)
    refused(folder, "beta_warmup=3 is not understood", "take it out of scheduler_config.json")
    without(folder / "scheduler" / "scheduler_config.json", "beta_warmup")
    assert load_model(folder).digest == load_model(pixels).digest


def test_an_autoencoder_of_an_unknown_class_is_refused(prompted, tmp_path):
    folder = copied(prompted, tmp_path / "m")
    patch(folder / "model_index.json", vae=["diffusers", "VQModel"])
    refused(folder, "the vae is a VQModel", AutoencoderKL.__name__, prompt=PROMPT)
