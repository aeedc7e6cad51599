"""Own pictures: from files to tensors, whatever their size and mode."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from PIL import Image, ImageOps, UnidentifiedImageError
from torch import Tensor
from torchvision.transforms.v2 import functional as F

from diffgeo.errors import DataError

__all__ = ["SUFFIXES", "as_tensor", "list_images", "load_image", "picture_names"]

SUFFIXES = (".png", ".jpg", ".jpeg", ".webp", ".bmp", ".tif", ".tiff")
"""Files that count as pictures, by suffix, in lower case."""


def list_images(path: str | Path | Sequence[str | Path]) -> list[Path]:
    """The pictures of a folder in the order of their names, the one picture, or those of a list in its order.

    Args:
        path: a folder (its sub-folders are not searched), a file, or files.

    Raises:
        DataError: nothing there, the folder holds no picture, or the list names a folder or a file twice.
    """
    if not isinstance(path, str | Path):
        return _listed(path)
    where = Path(path).expanduser()
    if where.is_file():
        return [where]
    if not where.is_dir():
        raise DataError(f"data.images={path} does not exist", "give a folder of pictures or one picture")
    found = sorted(p for p in where.iterdir() if p.suffix.lower() in SUFFIXES and p.is_file())
    if not found:
        raise DataError(f"data.images={path} holds no picture", f"known suffixes are {', '.join(SUFFIXES)}")
    return found


def _listed(paths: Sequence[str | Path]) -> list[Path]:
    """The files of a list, checked."""
    found: dict[Path, Path] = {}
    for path in paths:
        where = Path(path).expanduser()
        if where.is_dir():
            raise DataError(
                f"data.images lists {path}, which is a folder", f"list files, or give one folder: data.images={path}"
            )
        if not where.is_file():
            raise DataError(f"data.images lists {path}, which does not exist", "correct the path or leave it out")
        if where.resolve() in found:
            raise DataError(f"data.images lists {path} twice", "leave one out")
        found[where.resolve()] = where
    if not found:
        raise DataError("data.images is an empty list", "list one picture or more")
    return list(found.values())


def picture_names(paths: Sequence[Path]) -> list[str]:
    """What results call the pictures: their file names, or their paths where two files have the same name."""
    count = Counter(path.name for path in paths)
    return [path.name if count[path.name] == 1 else str(path) for path in paths]


def load_image(path: Path, height: int, width: int) -> Tensor:
    """One picture, turned as its EXIF says, on white where transparent, resized and cropped about its centre.

    Args:
        path: the file.
        height: wanted, in pixels.
        width: wanted, in pixels.

    Returns:
        shape (3, height, width), RGB in [−1, 1]; greyscale is repeated.

    Raises:
        DataError: the file is broken, or no picture; the message names it.
    """
    try:
        with Image.open(path) as opened:
            return as_tensor(opened, height, width)
    except (UnidentifiedImageError, OSError, ValueError, SyntaxError, Image.DecompressionBombError) as error:
        raise DataError(f"{path} cannot be read as a picture ({error})", "remove or replace it") from error


def as_tensor(opened: Image.Image, height: int, width: int) -> Tensor:
    """An open picture as :func:`load_image` returns it; arguments likewise.

    Raises:
        OSError, ValueError, SyntaxError: its data are broken, as Pillow finds on decoding them.
    """
    image = ImageOps.exif_transpose(opened)
    if image.mode in ("RGBA", "LA", "PA") or "transparency" in image.info:
        image = image.convert("RGBA")
        image = Image.alpha_composite(Image.new("RGBA", image.size, "white"), image)
    elif image.mode.startswith(("I", "F")):
        # convert("RGB") would clip 16-bit greyscale to white; floating point is in [0, 1] or in [0, 255]
        grey = torch.from_numpy(np.array(image, dtype=np.float32))
        top = 65535.0 if image.mode.startswith("I") else (1.0 if grey.max() <= 1 else 255.0)
        image = F.to_pil_image((grey / top).clamp(0, 1)[None])
    rgb = image.convert("RGB")
    scale = max(height / rgb.height, width / rgb.width)
    size = [max(height, round(rgb.height * scale)), max(width, round(rgb.width * scale))]
    tensor = F.to_dtype(F.pil_to_tensor(rgb), torch.float32, scale=True)
    tensor = F.center_crop(F.resize(tensor, size, antialias=True), [height, width])
    pixels: Tensor = tensor.clamp(0, 1) * 2 - 1
    return pixels
