"""Pictures from strangers: what they are is read off their bytes, within limits, before a pixel is decoded.

Nothing here touches the disk, and a file's name or declared type is never believed.
"""

from __future__ import annotations

import io
import warnings

from PIL import Image, UnidentifiedImageError
from torch import Tensor

from diffgeo.data.images import as_tensor
from diffgeo.errors import DataError

FORMATS = ("PNG", "JPEG", "WEBP")
"""Only these decoders are ever asked."""
MAX_BYTES = 10 * 2**20
MAX_PIXELS = 24_000_000
"""A phone's camera; a file of a few kilobytes can claim billions."""
MAX_RATIO = 8
"""Longer side over shorter: of a longer strip, cropped to the model's shape, hardly anything would be left."""
MIN_SIDE = 8


def picture_of(content: bytes, height: int, width: int) -> Tensor:
    """An uploaded picture, checked, turned as its EXIF says, cropped about its centre and resized.

    Args:
        content: the file's bytes.
        height: wanted, in pixels.
        width: wanted, in pixels.

    Returns:
        shape (3, height, width), RGB in [−1, 1]; of an animation its first frame.

    Raises:
        DataError: too large in bytes or pixels, too narrow, no PNG, JPEG or WebP, or damaged; the message says what to
            do.
    """
    if len(content) > MAX_BYTES:
        raise DataError(
            f"the file has {len(content) / 2**20:.1f} MB", f"at most {MAX_BYTES // 2**20} MB are taken, make it smaller"
        )
    with warnings.catch_warnings():
        warnings.simplefilter("error", Image.DecompressionBombWarning)
        try:
            with _opened(content) as image:
                _check_size(*image.size)
                image.verify()  # checksums; the file must be opened again afterwards
            with _opened(content) as image:
                return as_tensor(image, height, width)
        except (Image.DecompressionBombError, Image.DecompressionBombWarning):
            raise DataError(
                f"the picture has far more than {MAX_PIXELS // 10**6} million pixels", "shrink it"
            ) from None
        except UnidentifiedImageError:
            raise DataError("the file is no PNG, JPEG or WebP picture", "save it as one of these") from None
        except (OSError, ValueError, SyntaxError, EOFError) as error:
            reason = " ".join(str(error).split())[:120]
            raise DataError(f"the picture is damaged ({reason})", "save or download it again") from error


def _opened(content: bytes) -> Image.Image:
    return Image.open(io.BytesIO(content), formats=FORMATS)


def _check_size(width: int, height: int) -> None:
    if width * height > MAX_PIXELS:
        raise DataError(
            f"the picture has {width} × {height} pixels", f"at most {MAX_PIXELS // 10**6} million are taken, shrink it"
        )
    if min(width, height) < MIN_SIDE or max(width, height) > MAX_RATIO * min(width, height):
        raise DataError(
            f"the picture has {width} × {height} pixels",
            f"both sides need {MIN_SIDE} or more and neither may be over {MAX_RATIO} times the other, crop it",
        )
