import pytest
import torch
import torch.nn.functional as F
from scipy.sparse.linalg import svds
from torch.utils.checkpoint import checkpoint

from diffgeo.errors import DeviceError, ShapeError, ValueRangeError
from diffgeo.jacobian import JacobianOperator, operator
from diffgeo.jacobian.measured import measured_of

F64 = torch.float64


def analytic(x):
    """R^5 -> R^(2x2), nonlinear, with a Jacobian that differs in every entry."""
    return torch.stack([x[0] * x[1].sin(), x[2].exp() - x[3] ** 2, x[4] * x[0] * x[3], x.square().sum()]).reshape(2, 2)


def jacobian_by_autograd(f, x):
    j = torch.autograd.functional.jacobian(f, x)
    return j.reshape(-1, x.numel())


def bottleneck_of_full_pass(model, pool):
    """h by a plain forward hook in an ordinary, complete forward pass."""

    def f(x):
        seen = []
        handle = model.unet.mid_block.register_forward_hook(lambda m, i, output: seen.append(output))
        model.unet(x[None], 300)
        handle.remove()
        return seen[0][0].sum(dim=(-2, -1)) if pool else seen[0][0]

    return f


@pytest.fixture
def x64():
    return torch.randn(3, 8, 8, generator=torch.Generator().manual_seed(1), dtype=F64)


def test_analytic_map_matches_its_hand_written_jacobian():
    x = torch.tensor([0.3, -1.2, 0.5, 2.0, -0.7], dtype=F64)
    a, b, c, d, e = x.tolist()
    by_hand = torch.tensor(
        [
            [torch.tensor(b, dtype=F64).sin(), a * torch.tensor(b, dtype=F64).cos(), 0, 0, 0],
            [0, 0, torch.tensor(c, dtype=F64).exp(), -2 * d, 0],
            [e * d, 0, 0, e * a, a * d],
            [2 * a, 2 * b, 2 * c, 2 * d, 2 * e],
        ],
        dtype=F64,
    )
    jacobian = JacobianOperator(analytic, x)
    assert jacobian.shape == (4, 5)
    torch.testing.assert_close(jacobian.dense(), by_hand, rtol=1e-14, atol=1e-14)
    torch.testing.assert_close(jacobian.mv(torch.eye(5, dtype=F64)), by_hand, rtol=1e-14, atol=1e-14)


@pytest.mark.parametrize("forward", [True, False, None])
@pytest.mark.parametrize("pool", [None, "sum"])
def test_unet_jacobian_matches_autograd_by_both_sides(tiny_model64, x64, pool, forward):
    expected = jacobian_by_autograd(bottleneck_of_full_pass(tiny_model64, pool), x64)
    jacobian = JacobianOperator(tiny_model64.feature_map(300, pool=pool), x64, forward=forward)
    m, d = jacobian.shape
    assert (m, d) == expected.shape
    assert expected.norm() > 1e-3
    torch.testing.assert_close(jacobian.mv(torch.eye(d, dtype=F64)), expected, rtol=1e-10, atol=1e-12)
    torch.testing.assert_close(jacobian.rmv(torch.eye(m, dtype=F64)).T, expected, rtol=1e-10, atol=1e-12)
    torch.testing.assert_close(jacobian.dense(), expected, rtol=1e-10, atol=1e-12)


def test_copies_are_taken_while_they_are_small(monkeypatch):
    bytes_of_a_copy = []

    def mode(limit, **how):
        monkeypatch.setattr(operator, "COPIES_BYTES", limit)
        jacobian = JacobianOperator(torch.square, torch.ones(1000), **how)
        torch.testing.assert_close(jacobian @ torch.ones(1000), 2 * torch.ones(1000))
        found = measured_of(torch.square)[None, (1000,), torch.float32, torch.device("cpu")]
        bytes_of_a_copy.append(found.graph + found.column)
        return jacobian.mode, jacobian.columns_at_once

    assert mode(1e9) == ("copies", 32)
    one = bytes_of_a_copy[0]
    assert one >= 3 * 4000
    assert mode(10.5 * one) == ("copies", 10)
    assert mode(3.5 * one) == ("one graph", 2)
    assert mode(3.5 * one, chunk_size=3) == ("copies", 3)
    assert mode(1e9, max_bytes=5.5 * one) == ("copies", 5)
    assert mode(1e9, max_bytes=2.5 * one) == ("one graph", 2)
    assert len(set(bytes_of_a_copy)) == 1


