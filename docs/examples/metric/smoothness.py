"""A function of torchmetrics as a metric of diffgeo: total variation, a pixel."""

from torch import Tensor
from torchmetrics.functional.image import total_variation


def variation(edited: Tensor, original: Tensor, relative: bool = False) -> Tensor:
    """Total variation of each edited picture divided by its number of pixels; less that of the original if asked."""
    pixels = edited.shape[-2] * edited.shape[-1]
    found = total_variation(edited, reduction="none") / pixels
    return found - total_variation(original, reduction="none") / pixels if relative else found
