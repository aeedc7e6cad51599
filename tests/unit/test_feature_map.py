import pytest
import torch
from torch import nn

from diffgeo.diffusion.feature_map import FeatureMap, block_names
from diffgeo.errors import ConfigError, ShapeError

BLOCKS = ["down.0", "down.1", "mid", "up.0", "up.1"]


def module_of(unet, name):
    if name == "mid":
        return unet.mid_block
    side, index = name.split(".")
    return (unet.down_blocks if side == "down" else unet.up_blocks)[int(index)]


def hooks_of(unet):
    return {name: len(module._forward_hooks) for name, module in unet.named_modules()}


@pytest.fixture
def x():
    return torch.randn(2, 3, 8, 8, generator=torch.Generator().manual_seed(0))


@pytest.fixture(params=[True, False], ids=["attention", "no attention"])
def unet(request, tiny_unet):
    return tiny_unet(attention=request.param)


def feature_map(unet, block="mid", pool=None, t=500):
    return FeatureMap(lambda x: unet(x, t), unet, block, pool)


@pytest.mark.parametrize("block", BLOCKS)
def test_every_block_gives_what_a_plain_hook_sees_in_a_full_pass(unet, x, block):
    seen = []
    handle = module_of(unet, block).register_forward_hook(lambda m, i, output: seen.append(output))
    unet(x, 500)
    handle.remove()
    expected = seen[0][0] if isinstance(seen[0], tuple) else seen[0]
    assert torch.equal(feature_map(unet, block)(x), expected)


def test_block_names_are_in_the_order_of_the_forward_pass(unet, x):
    order = []
    for name in block_names(unet):
        module_of(unet, name).register_forward_hook(lambda m, i, o, name=name: order.append(name))
    unet(x, 500)
    assert block_names(unet) == BLOCKS == order


@pytest.mark.parametrize("block", BLOCKS)
def test_blocks_after_the_chosen_one_do_not_run(unet, x, block):
    entered = []
    for name in [*BLOCKS, "conv_out"]:
        module = unet.conv_out if name == "conv_out" else module_of(unet, name)
        module.register_forward_pre_hook(lambda m, i, name=name: entered.append(name))
    feature_map(unet, block)(x)
    assert entered == BLOCKS[: BLOCKS.index(block) + 1]


def test_pooling_sums_over_space_alone(unet, x):
    whole, pooled = feature_map(unet)(x), feature_map(unet, pool="sum")(x)
    assert pooled.shape == (2, 16)
    torch.testing.assert_close(pooled, torch.einsum("bchw->bc", whole))


def test_one_latent_is_a_batch_of_one(unet, x):
    for pool in (None, "sum"):
        f = feature_map(unet, pool=pool)
        assert torch.equal(f(x[1]), f(x[1:])[0])


def test_timestep_reaches_the_network(unet, x):
    assert not torch.allclose(feature_map(unet, t=10)(x), feature_map(unet, t=900)(x))


def test_the_model_binds_the_timestep(tiny_model, x):
    assert torch.equal(tiny_model.feature_map(123)(x), feature_map(tiny_model.unet, t=123)(x))


def test_no_hook_stays_after_a_call(unet, x):
    before = hooks_of(unet)
    feature_map(unet)(x)
    assert hooks_of(unet) == before


def test_no_hook_stays_after_a_failed_pass(unet, x):
    before = hooks_of(unet)
    with pytest.raises(RuntimeError):
        feature_map(unet)(x[:, :2])  # two channels instead of three
    assert hooks_of(unet) == before
    assert unet(x, 500).sample.shape == x.shape  # a stray hook would leave the network here


def test_a_pass_that_never_reaches_the_block_is_an_error_and_leaves_no_hook(unet, x):
    before = hooks_of(unet)
    with pytest.raises(ConfigError, match=r"never ran block 'mid'.*feature\.block"):
        FeatureMap(lambda x: x, unet)(x)
    assert hooks_of(unet) == before


@pytest.mark.parametrize("block", ["middle", "down.2", "up.-1", "down", "", "mid.0"])
def test_an_unknown_block_names_those_there_are(unet, block):
    with pytest.raises(ConfigError, match=r"lacks; it has down\.0, down\.1, mid, up\.0, up\.1"):
        feature_map(unet, block)


def test_a_unet_without_middle_block_has_none():
    network = nn.Module()
    network.down_blocks = nn.ModuleList([nn.Identity()])
    assert block_names(network) == ["down.0"]
    with pytest.raises(ConfigError, match=r"it has down\.0"):
        FeatureMap(network, network)


def test_unknown_pooling_is_refused(unet):
    with pytest.raises(ConfigError, match=r"feature\.pool is 'mean'"):
        feature_map(unet, pool="mean")


@pytest.mark.parametrize("shape", [(8, 8), (1, 1, 3, 8, 8)])
def test_other_than_three_or_four_dimensions_are_refused(unet, shape):
    with pytest.raises(ShapeError, match=r"expected \(B, C, H, W\) or \(C, H, W\)"):
        feature_map(unet)(torch.zeros(shape))
