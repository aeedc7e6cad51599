r"""Fashion-MNIST (Xiao, Rasul & Vollgraf 2017, MIT licence): 28×28 grey pictures of clothes, on a 32×32 canvas.

Read from the four IDX files as their authors publish them, packed or unpacked; Debian's package
``dataset-fashion-mnist`` puts them into :data:`DEBIAN`.
"""

from __future__ import annotations

import gzip
import struct
import zlib
from pathlib import Path
from typing import Literal

import numpy as np
import torch
from torch import Tensor
from torch.nn.functional import pad

from diffgeo.errors import DataError

__all__ = ["DEBIAN", "fashion_mnist"]

DEBIAN = "/usr/share/datasets/fashion-mnist"
"""Where Debian's package installs the files."""

_FILES = {"train": "train-images-idx3-ubyte", "test": "t10k-images-idx3-ubyte"}
_MAGIC = 0x00000803  # unsigned bytes, three dimensions


def fashion_mnist(folder: str | Path = DEBIAN, split: Literal["train", "test"] = "train") -> Tensor:
    """All pictures of a split.

    Args:
        folder: holds ``train-images-idx3-ubyte`` or ``t10k-images-idx3-ubyte``, with or without ``.gz``.
        split: ``train`` (60,000) or ``test`` (10,000).

    Returns:
        shape (n, 1, 32, 32), float32 in [−1, 1]: the pictures with a black border of 2 pixels.

    Raises:
        DataError: the file is missing, or no IDX file of pictures.
    """
    path = Path(folder).expanduser() / _FILES[split]
    packed = path.with_name(path.name + ".gz")
    if not path.is_file() and not packed.is_file():
        raise DataError(
            f"{path} is missing, packed or not",
            "install Debian's dataset-fashion-mnist, or name the folder that has it",
        )
    try:
        raw = path.read_bytes() if path.is_file() else gzip.decompress(packed.read_bytes())
        magic, n, height, width = struct.unpack(">4I", raw[:16])
        if magic != _MAGIC or (height, width) != (28, 28):
            raise ValueError(f"magic number {magic:#x}, pictures {height}x{width}")
        pictures = np.frombuffer(raw, np.uint8, n * height * width, 16).reshape(n, 1, height, width)
    except (OSError, EOFError, ValueError, struct.error, zlib.error) as error:
        raise DataError(
            f"{path if path.is_file() else packed} is no file of 28x28 pictures ({error})", "fetch it again"
        ) from error
    return pad(torch.from_numpy(pictures.astype(np.float32)) / 127.5 - 1, (2, 2, 2, 2), value=-1.0)
