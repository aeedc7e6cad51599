"""Own pictures: from files to tensors, whatever their size.

One rule for each of Pillow's modes says which numbers are black and white:

    1, L, P, RGB, CMYK, YCbCr, HSV and the like    8 bits a channel, 0 to 255
    I;16 (16-bit greyscale)                        0 to 65535
    F (floating-point TIFF)                        0 to 1; other values are refused
    I (32-bit TIFF), LAB, greys of 12 bits         refused: nothing in the file says what is white

Greys of fewer bits are spread over 0 to 255; of colours with 16 bits a channel, Pillow reads the higher 8. Colour
profiles are not applied. What is transparent, by an alpha channel or as one colour that the file names, is laid on
white. Of an animation the first frame is read.

Memory: the decoder holds a picture once (JPEG at an eighth of its sides, if that is enough), which :data:`MAX_PIXELS`
bounds before it begins (32 million for WebP); all else works on strips of rows and on what the model's size needs.
"""

from __future__ import annotations

import logging
import os
import warnings
from collections import Counter
from collections.abc import Callable, Sequence
from functools import cache
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
import torch
from PIL import ExifTags, Image, UnidentifiedImageError
from torch import Tensor

from diffgeo.errors import DataError

__all__ = ["FORMATS", "MAX_PIXELS", "SUFFIXES", "as_tensor", "list_images", "load_image", "picture_names"]

log = logging.getLogger(__name__)
T = TypeVar("T")

FORMATS = ("PNG", "JPEG", "WEBP", "BMP", "TIFF", "GIF")
"""Pillow's decoders that are ever asked; others start programs (EPS: Ghostscript) or follow references to files."""
SUFFIXES = (".png", ".jpg", ".jpeg", ".jfif", ".webp", ".bmp", ".tif", ".tiff", ".gif")
"""Files of a folder that count as pictures, by suffix, in lower case."""
MAX_PIXELS = 89_000_000
"""Pixels that a file may claim, about 9400 × 9400; Pillow warns of a few more. They take 4 to 8 bytes each."""
_MAX_PIXELS_WEBP = 32_000_000
"""The same for WebP, whose decoder takes 16 bytes each."""

_STRIP = 2**20
"""Pixels that are converted at once."""
_KEPT = 3
"""A picture is averaged in whole blocks of pixels down to this many times the wanted size, and resampled from there."""
_TURNS = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}
"""How a picture is turned upright, by the EXIF tag of its orientation."""


def list_images(path: str | Path | Sequence[str | Path], *, setting: str = "data.images") -> list[Path]:
    """The pictures of a folder in the order of their names, the one picture, or those of a list in its order.

    Args:
        path: a folder (its sub-folders are not searched; hidden files and other kinds are left out), a file, or files.
        setting: that the path comes from, for messages.

    Raises:
        DataError: nothing there, the folder holds no picture, or the list names a folder or a file twice.
    """
    if not isinstance(path, str | Path):
        return _listed(path)
    where = Path(path).expanduser()
    if where.is_file():
        return [where]
    if not where.is_dir():
        raise DataError(f"{setting}={path} does not exist", "give a folder of pictures or one picture")
    files = sorted(p for p in where.iterdir() if p.is_file() and not p.name.startswith("."))
    found = [p for p in files if p.suffix.lower() in SUFFIXES]
    if not found:
        raise DataError(f"{setting}={path} holds no picture", f"known suffixes are {', '.join(SUFFIXES)}")
    if others := tuple(readable(p.name) for p in files if p.suffix.lower() not in SUFFIXES):
        _say_left_out(f"{setting}={path}", others)
    return found


@cache  # once in a process, however often the folder is listed
def _say_left_out(where: str, names: tuple[str, ...]) -> None:
    shown = ", ".join(names[:5]) + (f" and {len(names) - 5} more" if len(names) > 5 else "")
    log.warning("%s: left out, as their suffix is none of %s: %s", where, " ".join(SUFFIXES), shown)


def readable(name: str) -> str:
    r"""A file's name as text that can be written anywhere: bytes that are no UTF-8 become ``\xe9`` and the like."""
    return os.fsencode(name).decode("utf-8", "backslashreplace")


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
    return [readable(path.name if count[path.name] == 1 else str(path)) for path in paths]


def load_image(path: Path, height: int, width: int) -> Tensor:
    """One picture, turned as its EXIF says, on white where transparent, cropped about its centre and resized.

    Args:
        path: the file.
        height: wanted, in pixels.
        width: wanted, in pixels.

    Returns:
        shape (3, height, width), RGB in [−1, 1]; greyscale is repeated; of an animation the first frame.

    Raises:
        DataError: the file is broken, no picture, of another format than :data:`FORMATS`, or of a mode without a rule;
            the message names it.
    """
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", Image.DecompressionBombWarning)  # MAX_PIXELS is our bound
            with Image.open(path, formats=FORMATS) as opened:
                return as_tensor(opened, height, width)
    except UnidentifiedImageError as error:
        raise DataError(
            f"{readable(str(path))} cannot be read as a picture (it is none of {', '.join(FORMATS)})",
            "save it as one of these, or leave it out",
        ) from error
    except (OSError, ValueError, SyntaxError, Image.DecompressionBombError) as error:
        raise DataError(
            f"{readable(str(path))} cannot be read as a picture ({error})", "remove or replace it"
        ) from error


