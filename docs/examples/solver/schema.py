"""What ``svd=arpack`` can be told."""

from dataclasses import dataclass

from diffgeo.config import SVD_SCHEMAS, SvdConfig


@dataclass
class ArpackConfig(SvdConfig):
    """ARPACK, by scipy; nothing to set of its own."""

    solver: str = "arpack"


SVD_SCHEMAS["arpack"] = ArpackConfig
