"""How sharp an edited picture is, compared with the picture that it was made from."""

import torch
from torch import Tensor


class Sharpness:
    """The energy of the Laplacian, edited over original: 1 is as sharp, 0 is flat.

    Args:
        floor: added to both energies, so that flat pictures do not divide by zero.
    """

    def __init__(self, floor: float = 1e-6) -> None:
        self.floor = floor

    def __call__(self, edited: Tensor, original: Tensor) -> Tensor:
        """Shape (B,), from edited (B, 3, H, W) and original (1, 3, H, W)."""
        return (self.energy(edited) + self.floor) / (self.energy(original) + self.floor)

    @staticmethod
    def energy(pictures: Tensor) -> Tensor:
        """Mean square of the Laplacian of the grey picture, shape (B,)."""
        kernel = torch.tensor([[0.0, 1.0, 0.0], [1.0, -4.0, 1.0], [0.0, 1.0, 0.0]])
        grey = pictures.mean(dim=1, keepdim=True)
        edges = torch.nn.functional.conv2d(grey, kernel.to(grey)[None, None])
        return edges.square().mean(dim=(1, 2, 3))
