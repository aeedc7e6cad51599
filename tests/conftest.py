"""Fixtures that several test folders share: tiny random-weight networks, and the shipped model."""

import copy
import gc
import json
import logging
import os
import signal
from dataclasses import replace
from unittest import mock

os.environ["HF_HUB_OFFLINE"] = "1"
os.environ["WANDB_MODE"] = "offline"
os.environ["WANDB_SILENT"] = "true"
os.environ["DIFFGEO_STORE"] = ""  # tests compute; those of the store name a folder
os.environ.setdefault("OMP_WAIT_POLICY", "passive")

import pytest

# torch and what needs it are imported where they are used: the process that hands out the tests needs neither


def make_tiny_unet(size=8, attention=True, seed=0, dtype=None):
    """A U-Net with random weights: channels (8, 16), attention at the lowest level, in eval mode."""
    import torch
    from diffusers import UNet2DModel

    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        unet = UNet2DModel(
            sample_size=size,
            in_channels=3,
            out_channels=3,
            layers_per_block=1,
            block_out_channels=(8, 16),
            norm_num_groups=4,
            attention_head_dim=8,
            add_attention=attention,
            down_block_types=("DownBlock2D", "AttnDownBlock2D" if attention else "DownBlock2D"),
            up_block_types=("AttnUpBlock2D" if attention else "UpBlock2D", "UpBlock2D"),
        )
    return torch.nn.Module.to(unet, dtype or torch.float32).eval().requires_grad_(False)


def linear_schedule(prediction="epsilon"):
    """DDPM's linear schedule of 1000 steps."""
    from diffusers import DDPMScheduler

    from diffgeo.diffusion.noise_schedule import NoiseSchedule

    return NoiseSchedule.of(DDPMScheduler(num_train_timesteps=1000, prediction_type=prediction))


def pytest_collection_finish():
    """What is imported by now stays; if it were looked through, too, each ``gc.collect`` would take 0.3 s."""
    gc.collect()
    gc.freeze()


@pytest.fixture(autouse=True)
def _no_handlers_stay():
    """Hydra's logging of a run in this process holds on to the output of that test."""
    root = logging.getLogger()
    before, level = root.handlers[:], root.level
    yield
    for handler in root.handlers[:]:
        if handler not in before:
            root.removeHandler(handler)
    root.setLevel(level)


@pytest.fixture(scope="session", autouse=True)
def _ctrl_c_is_heard():
    """Started by a script in the background, pytest ignores SIGINT, and so would every command that it starts."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


@pytest.fixture(scope="session", autouse=True)
def _conf_is_read_once():
    """Hydra reads the 50 files and schemas of ``conf/`` anew for each of some 800 compositions, and copies the choices
    made so far for every one of them, though no defaults list of ours has an interpolation that asks for them. It also
    copies the store of all schemas each time, which is made once and only read, and merges the same choices again.
    """
    from hydra._internal import defaults_list
    from hydra._internal.config_loader_impl import ConfigLoaderImpl
    from hydra._internal.config_repository import ConfigRepository
    from hydra.core.config_store import ConfigStore
    from omegaconf import OmegaConf

    from diffgeo.config import config_folder

    ours, known, merged = {f"file://{config_folder()}", "pkg://hydra.conf", "structured://"}, {}, {}
    load, choices = ConfigRepository.load_config, defaults_list._create_interpolation_map
    merge = ConfigLoaderImpl._compose_config_from_defaults_list

    def of_others(repository):
        return not {source.full_path() for source in repository.get_sources()} <= ours

    def merge_once(loader, defaults, repo):
        if of_others(repo):
            return merge(loader, defaults, repo)
        key = tuple((one.config_path, one.parent, one.package, one.is_self) for one in defaults)
        if key not in merged:
            merged[key] = merge(loader, defaults, repo)
        found = copy.deepcopy(merged[key])
        OmegaConf.clear_cache(found)  # of what the time was, say
        return found

    def load_once(repository, config_path):
        if of_others(repository):
            return load(repository, config_path)
        found = known.get(config_path) or load(repository, config_path)
        if found is not None:
            found = known.setdefault(config_path, found)
            found = replace(found, config=copy.deepcopy(found.config))
        return found

    def choices_if_asked(overrides, defaults, self_added):
        return choices(overrides, defaults, self_added) if any(one.is_interpolation() for one in defaults) else None

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(ConfigRepository, "load_config", load_once)
        patch.setattr(defaults_list, "_create_interpolation_map", choices_if_asked)
        patch.setattr(ConfigLoaderImpl, "_compose_config_from_defaults_list", merge_once)
        patch.setattr(ConfigStore, "__deepcopy__", lambda store, _: store, raising=False)
        yield


@pytest.fixture
def without_figures():
    """Runs of this process draw no figures and no page, which takes most of a tiny run's time."""
    with mock.patch("diffgeo.runner.finish.draw", return_value={}), mock.patch("diffgeo.runner.manifest._draw_page"):
        yield


