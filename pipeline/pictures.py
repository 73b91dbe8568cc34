"""Open pictures that a user gives, and read masks: errors of one line, sizes known before pixels."""

from __future__ import annotations

import struct
import warnings
import zlib
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import numpy as np
from PIL import Image, UnidentifiedImageError

from inverters.generators.small_files import open_regular
from pipeline.clip import F64, U8
from pipeline.errors import UserError, shortened

FORMATS = ("PNG", "JPEG", "BMP", "WEBP", "TIFF")
_LOSSY = ("JPEG", "WEBP")
_DAMAGE = (
    OSError,
    EOFError,
    ValueError,
    TypeError,
    KeyError,
    IndexError,
    SyntaxError,
    OverflowError,
    AssertionError,
    AttributeError,
    RuntimeError,
    MemoryError,
    struct.error,
    zlib.error,
    Image.DecompressionBombError,
)
"""What Pillow raises for damaged files and for too many pixels."""


def size_of(path: Path) -> tuple[int, int]:
    """Width and height of a picture, of which no pixel is read. Raises UserError."""
    with opened(path) as image:
        return image.size


def face_mask(path: Path, size: tuple[int, int] | None = None) -> U8:
    """A mask as uint8 [H,W], 255 where it is at least half white and 0 elsewhere; see `soft_mask`."""
    return np.where(2 * soft_mask(path, size) < 1, 0, 255).astype(np.uint8)


def soft_mask(path: Path, size: tuple[int, int] | None = None) -> F64:
    """A mask as float64 [H,W], 0 black and 1 white.

    Grey of 8 or 16 bits, or fractions; a mask of zeros and ones alone counts as black and white. Raises
    UserError for a picture that cannot be read, has another size than (W, H), or is transparent somewhere.
    """
    with opened(path) as image:
        if size is not None and image.size != size:
            raise UserError(
                f"{path.name} is {image.width} x {image.height} pixels, not {size[0]} x {size[1]}"
            )
        if image.has_transparency_data and np.asarray(image.convert("RGBA"))[..., 3].min() < 255:
            raise UserError(
                f"{path.name} is transparent in places; save the mask as grey without transparency"
            )
        deep = image.mode in ("F", "I") or image.mode.startswith("I;16")
        values = np.asarray(image if deep else image.convert("L"))
        two_valued = image.format not in _LOSSY and values.max(initial=0) <= 1
        white = 1 if two_valued or image.mode == "F" else 65535 if deep else 255
        return values.astype(np.float64) / white


@contextmanager
def opened(path: Path, formats: Sequence[str] = FORMATS) -> Iterator[Image.Image]:
    """A picture of these formats (Pillow's names), its pixels not read yet.

    Raises UserError for what is none, and for damage that is met inside the `with` block.
    """
    try:
        with open_regular(path) as file, warnings.catch_warnings():
            warnings.simplefilter("ignore")
            Image.init()
            with Image.open(file, formats=[name for name in formats if name in Image.OPEN]) as image:
                yield image
    except _DAMAGE as error:
        known = not isinstance(error, UnidentifiedImageError)
        reason = shortened(getattr(error, "strerror", None) or error) if known else "unknown format"
        raise UserError(f"{path.name} is not an image that can be read ({reason})") from None
