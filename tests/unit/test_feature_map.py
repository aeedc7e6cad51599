import pytest
import torch
from torch import nn
from torch.nn.attention import SDPBackend, sdpa_kernel

from diffgeo.diffusion.block_listing import list_blocks
from diffgeo.diffusion.feature_map import FeatureMap, block_names
from diffgeo.errors import ConfigError, ShapeError
from diffgeo.jacobian import JacobianOperator

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


def feature_map(unet, block="mid", pool=None, t=500, tap="output"):
    return FeatureMap(lambda x: unet(x, t), unet, block, pool, tap)


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


def seen_at(unet, x, path):
    """Inputs and output of a module in a full pass."""
    seen = []
    module = unet.get_submodule(path)
    handle = module.register_forward_hook(lambda _module, inputs, output: seen.append((inputs, output)))
    unet(x, 500)
    handle.remove()
    return seen[0]


def test_a_path_reaches_any_module(unet, x):
    path = "down_blocks.1.resnets.0"
    _, output = seen_at(unet, x, path)
    assert torch.equal(feature_map(unet, path)(x), output)
    block = "mid_block.resnets.1"
    inputs, output = seen_at(unet, x, block)
    torch.testing.assert_close(feature_map(unet, block, tap="update")(x), output - inputs[0])
    torch.testing.assert_close(feature_map(unet, block, "sum", tap="update")(x), (output - inputs[0]).sum(dim=(2, 3)))


def test_tokens_within_a_unet_are_laid_out_as_the_map_of_their_level(tiny_unet, x):
    unet = tiny_unet()
    path = "mid_block.attentions.0.to_q"
    _, tokens = seen_at(unet, x, path)
    assert tokens.shape == (2, 16, 16)
    assert torch.equal(feature_map(unet, path)(x), tokens.transpose(1, 2).unflatten(2, (4, 4)))


def test_normalised_has_mean_zero_and_variance_one_over_channels(unet, x):
    h = feature_map(unet, tap="normalised")(x)
    torch.testing.assert_close(h.mean(dim=1), torch.zeros_like(h[:, 0]), atol=1e-5, rtol=0)
    torch.testing.assert_close(h.square().mean(dim=1), torch.ones_like(h[:, 0]), atol=1e-3, rtol=0)


@pytest.mark.parametrize("tap", ["update", "normalised"])
def test_the_jacobian_of_a_tap_is_its_dense_derivative(tiny_model64, tap):
    f = tiny_model64.feature_map(500, "mid", tap=tap)
    x = torch.randn(3, 8, 8, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    with sdpa_kernel(SDPBackend.MATH):
        dense = torch.func.jacrev(lambda x: f(x).flatten())(x).flatten(1)
    jacobian = JacobianOperator(f, x)
    torch.testing.assert_close(jacobian.mv(torch.eye(x.numel(), dtype=x.dtype)), dense, rtol=1e-9, atol=1e-10)
    w = torch.randn(len(dense), 2, dtype=x.dtype, generator=torch.Generator().manual_seed(1))
    torch.testing.assert_close(jacobian.rmv(w), dense.T @ w, rtol=1e-9, atol=1e-10)


@pytest.mark.parametrize("path", ["mid_block.attentions.0.to_q", "mid_block.resnets.0.norm1"])
def test_a_module_that_adds_nothing_has_no_update(tiny_unet, path):
    with pytest.raises(ConfigError, match=r"adds nothing to what it is given; take feature\.tap=output"):
        feature_map(tiny_unet(), path, tap="update")


def test_an_attention_that_adds_its_output_has_one(tiny_unet, x):
    """That of a U-Net on pixels."""
    unet = tiny_unet()
    inputs, output = seen_at(unet, x, "mid_block.attentions.0")
    expected = output - inputs[0]
    torch.testing.assert_close(feature_map(unet, "mid_block.attentions.0", tap="update")(x), expected)


def test_a_block_of_another_shape_than_its_input_has_no_update(unet, x):
    with pytest.raises(ConfigError, match=r"takes \(8, 8, 8\) and returns \(8, 4, 4\), so it has no update"):
        feature_map(unet, "down.0", tap="update")(x)


def test_an_output_without_a_map_is_refused(unet, x):
    with pytest.raises(ConfigError, match=r"block 'time_embedding' returns \(2, 32\).*holds no image tokens"):
        feature_map(unet, "time_embedding")(x)


def test_an_unknown_tap_is_refused(unet):
    with pytest.raises(ConfigError, match=r"feature\.tap is 'input'; allowed are output, update, normalised"):
        feature_map(unet, tap="input")


def test_blocks_are_listed_with_shape_and_a_rising_share_of_the_network(tiny_model):
    found = list_blocks(tiny_model)
    assert [one.name for one in found] == BLOCKS
    x = torch.zeros(1, 3, 8, 8)
    assert [one.shape for one in found] == [tuple(tiny_model.feature_map(5, name)(x).shape[1:]) for name in BLOCKS]
    shares = [one.share for one in found]
    assert shares == sorted(shares)
    assert 0 < shares[0] < shares[-1] < 1