@pytest.fixture(scope="session")
def tiny_unet():
    """Factory of tiny U-Nets: ``tiny_unet(size=8, attention=True, seed=0, dtype=torch.float32)``."""
    return make_tiny_unet


@pytest.fixture(scope="session")
def schedule():
    return linear_schedule()


def make_tiny_model(dtype=None):
    """A pixel model of 8x8 pictures."""
    from diffgeo.diffusion.models import PixelDiffusion

    return PixelDiffusion(make_tiny_unet(dtype=dtype), linear_schedule(), name="tiny", source="random")


@pytest.fixture
def tiny_model():
    """A float32 pixel model of 8x8 pictures."""
    return make_tiny_model()


@pytest.fixture
def tiny_model64():
    """The same network in float64."""
    import torch

    return make_tiny_model(torch.float64)


@pytest.fixture(scope="session")
def session_model64():
    """``tiny_model64`` for property tests, which share one network among their examples."""
    import torch

    return make_tiny_model(torch.float64)


@pytest.fixture(scope="session")
def tiny_pipeline(tmp_path_factory, tiny_unet):
    """Folder of a DDPMPipeline, 16x16 pixels, random weights."""
    from diffusers import DDPMPipeline, DDPMScheduler

    folder = tmp_path_factory.mktemp("models") / "tiny_ddpm"
    DDPMPipeline(tiny_unet(size=16), DDPMScheduler(num_train_timesteps=1000)).save_pretrained(folder)
    return folder


@pytest.fixture(scope="session")
def shipped():
    """The model that diffgeo ships, float32 on the CPU."""
    from diffgeo.diffusion.models import load_model

    return load_model("factor_faces")


@pytest.fixture(scope="session")
def clip_folder(tmp_path_factory):
    """A tiny CLIP with random weights, and a tokenizer of single letters."""
    import torch
    from transformers import CLIPConfig, CLIPImageProcessor, CLIPModel, CLIPTokenizer

    folder = tmp_path_factory.mktemp("clip")
    letters = [*"abcdefghijklmnopqrstuvwxyz", *(f"{c}</w>" for c in "abcdefghijklmnopqrstuvwxyz")]
    vocabulary = {token: i for i, token in enumerate([*letters, "<|startoftext|>", "<|endoftext|>"])}
    (folder / "vocab.json").write_text(json.dumps(vocabulary))
    (folder / "merges.txt").write_text("#version: 0.2\n")
    CLIPTokenizer(str(folder / "vocab.json"), str(folder / "merges.txt")).save_pretrained(folder)
    text = {
        "vocab_size": len(vocabulary),
        "hidden_size": 16,
        "intermediate_size": 32,
        "num_hidden_layers": 2,
        "num_attention_heads": 2,
        "eos_token_id": vocabulary["<|endoftext|>"],
        "bos_token_id": vocabulary["<|startoftext|>"],
    }
    vision = {
        "hidden_size": 16,
        "intermediate_size": 32,
        "num_hidden_layers": 2,
        "num_attention_heads": 2,
        "image_size": 32,
        "patch_size": 8,
    }
    torch.manual_seed(0)
    CLIPModel(CLIPConfig(text_config=text, vision_config=vision, projection_dim=12)).save_pretrained(folder)
    CLIPImageProcessor(size={"shortest_edge": 32}, image_mean=[0.5] * 3, image_std=[0.25] * 3).save_pretrained(folder)
    return folder


@pytest.fixture(scope="session")
def published(tmp_path_factory):
    """``published(name)``: folder of a pipeline in that published architecture, narrowed, with random weights."""
    from published import save_published

    folders = {}

    def folder(name):
        if name not in folders:
            folders[name] = save_published(name, tmp_path_factory.mktemp("published") / name)
        return folders[name]

    return folder