def test_the_mode_is_measured_by_what_f_takes_not_by_the_size_of_x():
    def hungry(x):
        return (x.sum() * torch.ones(20_000_000)).sin().sum()[None]

    assert JacobianOperator(torch.sin, torch.ones(40_000)).mode == "copies"
    assert JacobianOperator(hungry, torch.ones(100)).mode == "one graph"


def test_points_that_are_stacked_have_copies_too():
    points = torch.ones(3, 1, 1, 500)
    columns = torch.ones(points.numel(), 1)
    jacobian = JacobianOperator(torch.square, points, stacked=True)
    assert torch.equal(jacobian.mv(columns), 2 * columns)
    assert jacobian.mode == "copies"


class _Once(torch.autograd.Function):
    """x³ with a derivative by reverse mode and by forward mode, but no second one."""

    generate_vmap_rule = True

    @staticmethod
    def forward(x):
        return x**3

    @staticmethod
    def setup_context(ctx, inputs, output):
        ctx.save_for_backward(*inputs)
        ctx.save_for_forward(*inputs)

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx, u):
        return 3 * ctx.saved_tensors[0] ** 2 * u

    @staticmethod
    def jvp(ctx, v):
        return 3 * ctx.saved_tensors[0] ** 2 * v


def test_what_has_no_second_derivative_goes_forward_by_itself():
    jacobian = JacobianOperator(_Once.apply, 2 * torch.ones(3))
    assert torch.equal(jacobian.dense(), 12 * torch.eye(3))
    assert torch.equal(jacobian.mv(torch.eye(3)), 12 * torch.eye(3))
    assert jacobian.mode == "forward"
    with pytest.raises(RuntimeError, match="not have been used"):
        JacobianOperator(_Once.apply, torch.ones(3), forward=False).mv(torch.eye(3))


def test_a_map_that_holds_derivatives_goes_by_torchs_own_rules():
    """A score, say: the gradient of an energy with a group norm in it."""
    weight = torch.randn(4, generator=torch.Generator().manual_seed(0), dtype=F64)

    def score(x):
        return torch.func.grad(lambda x: torch.nn.functional.group_norm(x.reshape(1, 4, 2), 2, weight).pow(3).sum())(x)

    x = torch.randn(8, generator=torch.Generator().manual_seed(1), dtype=F64)
    jacobian = JacobianOperator(score, x)
    expected = torch.func.jacrev(score)(x)
    torch.testing.assert_close(jacobian.mv(torch.eye(8, dtype=F64)), expected, rtol=1e-10, atol=1e-12)
    torch.testing.assert_close(jacobian.rmv(torch.eye(8, dtype=F64)).T, expected, rtol=1e-10, atol=1e-12)
    assert jacobian.mode == "one graph by torch's rules"


def test_a_network_with_checkpoints_goes_by_torchs_own_rules():
    network = torch.nn.Sequential(torch.nn.Conv2d(2, 4, 3, padding=1), torch.nn.GroupNorm(2, 4), torch.nn.SiLU())
    network = network.double()

    def f(x):
        return checkpoint(network, x, use_reentrant=False)

    x = torch.randn(1, 2, 4, 4, generator=torch.Generator().manual_seed(1), dtype=F64)
    dense = jacobian_by_autograd(f, x)
    for forward in (None, False):
        jacobian = JacobianOperator(f, x, forward=forward)
        torch.testing.assert_close(jacobian @ torch.eye(32, dtype=F64), dense, rtol=1e-10, atol=1e-12)
        torch.testing.assert_close(jacobian.T @ torch.eye(64, dtype=F64), dense.T, rtol=1e-10, atol=1e-12)
        assert jacobian.mode == "one graph by torch's rules"


W = torch.randn(3, 2, 3, 3, generator=torch.Generator().manual_seed(2), dtype=F64)
TOKENS = torch.randn(1, 2, 16, generator=torch.Generator().manual_seed(3), dtype=F64)


