r"""The singular value decomposition of J without forming it.

``solve`` has the entries, ``solver`` says what a solver is, ``spec`` what is asked of one; every algorithm is one file.
"""

from diffgeo.svd._linalg import as_basis, signs
from diffgeo.svd.basis import Certificate, LocalBasis
from diffgeo.svd.dense import Dense
from diffgeo.svd.golub_kahan import GolubKahan, default_block_size, probe_block_size
from diffgeo.svd.randomized import Randomized
from diffgeo.svd.solve import decompose, energy, local_bases, local_basis
from diffgeo.svd.solver import Solver
from diffgeo.svd.spec import SolveSpec
from diffgeo.svd.subspace import Subspace

__all__ = [
    "Certificate",
    "Dense",
    "GolubKahan",
    "LocalBasis",
    "Randomized",
    "SolveSpec",
    "Solver",
    "Subspace",
    "decompose",
    "default_block_size",
    "energy",
    "as_basis",
    "local_bases",
    "local_basis",
    "probe_block_size",
    "signs",
]
