"""Reports of models that ended in a silently wrong number or far from the cause: the command, and the right value."""

from contextlib import ExitStack
from unittest import mock

import pandas as pd
import pytest
import torch
from diffusers import AutoencoderTiny, DDIMScheduler, DDPMScheduler
from PIL import Image
from safetensors.torch import load_file, save_file

from folders import conditional_unet, copied, patch, save_pixels, save_prompted, unet, without

SETTINGS = (
    *("study=[discovery]", "data.samples=1", "schedule.steps=4", "schedule.edit=[1.0]", "svd.rank=2", "edit.frames=3"),
    *("study.discovery.directions=1", "tracking=none", "predictor=none", "device=cpu"),
)


@pytest.fixture(scope="session")
def run(command):
    """``run(model, folder, *more)``: a run of a folder's model, in this process, without figures."""

    def of(model, folder, *more):
        with ExitStack() as stack:
            stack.enter_context(mock.patch("diffgeo.runner.finish.draw", return_value={}))
            stack.enter_context(mock.patch("diffgeo.runner.manifest._draw_page"))
            kind = "local_sd" if (model / "vae").is_dir() else "local"
            prompt = ["prompt=face"] if kind == "local_sd" else []
            words = (f"model={kind}", f"model.path={model}", *prompt, *SETTINGS, *more)
            return command(*words, f"hydra.run.dir={folder}", folder=folder)

    return of


def singular_values(outcome):
    assert outcome.code == 0, outcome.err
    return pd.read_csv(outcome.folder / "tables" / "discovery.csv").singular_value.tolist()


def test_the_store_tells_architectures_of_equal_weights_apart(run, tmp_path):
    """diffusers#2011: the same weights, another config."""
    one = save_pixels(tmp_path / "a", unet(attention_head_dim=32))
    other = copied(one, tmp_path / "b")
    patch(other / "unet" / "config.json", center_input_sample=True)
    store = f"store.path={tmp_path / 'store'}"
    first = singular_values(run(one, tmp_path / "1", store))
    second = singular_values(run(other, tmp_path / "2", store))
    alone = singular_values(run(other, tmp_path / "3", "store.enabled=false"))
    assert second == alone
    assert first[0] == pytest.approx(4.496, abs=1e-3)
    assert second[0] == pytest.approx(3.729, abs=1e-3)


@pytest.mark.slow
def test_the_store_tells_schedulers_apart_and_clipping_is_the_schedulers(run, tmp_path):
    """diffusers PR#7205: clip_sample=False in the folder is schedule.clip=false on the command line."""
    folders = {
        clip: save_pixels(tmp_path / str(clip), scheduler=DDPMScheduler(clip_sample=clip)) for clip in (True, False)
    }
    more = ("schedule.edit=[0.5]", f"store.path={tmp_path / 'store'}")
    clipped = singular_values(run(folders[True], tmp_path / "1", *more))
    free = singular_values(run(folders[False], tmp_path / "2", *more))
    overridden = singular_values(run(folders[True], tmp_path / "3", *more, "schedule.clip=false"))
    again = singular_values(run(folders[False], tmp_path / "4", *more, "schedule.clip=true"))
    assert free == overridden
    assert again == clipped
    assert abs(free[0] / clipped[0] - 1) > 0.1


def test_an_old_key_of_the_scheduler_changes_the_run_as_the_new_one_does(run, tmp_path):
    """diffusers PR#1393: predict_epsilon=false is prediction_type=sample."""
    new = save_pixels(tmp_path / "new", scheduler=DDPMScheduler(prediction_type="sample"))
    old = save_pixels(tmp_path / "old")
    without(old / "scheduler" / "scheduler_config.json", "prediction_type")
    patch(old / "scheduler" / "scheduler_config.json", predict_epsilon=False)
    more = ("schedule.edit=[0.5]", "store.enabled=false")
    assert singular_values(run(old, tmp_path / "1", *more)) == singular_values(run(new, tmp_path / "2", *more))


def not_a_number(folder):
    path = save_pixels(folder) / "unet" / "diffusion_pytorch_model.safetensors"
    tensors = load_file(path)
    tensors["conv_in.weight"].view(-1)[0] = float("nan")
    save_file(tensors, path, {"format": "pt"})


