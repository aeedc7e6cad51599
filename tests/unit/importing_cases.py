"""Tiny networks of the original projects and how they are imported, for the tests of the import."""

import original_networks
import pytest
import torch

from diffgeo.errors import ModelError
from importing import Settings, import_checkpoint

TIMES = (0, 1, 357, 999)
LEAVES = ("weight", "bias")

P2 = {"mult": (1, 2, 2), "n": 1, "attention": {2}, "head_channels": 32, "resnet_steps": True, "scale_shift": True}
OPENAI = {
    "p2": P2 | {"out": 6},
    "guided": P2 | {"out": 6, "mult": (1, 2, 4), "n": 2, "attention": {2, 4}},
    "new_order": P2 | {"out": 6, "mult": (1, 2, 4), "attention": {1, 4}, "new_order": True},
    "resnet_steps_without_scale_shift": P2 | {"out": 3, "scale_shift": False, "attention": {1}},
    "improved": P2 | {"out": 6, "n": 3, "resnet_steps": False, "head_channels": None, "heads": 2, "attention": {2, 4}},
    "improved_lsun": P2
    | {"out": 6, "mult": (1, 1, 2), "n": 2, "resnet_steps": False, "scale_shift": False}
    | {"head_channels": None, "heads": 1, "attention": {1, 2}},
    "new_order_of_two_heads": P2
    | {"out": 3, "resnet_steps": False, "head_channels": None, "heads": 2, "new_order": True},
    "no_attention_but_the_middles": P2 | {"out": 3, "attention": set()},
    "two_levels": P2 | {"out": 6, "mult": (1, 1), "attention": {2}, "scale_shift": False},
    "one_level": P2 | {"out": 3, "mult": (1,), "attention": {1}},
    "grey": P2 | {"out": 2, "in_channels": 1},
}
DDPM = {
    "sdedit": {"mult": (1, 1, 2), "n": 2, "attention": {1}},
    "one_block": {"mult": (1, 2), "n": 1, "attention": {0, 1}},
    "no_attention": {"mult": (1, 2, 2), "n": 3, "attention": set()},
}


def noise(*shape, seed=0):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def network(kind, **options):
    """x, t → the original network's output, and its weights, which one pass has made."""
    weights, channels = original_networks.Weights(), options.pop("in_channels", 3)
    options = {"width": 32} | options

    def run(x, t):
        with torch.no_grad():
            return getattr(original_networks, kind)(weights, x, t, **options)

    run(torch.zeros(1, channels, 32, 32), 0)
    for key in weights.keys() & {f"{first}.{leaf}" for first in ("input_blocks.0.0", "conv_in") for leaf in LEAVES}:
        weights[key] *= 0.01  # the first norm then sees so small numbers that its ε tells
    return run, weights


def settings_for(options, **more):
    heads = {name: options.get(name) for name in ("heads", "head_channels")}
    return Settings(image_size=16, qkv="new" if options.get("new_order") else "legacy", **heads | more)


P2_SETTINGS = settings_for(P2)
DDPM_SETTINGS = Settings(image_size=16)


def assert_same(model, original, tolerance=1e-5):
    x = noise(2, *model.latent_shape)
    for t in TIMES:
        expected = original(x, t)
        assert expected.std() > 0.3  # nothing is compared where there is nothing
        assert (model.unet(x, t).sample - expected).abs().max() < tolerance


def refused(file, folder, settings=P2_SETTINGS, error=ModelError, **options):
    """The message with which an import is refused, nothing being left behind."""
    before = set(folder.parent.iterdir())
    with pytest.raises(error) as caught:
        import_checkpoint(file, folder, settings, **options)
    assert set(folder.parent.iterdir()) == before
    return str(caught.value)
