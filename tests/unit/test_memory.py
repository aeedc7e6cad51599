"""How much memory a computation takes, and what happens where there is too little."""

import logging

import pytest
import torch

from diffgeo.errors import DeviceError, ValueRangeError
from diffgeo.jacobian import JacobianOperator, chunk_that_fits
from diffgeo.jacobian.memory import is_out_of_memory, most_that_fits, peak_bytes

F64 = torch.float64


def chain(length):
    x = torch.zeros(1000)
    for _ in range(length):
        x = x + 1


@pytest.mark.parametrize(
    ("compute", "expected"),
    [
        (lambda: None, 0),
        (lambda: torch.zeros(1000), 4000),
        (lambda: chain(7), 8000),  # an old and a new one
        (lambda: [torch.zeros(1000) for _ in range(3)], 12_000),
        (lambda: torch.zeros(1000).view(10, 100)[2:], 4000),  # views own nothing
        (lambda: torch.zeros(1000).add_(1), 4000),
    ],
)
def test_peak_counts_what_is_alive_at_once(compute, expected):
    assert peak_bytes(compute) == expected


def test_peak_includes_what_autograd_saves():
    def exponentials(requires_grad):
        x = torch.zeros(1000, requires_grad=requires_grad)
        for _ in range(6):
            x = x.exp()

    assert peak_bytes(lambda: exponentials(False)) == 8000
    assert peak_bytes(lambda: exponentials(True)) == 28_000


ROWS = [(4000, 32, 1), (11_999, 32, 2), (40_000, 32, 10), (1e9, 32, 32)]


@pytest.mark.parametrize(("limit", "most", "expected"), ROWS)
def test_the_largest_number_that_fits(limit, most, expected):
    assert most_that_fits(lambda k: torch.zeros(k, 1000), limit, most, what="a row") == expected


def test_too_little_for_one_is_refused_with_what_it_takes():
    with pytest.raises(ValueRangeError, match=r"max_memory=0\.001 GB is too little, a row takes 0\.004 GB; raise"):
        most_that_fits(lambda k: torch.zeros(k, 10**6), 1e6, 8, what="a row")


def test_chunks_of_a_network_stay_within_the_limit(tiny_model):
    f, x = tiny_model.feature_map(500), torch.zeros(3, 8, 8)

    def products(chunk):
        jacobian = JacobianOperator(f, x, chunk_size=chunk)
        jacobian.mv(torch.zeros(jacobian.shape[1], chunk))
        jacobian.rmv(torch.zeros(jacobian.shape[0], chunk))

    one, eight = peak_bytes(lambda: products(1)), peak_bytes(lambda: products(8))
    assert one < eight < 9 * one
    chunk = chunk_that_fits(f, x, eight)
    assert chunk == chunk_that_fits(f, x, eight), "the same every time"
    assert 4 <= chunk <= 12
    assert peak_bytes(lambda: products(chunk)) <= 1.1 * eight
    assert chunk_that_fits(f, x, 1e12, most=20) == 20
    with pytest.raises(ValueRangeError, match="one column of J"):
        chunk_that_fits(f, x, one / 2)


class Crowded:
    """A map on a device that holds ``room`` columns at once."""

    def __init__(self, matrix, room, error):
        self.matrix, self.room, self.error, self.columns = matrix, room, error, 1

    def __call__(self, x):
        return _Crowding.apply(x, self)


class _Crowding(torch.autograd.Function):
    generate_vmap_rule = False

    @staticmethod
    def forward(x, place):
        return place.matrix @ x

    @staticmethod
    def setup_context(ctx, inputs, output):
        ctx.place = inputs[1]

    @staticmethod
    def backward(ctx, u):
        return _Pull.apply(u, ctx.place), None


class _Pull(torch.autograd.Function):
    @staticmethod
    def forward(u, place):
        return place.matrix.T @ u

    @staticmethod
    def setup_context(ctx, inputs, output):
        pass

    @staticmethod
    def vmap(info, in_dims, u, place):
        if info.batch_size > place.room:
            raise place.error
        return u @ place.matrix, 0


@pytest.mark.parametrize(
    "error",
    [
        torch.OutOfMemoryError("CUDA out of memory"),
        RuntimeError("[enforce fail] DefaultCPUAllocator: can't allocate memory: you tried to allocate 9 bytes"),
        MemoryError("out"),
    ],
)
def test_out_of_memory_halves_the_chunk_and_goes_on(error, caplog):
    matrix = torch.randn(6, 5, dtype=F64, generator=torch.Generator().manual_seed(0))
    jacobian = JacobianOperator(Crowded(matrix, 3, error), torch.zeros(5, dtype=F64), chunk_size=16)
    u = torch.randn(6, 11, dtype=F64, generator=torch.Generator().manual_seed(1))
    with caplog.at_level(logging.WARNING):
        torch.testing.assert_close(jacobian.rmv(u), matrix.T @ u)
    assert (jacobian.chunk_size, jacobian.passes) == (2, 11)
    assert [record.getMessage() for record in caplog.records] == [
        "out of memory with 11 columns; going on with 5 at once",
        "out of memory with 4 columns; going on with 2 at once",
    ]


def test_no_room_for_one_column_is_a_device_error():
    matrix = torch.ones(2, 2, dtype=F64)
    crowded = Crowded(matrix, 0, torch.OutOfMemoryError("CUDA out of memory. Tried much"))
    with pytest.raises(DeviceError, match="too little memory for one product with J"):
        JacobianOperator(crowded, torch.zeros(2, dtype=F64)).rmv(torch.ones(2, 3, dtype=F64))


def test_other_errors_pass_through():
    crowded = Crowded(torch.ones(2, 2, dtype=F64), 0, RuntimeError("shape mismatch"))
    assert not is_out_of_memory(crowded.error)
    with pytest.raises(RuntimeError, match="shape mismatch"):
        JacobianOperator(crowded, torch.zeros(2, dtype=F64)).rmv(torch.ones(2, 3, dtype=F64))