def _masked(x):
    return (x.flatten(2) @ x.flatten(2).mT).sin()


LEAF = W.clone().requires_grad_()
MADE_FROM_X = {
    "weights and input": lambda x: F.conv2d(x, W * x.mean(), padding=1),
    "weights alone": lambda x: F.conv2d(x.new_ones(1, 2, 4, 4), W * x.mean() ** 2, padding=1),
    "two layers": lambda x: F.conv2d(F.conv2d(x, W[:2] * x.square().mean(), padding=1).sin(), W * x.mean(), padding=1),
    "demodulated weights": lambda x: F.conv2d(x, F.normalize(W * x.mean((2, 3)).view(1, 2, 1, 1), dim=(1, 2, 3))),
    "mask and tokens": lambda x: F.scaled_dot_product_attention(*[x.flatten(2)] * 3, attn_mask=_masked(x)),
    "mask alone": lambda x: F.scaled_dot_product_attention(*[TOKENS] * 3, attn_mask=_masked(x)),
    "a leaf that has a gradient": lambda x: F.conv2d(x.square(), LEAF, padding=1),
}


@pytest.mark.filterwarnings("ignore:`torch.jit.script` is deprecated")
@pytest.mark.parametrize("forward", [None, True, False])
@pytest.mark.parametrize("f", MADE_FROM_X.values(), ids=MADE_FROM_X)
@pytest.mark.parametrize("limit", [1e9, 0], ids=["copies", "one graph"])
def test_weights_and_masks_may_be_made_from_x(f, forward, limit, monkeypatch):
    """As in StyleGAN2's layers, and in attention with a bias of pairs: our rules know no derivative by them."""
    monkeypatch.setattr(operator, "COPIES_BYTES", limit)
    x = torch.randn(1, 2, 4, 4, generator=torch.Generator().manual_seed(1), dtype=F64)
    dense = torch.autograd.functional.jacobian(f, x).reshape(-1, 32).detach()
    assert dense.norm() > 0.1
    jacobian = JacobianOperator(f, x, forward=forward)
    m, d = jacobian.shape
    torch.testing.assert_close(jacobian @ torch.eye(d, dtype=F64), dense, rtol=1e-10, atol=1e-12)
    torch.testing.assert_close(jacobian.T @ torch.eye(m, dtype=F64), dense.T, rtol=1e-10, atol=1e-12)


@pytest.mark.parametrize("limit", [1e9, 0], ids=["copies", "one graph"])
def test_matrix_products_and_scipy(limit, monkeypatch):
    monkeypatch.setattr(operator, "COPIES_BYTES", limit)
    x = torch.tensor([0.3, -1.2, 0.5, 2.0, -0.7], dtype=F64)
    jacobian = JacobianOperator(analytic, x)
    dense = jacobian_by_autograd(analytic, x)
    v, u = torch.ones(5, dtype=F64), torch.arange(12, dtype=F64).reshape(4, 3)
    torch.testing.assert_close(jacobian @ v, dense @ v)
    torch.testing.assert_close(jacobian.T @ u, dense.T @ u)
    torch.testing.assert_close(jacobian.T @ u[:, 0], dense.T @ u[:, 0])
    assert jacobian.T.shape == (5, 4)
    assert jacobian.T.T is jacobian
    as_scipy = jacobian.to_scipy()
    assert (as_scipy.shape, as_scipy.dtype) == ((4, 5), "float64")
    assert as_scipy @ v.numpy() == pytest.approx((dense @ v).numpy())
    assert as_scipy.T @ u.numpy() == pytest.approx((dense.T @ u).numpy())
    transposed = jacobian.T.to_scipy()
    assert (transposed.shape, transposed.dtype) == ((5, 4), "float64")
    assert transposed @ u.numpy() == pytest.approx((dense.T @ u).numpy())
    assert transposed @ u[:, 0].numpy() == pytest.approx((dense.T @ u[:, 0]).numpy())
    assert transposed.T @ v.numpy() == pytest.approx((dense @ v).numpy())
    assert svds(as_scipy, k=2)[1] == pytest.approx(torch.linalg.svdvals(dense)[:2].flip(0).numpy())


