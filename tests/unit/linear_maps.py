"""Maps with known singular values, and a truthful counter of products."""

import torch

from diffgeo.jacobian import JacobianOperator


def orthonormal(rows, columns, generator):
    return torch.linalg.qr(torch.randn(rows, columns, generator=generator, dtype=torch.float64)).Q


def matrix_with(spectrum, rows, columns, seed=0):
    """A float64 matrix (rows, columns) with exactly these leading singular values, zeros after them."""
    generator = torch.Generator().manual_seed(seed)
    s = torch.as_tensor(spectrum, dtype=torch.float64)
    return orthonormal(rows, len(s), generator) * s @ orthonormal(columns, len(s), generator).T


class CountingOperator(JacobianOperator):
    """Counts columns where products are asked for, independently of ``passes``."""

    def __init__(self, *args, **kwargs):
        super().__init__(*args, **kwargs)
        self.columns = 0

    def mv(self, v):
        self.columns += v.shape[1]
        return super().mv(v)

    def rmv(self, u):
        self.columns += u.shape[1]
        return super().rmv(u)


def operator_of(matrix, dtype=torch.float64, **kwargs):
    a = matrix.to(dtype)
    return CountingOperator(lambda x: a @ x, torch.zeros(a.shape[1], dtype=dtype), **kwargs)