def as_tensor(opened: Image.Image, height: int, width: int) -> Tensor:
    """An open picture as :func:`load_image` returns it; arguments likewise.

    Raises:
        OSError, SyntaxError: its data are broken, as Pillow finds on decoding them.
        ValueError: the same, more than :data:`MAX_PIXELS`, or a mode or values that no rule covers.
    """
    from torchvision.transforms.v2 import functional as F  # takes a second; most runs read no picture

    most = _MAX_PIXELS_WEBP if opened.format == "WEBP" else MAX_PIXELS
    if min(opened.size) < 1 or opened.width * opened.height > most:
        raise ValueError(f"it has {opened.width} × {opened.height} pixels, where 1 to {most // 10**6} million are read")
    _check_scale_of_greys(opened)
    rgb = _upright_rgb(opened, height, width)
    tensor = F.to_dtype(F.pil_to_tensor(rgb), torch.float32, scale=True)
    pixels: Tensor = F.resize(tensor, [height, width], antialias=True).clamp(0, 1) * 2 - 1
    return pixels


def _check_scale_of_greys(opened: Image.Image) -> None:
    """Whether the file's numbers mean what the rule of their mode says.

    Raises:
        ValueError: they do not.
    """
    clear, tags = opened.info.get("transparency"), getattr(opened, "tag_v2", {})
    if isinstance(clear, tuple) and max(clear) > 255:
        raise ValueError("a transparent colour of 16 bits cannot be told apart in 8, save it with an alpha channel")
    if opened.mode.startswith("I;16") or opened.mode == "F":
        if tags.get(ExifTags.Base.PhotometricInterpretation) == 0:
            raise ValueError("0 is white in it, save it with 0 as black")
        if tags.get(ExifTags.Base.BitsPerSample) == (12,):
            raise ValueError("its greys have 12 bits, save it with 8 or 16")


def _upright_rgb(opened: Image.Image, height: int, width: int) -> Image.Image:
    """The centre of a picture, with the proportions of height × width and 8 bits a channel, turned as its EXIF says.

    It is averaged in blocks if it is much larger than what is wanted, strip by strip.
    """
    shrink = int(min(opened.size) / max(height, width) / _KEPT)
    wanted = (-(-opened.width // shrink), -(-opened.height // shrink)) if shrink > 1 else opened.size
    drafted = opened.draft(None, wanted)  # JPEG alone can decode a smaller picture
    _decoded(opened.load)
    full = opened.size if drafted is None else tuple(map(int, drafted[1][2:]))  # less a block that is not whole
    orientation = _decoded(lambda: opened.getexif().get(ExifTags.Base.Orientation, 1))  # TIFF is upright by now
    across, down = (height, width) if orientation in (5, 6, 7, 8) else (width, height)
    # cropped first: a strip one pixel wide would be enlarged to gigabytes
    scale = max(across / full[0], down / full[1])
    inner = [min(whole, max(1, round(part / scale))) for whole, part in zip(full, (across, down), strict=True)]
    block = max(1, int(1 / scale / _KEPT))
    inner = [side // block * block for side in inner]
    left, top = (round((whole - part) / 2) for whole, part in zip(full, inner, strict=True))
    rgb = Image.new("RGB", (inner[0] // block, inner[1] // block))
    rows = max(1, _STRIP // inner[0] // block) * block
    for row in range(0, inner[1], rows):
        strip = opened.crop((left, top + row, left + inner[0], top + min(row + rows, inner[1])))
        rgb.paste(_as_rgb(strip).reduce(block), (0, row // block))
    return rgb.transpose(_TURNS[orientation]) if orientation in _TURNS else rgb


def _decoded(read: Callable[[], T]) -> T:
    """What Pillow reads of a file's data; whatever a decoder raises on broken ones comes as one of three errors.

    Raises:
        OSError, SyntaxError, ValueError: the data are broken.
    """
    try:
        return read()
    except (OSError, SyntaxError, ValueError):
        raise
    except Exception as error:
        raise ValueError(f"{type(error).__name__}: {error}") from error


def _as_rgb(image: Image.Image) -> Image.Image:
    """The picture with 8 bits a channel, by the rule of its mode, on white."""
    if image.mode.startswith("I;16"):
        grey = np.asarray(image, dtype=np.float32) / 65535
        clear = image.info.get("transparency")
        return _grey(grey if clear is None else np.where(np.asarray(image) == clear, 1, grey))
    if image.mode == "F":
        grey = np.asarray(image)
        if not (grey.min() >= 0 and grey.max() <= 1):  # nor is it with NaN
            raise ValueError(f"it has numbers of {grey.min():g} to {grey.max():g}, where 0 is black and 1 is white")
        return _grey(grey)
    if image.mode in ("I", "LAB"):
        raise ValueError(f"mode {image.mode} has no rule for black and white, save it with 8 or 16 bits a channel")
    if image.mode == "La":
        image = image.convert("LA")
    if image.mode in ("RGBA", "RGBa", "LA", "PA") or "transparency" in image.info:
        image = image.convert("RGBA")
        image = Image.alpha_composite(Image.new("RGBA", image.size, "white"), image)
    return image.convert("RGB")


def _grey(values: np.ndarray[Any, Any]) -> Image.Image:
    """Greys in [0, 1] as a picture."""
    return Image.fromarray((values * 255).round().astype(np.uint8)).convert("RGB")