REFUSED = {
    "A6 3 to 1": (lambda d: save_pixels(d, unet(out_channels=1)), ("takes 3 channels and gives 1",)),
    "A6 2 to 1": (lambda d: save_pixels(d, unet(in_channels=2, out_channels=1)), ("takes 2 channels and gives 1",)),
    "B2": (lambda d: save_prompted(d, conditional_unet(in_channels=9)), ("inpainting",)),
    "B4": (lambda d: save_pixels(d, unet(in_channels=4, out_channels=4)), ("works on 4 channels",)),
    "B8": (lambda d: save_pixels(d, variant="fp16"), ("model.variant=fp16",)),
    "B9 class": (lambda d: save_pixels(d, conditional_unet()), ("UNet2DConditionModel",)),
    "B9 size": (lambda d: save_pixels(d, unet(sample_size=15)), ("divisible by 2",)),
    "B10": (not_a_number, ("unet/conv_in.weight", "NaN")),
}


@pytest.mark.parametrize("case", sorted(REFUSED))
def test_what_cannot_work_ends_in_two_lines_before_anything_is_computed(run, tmp_path, case):
    save, words = REFUSED[case]
    save(tmp_path / "m")
    outcome = run(tmp_path / "m", tmp_path / "out", "store.enabled=false")
    outcome.assert_failed(3, *words)
    assert len([line for line in outcome.err.splitlines() if line.strip()]) == 2, outcome.err


def test_a_class_conditional_model_asks_for_its_label_and_runs_with_it(run, tmp_path):
    """diffusers#3984, case B1."""
    folder = save_pixels(tmp_path / "m", unet(num_class_embeds=10))
    run(folder, tmp_path / "1", "store.enabled=false").assert_failed(2, "class-conditional", "model.class_label=0 to 9")
    labelled = run(folder, tmp_path / "2", "model=local_class", "model.class_label=3", "store.enabled=false")
    assert len(singular_values(labelled)) > 0


@pytest.mark.parametrize("prediction", ["v_prediction", pytest.param("sample", marks=pytest.mark.slow)])
def test_zero_terminal_snr_runs(run, tmp_path, prediction):
    """diffusers#5103, generated samples and an own picture, edits at T and below."""
    scheduler = DDIMScheduler(prediction_type=prediction, rescale_betas_zero_snr=True)
    folder = save_pixels(tmp_path / "m", scheduler=scheduler)
    more = ("schedule.edit=[1.0,0.5]", "store.enabled=false")
    assert len(singular_values(run(folder, tmp_path / "1", *more))) > 0
    path = tmp_path / "grey.png"
    Image.new("RGB", (16, 16), (90, 120, 200)).save(path)
    own = run(folder, tmp_path / "2", *more, "data=images", f"data.images={path}")
    assert all(value > 0 for value in singular_values(own))


def test_a_tiny_autoencoder_runs_on_an_own_picture(run, tmp_path):
    """diffusers#4720."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        blocks = {"encoder_block_out_channels": (8, 8), "decoder_block_out_channels": (8, 8)}
        vae = AutoencoderTiny(**blocks, num_encoder_blocks=(1, 1), num_decoder_blocks=(1, 1))
    folder = save_prompted(tmp_path / "m", vae=vae)
    path = tmp_path / "own.png"
    Image.new("RGB", (20, 20), (90, 120, 200)).save(path)
    more = ("data=images", f"data.images={path}", "store.enabled=false")
    assert len(singular_values(run(folder, tmp_path / "1", *more))) > 0


def test_oblong_latents_run_on_an_own_picture(run, tmp_path):
    """diffusers#1262: the picture is cropped to the shape that the autoencoder makes of the latent's."""
    folder = save_prompted(tmp_path / "m", conditional_unet(sample_size=[8, 16]))
    path = tmp_path / "own.png"
    Image.new("RGB", (40, 40), (90, 120, 200)).save(path)
    more = ("data=images", f"data.images={path}", "store.enabled=false")
    assert len(singular_values(run(folder, tmp_path / "1", *more))) > 0