@pytest.mark.parametrize("shape", [(5,), ()], ids=["a vector", "a number"])
@pytest.mark.parametrize("f", [torch.sin, lambda x: x.square().sum()], ids=["as many", "one"])
def test_products_of_every_shape(shape, f):
    """No columns, one vector, numpy's arrays, those laid out backwards; from and to a single number."""
    x = torch.linspace(0.3, 1.1, 5, dtype=F64).reshape(shape) if shape else torch.tensor(0.3, dtype=F64)
    jacobian = JacobianOperator(f, x)
    m, d = jacobian.shape
    dense = torch.autograd.functional.jacobian(f, x).reshape(m, d)
    v, u = torch.linspace(-1, 1, d + 1, dtype=F64)[1:], torch.ones(m, dtype=F64)
    torch.testing.assert_close(jacobian @ v, dense @ v)
    torch.testing.assert_close(jacobian @ v.numpy(), dense @ v)
    torch.testing.assert_close(jacobian.T @ u, dense.T @ u)
    for empty, rows in ((jacobian @ torch.zeros(d, 0), m), (jacobian.T @ torch.zeros(m, 0), d)):
        assert (empty.shape, empty.dtype) == ((rows, 0), F64)
    backwards = v.numpy()[::-1]
    assert jacobian.to_scipy() @ backwards == pytest.approx(dense.numpy() @ backwards)
    torch.testing.assert_close(jacobian.dense(), dense)


@pytest.mark.parametrize(
    ("columns", "error"), [(torch.tensor(1.0), "a vector or columns"), (torch.ones(5, 1, 1), "a vector or columns")]
)
def test_what_is_neither_a_vector_nor_columns_is_refused(columns, error):
    jacobian = JacobianOperator(torch.sin, torch.ones(5))
    for product in (jacobian, jacobian.T):
        with pytest.raises(ShapeError, match=error):
            product @ columns


def test_complex_numbers_are_refused_by_the_operator_of_scipy():
    with pytest.raises(ValueRangeError, match="J is real"):
        JacobianOperator(torch.sin, torch.ones(5)).to_scipy() @ (1j * torch.ones(5).numpy())


@pytest.mark.parametrize(
    ("f", "error", "words"),
    [
        (lambda x: {"logits": x}, ShapeError, "f returns a dict; return one tensor"),
        (lambda x: (x, x), ShapeError, "f returns a tuple"),
        (lambda x: torch.fft.fft(x), ValueRangeError, "complex64"),
        (lambda x: x.round().long(), ValueRangeError, "int64"),
    ],
)
def test_what_f_returns_is_one_real_tensor(f, error, words):
    with pytest.raises(error, match=words):
        JacobianOperator(f, torch.ones(5))


def test_a_map_without_gradients_is_told(caplog):
    jacobian = JacobianOperator(torch.no_grad()(torch.sin), torch.ones(5))
    assert torch.equal(jacobian @ torch.ones(5), torch.zeros(5))
    assert "does not depend on x" in caplog.text
    assert "torch.no_grad" in caplog.text


def test_a_map_that_has_no_room_is_a_device_error():
    def f(x):
        raise torch.OutOfMemoryError("CUDA out of memory. Tried much")

    with pytest.raises(DeviceError, match=r"too little memory for f\(x\)"):
        JacobianOperator(f, torch.ones(5))


def test_that_a_map_cannot_be_vectorised_is_found_once():
    tried = []

    def folded(x):
        tried.append(1)
        return x if x.sum() > 0 else -x

    JacobianOperator(folded, -torch.ones(5)).mv(torch.eye(5))
    first = len(tried)
    again = JacobianOperator(folded, -2 * torch.ones(5))
    again.mv(torch.eye(5))
    assert again.mode == "one graph"
    assert len(tried) - first == 2, "h and one graph: nothing is measured, and no copies are tried"


