"""Compiled products are those of eager mode."""

import gc

import pytest
import torch

from diffgeo import compiled
from diffgeo.jacobian import JacobianOperator
from diffgeo.svd import local_basis


@pytest.fixture
def graphs(monkeypatch):
    """Graphs as they are traced; the compiler, which takes minutes, is left out."""
    made = []

    def note(graph):
        made.append(graph)
        return graph

    monkeypatch.setattr(torch, "compile", note)
    return made


def columns(rows, k):
    return torch.randn(rows, k, generator=torch.Generator().manual_seed(k), dtype=torch.float64)


def test_traced_products_are_those_of_the_dense_jacobian(tiny_model64, graphs):
    f, x = tiny_model64.feature_map(500), torch.randn(3, 8, 8, dtype=torch.float64, generator=torch.Generator())
    dense, traced = JacobianOperator(f, x).dense(), JacobianOperator(f, x, compiled=True, chunk_size=4)
    v, u = columns(dense.shape[1], 7), columns(dense.shape[0], 7)
    torch.testing.assert_close(traced.mv(v), dense @ v)
    torch.testing.assert_close(traced.rmv(u), dense.T @ u)
    assert traced.passes == 14
    assert len(graphs) == 2, "chunks of 4 and 3 share a graph"
    elsewhere = JacobianOperator(f, x + 1, compiled=True, chunk_size=4)
    torch.testing.assert_close(elsewhere.mv(v), JacobianOperator(f, x + 1).mv(v))
    assert len(graphs) == 2, "another point takes the same graph"


def test_graphs_go_with_their_map(tiny_model64, graphs):
    x = torch.zeros(3, 8, 8, dtype=torch.float64)
    before = len(compiled._GRAPHS)
    f = tiny_model64.feature_map(500)
    JacobianOperator(f, x, compiled=True).mv(columns(x.numel(), 1))
    assert len(compiled._GRAPHS) == before + 1
    del f
    graphs.clear()
    gc.collect()
    assert len(compiled._GRAPHS) == before


@pytest.mark.slow
def test_the_compiler_changes_rounding_alone():
    generator = torch.Generator().manual_seed(0)
    a, b = torch.randn(40, 30, generator=generator), torch.randn(50, 40, generator=generator) / 6

    def f(x):
        return (b @ torch.tanh(a @ x)).sin()

    x, options = torch.randn(30, generator=generator) / 5, {"rank": 3, "tol": 1e-5, "block_size": 2}
    eager, quick = local_basis(f, x, **options), local_basis(f, x, **options, compiled=True)
    torch.testing.assert_close(quick.s, eager.s, rtol=1e-5, atol=0)
    torch.testing.assert_close(quick.V, eager.V, rtol=0, atol=1e-3)
    assert quick.certificate.converged
