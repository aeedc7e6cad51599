"""What the study ``greyness`` can be told."""

from dataclasses import dataclass

from diffgeo.config import STUDY_SCHEMAS


@dataclass
class GreynessConfig:
    """Study ``greyness``: brightness or colour?

    Attributes:
        directions: leading directions that are measured; fewer where ``svd.rank`` is lower.
    """

    directions: int = 10


STUDY_SCHEMAS["greyness"] = GreynessConfig