@pytest.mark.parametrize("columns", [5, 4, 3, 2, 9])
def test_a_graph_serves_blocks_of_nearly_its_width(tiny_model64, x64, columns):
    jacobian = JacobianOperator(tiny_model64.feature_map(300), x64)
    v = torch.randn(192, 9, generator=torch.Generator().manual_seed(3), dtype=F64)
    whole = JacobianOperator(tiny_model64.feature_map(300), x64, forward=True).mv(v)
    jacobian.mv(v[:, :5])
    torch.testing.assert_close(jacobian.mv(v[:, :columns]), whole[:, :columns], rtol=1e-11, atol=1e-13)
    u = torch.randn(len(whole), columns, generator=torch.Generator().manual_seed(4), dtype=F64)
    pulled = JacobianOperator(tiny_model64.feature_map(300), x64, forward=True).rmv(u)
    torch.testing.assert_close(jacobian.rmv(u), pulled, rtol=1e-11, atol=1e-13)
    assert jacobian._chosen().width == (columns if columns in (2, 9) else 5)
    assert jacobian.passes == 5 + 2 * columns


@pytest.mark.parametrize("forward", [None, False])
def test_maps_that_look_at_x_go_over_one_graph(forward):
    def folded(x):
        return x if x.sum() > 0 else -x

    jacobian = JacobianOperator(folded, -torch.ones(5), forward=forward)
    assert torch.equal(jacobian.mv(torch.eye(5)), -torch.eye(5))
    assert torch.equal(jacobian.rmv(torch.eye(5)), -torch.eye(5))
    assert jacobian.mode == "one graph"
    assert jacobian.passes == 10


def test_an_error_of_f_itself_passes_through():
    def broken(x):
        return x @ torch.ones(3, 3) if x.requires_grad else x

    with pytest.raises(RuntimeError, match="shapes cannot be multiplied"):
        JacobianOperator(broken, torch.ones(5)).mv(torch.eye(5))


def test_chunks_are_of_nearly_one_size():
    seen = []
    jacobian = JacobianOperator(torch.square, torch.ones(4), chunk_size=32, on_pass=seen.append)
    jacobian.mv(torch.ones(4, 50))
    jacobian.rmv(torch.ones(4, 67))
    assert seen == [25, 25, 23, 22, 22]


def test_a_constant_map_has_the_jacobian_zero():
    for f in (lambda x: torch.ones(3), lambda x: 0 * x[:3] + 1):
        jacobian = JacobianOperator(f, torch.ones(5), forward=False)
        assert torch.equal(jacobian.mv(torch.ones(5, 2)), torch.zeros(3, 2))
        assert torch.equal(jacobian.rmv(torch.ones(3, 2)), torch.zeros(5, 2))


def test_unet_jacobian_matches_finite_differences(tiny_model64, x64):
    f = tiny_model64.feature_map(300, pool="sum")
    v = torch.randn(192, generator=torch.Generator().manual_seed(2), dtype=F64)
    step = 1e-5 * v.reshape(x64.shape)
    difference = (f(x64 + step) - f(x64 - step)) / 2e-5
    product = JacobianOperator(f, x64).mv(v[:, None])[:, 0]
    torch.testing.assert_close(product, difference, rtol=1e-6, atol=1e-8)


def test_h_is_the_value_of_f(tiny_model64, x64):
    f = tiny_model64.feature_map(300)
    torch.testing.assert_close(JacobianOperator(f, x64).h, f(x64), rtol=1e-12, atol=1e-13)


def test_a_leading_batch_dimension_of_one_changes_nothing(tiny_model64, x64):
    f = tiny_model64.feature_map(300, pool="sum")
    torch.testing.assert_close(
        JacobianOperator(f, x64[None]).dense(), JacobianOperator(f, x64).dense(), rtol=1e-12, atol=1e-14
    )


@pytest.mark.parametrize("chunk_size", [1, 3, 7, 100])
def test_chunk_size_changes_no_result(tiny_model64, x64, chunk_size):
    f = tiny_model64.feature_map(300)
    generator = torch.Generator().manual_seed(3)
    v, u = torch.randn(192, 7, generator=generator, dtype=F64), torch.randn(256, 7, generator=generator, dtype=F64)
    whole, chunked = JacobianOperator(f, x64), JacobianOperator(f, x64, chunk_size=chunk_size)
    torch.testing.assert_close(chunked.mv(v), whole.mv(v), rtol=1e-11, atol=1e-13)
    torch.testing.assert_close(chunked.rmv(u), whole.rmv(u), rtol=1e-11, atol=1e-13)
    assert chunked.passes == whole.passes == 14


