"""How much memory a computation takes, and what happens where there is too little."""

import logging
from types import SimpleNamespace

import psutil
import pytest
import torch

from diffgeo.errors import DeviceError, ValueRangeError
from diffgeo.jacobian import JacobianOperator, chunk_that_fits, memory, operator
from diffgeo.jacobian.memory import cpu_bytes, free_bytes, is_out_of_memory, most_that_fits, peak_bytes
from diffgeo.svd import Dense

F64 = torch.float64


def chain(length):
    x = torch.zeros(1000)
    for _ in range(length):
        x = x + 1


WEIGHTS = torch.ones(100, 100)


def test_weights_are_no_part_of_a_product():
    layers = torch.nn.Sequential(*(torch.nn.Linear(500, 500) for _ in range(4)))
    jacobian = JacobianOperator(layers, torch.zeros(500), max_bytes=5e5)  # the weights take 4 MB
    assert jacobian.columns_at_once > 4


@pytest.mark.parametrize(
    ("compute", "expected"),
    [
        (lambda: None, 0),
        (lambda: torch.zeros(1000), 4000),
        (lambda: chain(7), 8000),  # an old and a new one
        (lambda: [torch.zeros(1000) for _ in range(3)], 12_000),
        (lambda: torch.zeros(1000).view(10, 100)[2:], 4000),  # views own nothing
        (lambda: torch.zeros(1000).add_(1), 4000),
        (lambda: WEIGHTS.t(), 0),  # nor do those of what was there before
        (lambda: torch.nn.functional.linear(torch.ones(1, 100), WEIGHTS), 800),
        (lambda: WEIGHTS.t().contiguous(), 40_000),
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


def deep(x):
    """From few numbers to few, over ten layers of 400 kB, whose graph keeps each."""
    layer = x.repeat(1000)
    for _ in range(10):
        layer = (0.5 * layer).sin()
    return layer.reshape(1000, -1).sum(0)


def both_products(columns, f):
    jacobian = JacobianOperator(f, torch.ones(100), chunk_size=columns)
    v = torch.eye(100, columns)
    assert torch.allclose(jacobian @ v, jacobian.T @ v)  # f takes every number for itself
    return jacobian


@pytest.mark.parametrize(("fit", "mode", "at_once"), [(5.5, "copies", 5), (2.5, "one graph", 2)])
def test_products_stay_within_what_is_free_if_no_bound_is_told(fit, mode, at_once, monkeypatch):
    one, twelve = (peak_bytes(lambda k=k: both_products(k, deep)) for k in (1, 12))
    free = fit * one
    assert twelve > 2 * free
    monkeypatch.setattr(operator, "free_bytes", lambda _: free)
    found = []
    assert peak_bytes(lambda: found.append(both_products(12, deep))) <= free
    assert (found[0].mode, found[0].columns_at_once, found[0].chunk_size) == (mode, at_once, 12)


@pytest.mark.parametrize("known", [False, True], ids=["as it is measured", "by what was measured"])
def test_what_is_not_free_is_not_taken(known, monkeypatch):
    one, layer = peak_bytes(lambda: both_products(1, deep)), 400_000
    free = one / 3
    monkeypatch.setattr(operator, "free_bytes", lambda _: free)
    another = lambda x: deep(x)  # noqa: E731  # a map that nothing has measured
    jacobian = JacobianOperator(deep if known else another, torch.ones(100))

    def refused():
        with pytest.raises(DeviceError, match="cpu has too little memory for one product with J"):
            jacobian @ torch.ones(100)

    assert peak_bytes(refused) <= (layer if known else free + 1.01 * layer)
    assert jacobian.passes == 0


@pytest.mark.parametrize("known", [False, True], ids=["as it is measured", "by what was measured"])
def test_a_bound_that_is_too_low_is_named_and_not_the_device(known):
    jacobian = JacobianOperator(deep, torch.ones(100))
    jacobian @ torch.ones(100)
    another = lambda x: deep(x)  # noqa: E731  # a map that nothing has measured
    bounded = JacobianOperator(deep if known else another, torch.ones(100), max_bytes=2e6)
    with pytest.raises(DeviceError, match=r"^max_memory=0\.002 GB is too little .*GB\); raise max_memory"):
        bounded @ torch.ones(100)


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
    for bound in (None, 1e9):  # the device is at fault under a bound, too
        with pytest.raises(DeviceError, match="cpu has too little memory for one product with J"):
            JacobianOperator(crowded, torch.zeros(2, dtype=F64), max_bytes=bound).rmv(torch.ones(2, 3, dtype=F64))


def test_other_errors_pass_through():
    crowded = Crowded(torch.ones(2, 2, dtype=F64), 0, RuntimeError("shape mismatch"))
    assert not is_out_of_memory(crowded.error)
    with pytest.raises(RuntimeError, match="shape mismatch"):
        JacobianOperator(crowded, torch.zeros(2, dtype=F64)).rmv(torch.ones(2, 3, dtype=F64))


@pytest.mark.parametrize(
    ("take", "itemsize"),
    [(lambda jacobian: jacobian.dense(), 4), (lambda jacobian: Dense().solve(jacobian, 2, tol=1e-4), 8)],
    ids=["dense", "decomposed"],
)
def test_the_whole_of_j_is_refused_before_it_is_begun_where_it_does_not_fit(take, itemsize, monkeypatch):
    matrix = torch.randn(300, 200, generator=torch.Generator().manual_seed(0))
    jacobian = JacobianOperator(lambda x: matrix @ x, torch.zeros(200))
    jacobian.mv(torch.zeros(200, 1))
    needed = 3 * matrix.numel() * itemsize
    assert 0.7 * needed < peak_bytes(lambda: take(jacobian)) < 1.1 * needed
    passes = jacobian.passes

    def begun():
        with pytest.raises(DeviceError, match=r"J, 300 x 200, .* for tensors; use svd=golub_kahan"):
            take(jacobian)

    monkeypatch.setattr(memory, "free_bytes", lambda _: needed - 1)
    assert peak_bytes(begun) == 0
    assert jacobian.passes == passes
    monkeypatch.setattr(memory, "free_bytes", lambda _: needed)
    take(jacobian)


GB = 10**9
V1, V2 = ("memory.limit_in_bytes", "memory.usage_in_bytes"), ("memory.max", "memory.current")
NO_LIMIT = 2**63 - 4096
"""What version 1 says then."""


def group(folder, names, limit, used, stat=""):
    """The files of a control group."""
    folder.mkdir(parents=True, exist_ok=True)
    for name, value in zip(names, (limit, used), strict=True):
        (folder / name).write_text(f"{value}\n")
    (folder / "memory.stat").write_text(stat or "cache 0\n")


def container_2(root):
    """Version 2 as a container sees it: its own group is the root."""
    group(root, V2, 8 * GB, 3 * GB, f"anon 1\ninactive_file {GB}\n")
    return "0::/\n"


def job_2(root):
    """Version 2 in a batch job: the step has no limit, the job around it has."""
    group(root / "slurm/job/step", V2, "max", 2 * GB)
    group(root / "slurm/job", V2, 8 * GB, 2 * GB)
    group(root / "slurm", V2, 100 * GB, 2 * GB)
    return "0::/slurm/job/step\n"


def container_1(root):
    """Version 1 without a namespace: the process is told the host's path, which the container does not have."""
    group(root / "memory", V1, 8 * GB, 3 * GB, f"inactive_file 5\ntotal_inactive_file {GB}\n")
    return "9:cpu,cpuacct:/docker/a1\n5:memory:/docker/a1\n1:name=systemd:/docker/a1\n0::/docker/a1\n"


def job_1(root):
    group(root / "memory", V1, NO_LIMIT, 9 * GB)
    group(root / "memory/job", V1, 8 * GB, 2 * GB)
    return "5:hugetlb,memory:/job\n"


@pytest.mark.parametrize("tree", [container_2, job_2, container_1, job_1])
def test_a_control_group_bounds_the_memory_of_the_machine(tree, tmp_path):
    told = tmp_path / "cgroup"
    told.write_text(tree(tmp_path / "fs"))
    assert memory._group_leaves(told, tmp_path / "fs") == 6 * GB


@pytest.mark.parametrize("lines", ["0::/\n", "5:memory:/a\n", "", "nonsense\n", None])
def test_without_a_limit_the_machine_s_memory_counts(lines, tmp_path):
    if lines is not None:
        (tmp_path / "cgroup").write_text(lines)
        group(tmp_path / "fs", V2, "max", 5)
    assert memory._group_leaves(tmp_path / "cgroup", tmp_path / "fs") == float("inf")


def test_what_is_free_is_the_least_of_machine_control_group_and_process(monkeypatch):
    bounds = {"machine": 30.0, "group": 20.0, "process": 10.0}
    monkeypatch.setattr(psutil, "virtual_memory", lambda: SimpleNamespace(available=bounds["machine"]))
    monkeypatch.setattr(memory, "_group_leaves", lambda: bounds["group"])
    monkeypatch.setattr(memory, "_process_leaves", lambda: bounds["process"])
    for one in bounds:
        assert cpu_bytes() == min(bounds.values())
        assert free_bytes(torch.device("cpu")) == 0.8 * min(bounds.values())
        bounds[min(bounds, key=bounds.get)] = 100.0 + len(one)
