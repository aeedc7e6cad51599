"""The Jacobian as an operator: its products, the derivative rules behind them, the memory that they take."""

from diffgeo.jacobian.masked import Masked
from diffgeo.jacobian.operator import JacobianOperator, chunk_that_fits

__all__ = ["JacobianOperator", "Masked", "chunk_that_fits"]