def test_every_column_is_one_pass():
    jacobian = JacobianOperator(analytic, torch.ones(5, dtype=F64), chunk_size=2)
    assert jacobian.passes == 0
    jacobian.mv(torch.ones(5, 3, dtype=F64))
    assert jacobian.passes == 3
    jacobian.rmv(torch.ones(4, 6, dtype=F64))
    assert jacobian.passes == 9
    jacobian.dense()
    assert jacobian.passes == 9 + 4  # the smaller side


def test_dense_takes_the_cheaper_side_of_a_tall_map():
    a = torch.randn(9, 4, generator=torch.Generator().manual_seed(0), dtype=F64)
    jacobian = JacobianOperator(lambda x: a @ x, torch.zeros(4, dtype=F64))
    torch.testing.assert_close(jacobian.dense(), a)
    assert jacobian.passes == 4


def test_float32_agrees_with_float64_to_its_precision(tiny_unet, tiny_model, tiny_model64, x64):
    low = JacobianOperator(tiny_model.feature_map(300), x64.float()).dense()
    high = JacobianOperator(tiny_model64.feature_map(300), x64).dense()
    error = (low.double() - high).norm() / high.norm()
    assert low.dtype == torch.float32
    assert 0 < error < 1e-5


@pytest.mark.parametrize("dtype", [torch.float32, F64])
def test_operators_say_their_dtype_and_device(dtype, device):
    jacobian = JacobianOperator(analytic, torch.ones(5, dtype=dtype, device=device))
    for one, rows in ((jacobian, 5), (jacobian.T, 4)):
        product = one @ torch.ones(rows)
        assert (one.dtype, one.device) == (product.dtype, product.device)
        assert (one.dtype, one.device.type) == (dtype, device)
        assert one.to_scipy().dtype == str(dtype).removeprefix("torch.")


def test_products_come_in_the_dtype_of_x_whatever_the_columns_are():
    jacobian = JacobianOperator(analytic, torch.ones(5))
    assert jacobian.mv(torch.ones(5, 1, dtype=F64)).dtype == torch.float32
    assert jacobian.rmv(torch.ones(4, 1, dtype=F64)).dtype == torch.float32


def test_tf32_and_matmul_precision_are_restored():
    before = torch.get_float32_matmul_precision()
    try:
        torch.set_float32_matmul_precision("medium")
        JacobianOperator(analytic, torch.ones(5)).dense()
        assert torch.get_float32_matmul_precision() == "medium"
    finally:
        torch.set_float32_matmul_precision(before)


def test_the_network_collects_no_graph_over_products(tiny_model64, x64):
    jacobian = JacobianOperator(tiny_model64.feature_map(300, pool="sum"), x64.requires_grad_())
    assert not jacobian.dense().requires_grad
    assert not jacobian.h.requires_grad


def test_several_points_are_refused():
    with pytest.raises(ShapeError, match=r"\(2, 3, 8, 8\).*one point"):
        JacobianOperator(lambda x: x, torch.zeros(2, 3, 8, 8))


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.int64])
def test_other_than_single_or_double_precision_is_refused(dtype):
    with pytest.raises(ValueRangeError, match="float32 or float64"):
        JacobianOperator(lambda x: x, torch.ones(3, dtype=dtype))


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_a_diverged_point_is_refused(value):
    with pytest.raises(ValueRangeError, match="NaN or infinity"):
        JacobianOperator(lambda x: x, torch.tensor([0.0, value]))


def test_chunk_size_below_one_is_refused():
    with pytest.raises(ValueRangeError, match="chunk_size is 0"):
        JacobianOperator(lambda x: x, torch.zeros(3), chunk_size=0)


@pytest.mark.parametrize("rows", [4, 6])
def test_columns_of_other_length_are_refused(rows):
    jacobian = JacobianOperator(analytic, torch.ones(5))
    with pytest.raises(ShapeError, match=rf"J V.*\(4, 5\).*\({rows}, 2\)"):
        jacobian.mv(torch.ones(rows, 2))
    with pytest.raises(ShapeError, match=r"J\^T U"):
        jacobian.rmv(torch.ones(rows + 10, 2))
    with pytest.raises(ShapeError):
        jacobian.mv(torch.ones(5))
    assert jacobian.passes == 0
