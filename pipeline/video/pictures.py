"""Single pictures: read with their depth, alpha and colour profile, and written the same way."""

from __future__ import annotations

import contextlib
import io
import struct
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import numpy.typing as npt
from PIL import Image
from PIL.PngImagePlugin import PngInfo

from pipeline import pictures
from pipeline.clip import U8
from pipeline.errors import InputVideoError, UserError

Pixels = npt.NDArray[np.uint8] | npt.NDArray[np.uint16]

SUFFIXES = {"png": ".png", "tiff": ".tif", "jpeg": ".jpg", "webp": ".webp", "avif": ".avif"}
"""Formats that are written, and their file endings."""
SIDES = {
    "png": (1, 2**20),
    "tiff": (1, 2**20),
    "jpeg": (1, 65500),
    "webp": (1, 16383),
    "avif": (1, 32768),
}
"""Least and most pixels of a side that each can be written with and read back; tried with Pillow 13."""
_FORMATS = {
    "PNG": "png",
    "TIFF": "tiff",
    "JPEG": "jpeg",
    "MPO": "jpeg",
    "WEBP": "webp",
    "AVIF": "avif",
    "HEIF": "jpeg",
}
"""Pillow's formats that are read, and the one that each is written as."""
_STARTS = (b"\x89PNG\r\n\x1a\n", b"\xff\xd8\xff", b"II*\0", b"MM\0*")
_BRANDS = (b"avif", b"avis", b"heic", b"heix", b"heim", b"heis", b"mif1")
_ORIENTATION, _SOFTWARE, _EXIF_IFD = 0x112, 0x131, 0x8769
_EXIF_KEPT = {0x10E, 0x10F, 0x110, 0x11A, 0x11B, 0x128, 0x132, 0x13B, 0x8298}
"""Description, camera, resolution, date, artist and copyright."""
_TURNS = {
    2: (False, True, False),
    3: (False, True, True),
    4: (False, False, True),
    5: (True, False, False),
    6: (True, True, False),
    7: (True, True, True),
    8: (True, False, True),
}
"""EXIF's orientation as (transpose, mirror columns, mirror rows)."""
_QUALITY = 95


@dataclass(frozen=True)
class Picture:
    """A picture, upright."""

    pixels: Pixels  # [H,W,3] RGB, uint8 or uint16
    alpha: Pixels | None = None  # [H,W] of the same type
    format: str = "png"  # key of SUFFIXES that it is written as
    profile: bytes | None = None  # ICC
    exif: bytes | None = None  # without orientation, thumbnail and place
    notes: tuple[str, ...] = ()  # for the user
    cicp: tuple[int, int] | None = None  # primaries and transfer, ITU-T H.273; only 16-bit PNG says them

    @property
    def rgb8(self) -> U8:
        """Pixels as uint8 [H,W,3]."""
        return to_8_bits(self.pixels)


def to_8_bits(pixels: Pixels) -> U8:
    """uint16 to the nearest uint8, full range to full range."""
    if pixels.dtype == np.uint8:
        return pixels.astype(np.uint8, copy=False)
    return ((pixels.astype(np.uint32) + 128) // 257).astype(np.uint8)


def is_picture(path: Path) -> bool:
    """Whether a file starts as one of the formats that are read here."""
    try:
        with path.open("rb") as file:
            head = file.read(32)
    except OSError:
        return False
    if head[:4] == b"RIFF" and head[8:12] == b"WEBP":
        return True
    return head.startswith(_STARTS) or (head[4:8] == b"ftyp" and head[8:12] in _BRANDS)


@contextmanager
def opened(path: Path) -> Iterator[Image.Image]:
    """A picture file by Pillow, its pixels not read yet; errors in the `with` block are those of damage.

    Raises InputVideoError.
    """
    _register_heif()
    try:
        with pictures.opened(path, tuple(_FORMATS)) as image:
            yield image
    except InputVideoError:
        raise
    except UserError as error:
        advice = "; install the package pillow-heif, or save it as JPEG" if _is_heic(path) else ""
        raise InputVideoError(f"{path.parent / str(error)}{advice}") from None


def _is_heic(path: Path) -> bool:
    with path.open("rb") as file:
        return file.read(12)[8:11] == b"hei"


@cache
def _register_heif() -> None:
    """Let Pillow read HEIC, where the package `pillow-heif` is installed."""
    with contextlib.suppress(ImportError):
        import pillow_heif  # type: ignore[import-not-found, unused-ignore]

        pillow_heif.register_heif_opener()


def format_of(path: Path) -> str:
    """The format that a picture file is written as. Raises InputVideoError."""
    with opened(path) as image:
        return _FORMATS[str(image.format)]


def read_picture(path: Path) -> Picture:
    """Read a picture, upright. Raises InputVideoError: not there, damaged, too large, or of unknown kind."""
    with opened(path) as image:
        form = _FORMATS[str(image.format)]
        pixels, alpha = _deep(path) if _is_deep(image) else _plain(image)
        turn = _TURNS.get(int(image.getexif().get(_ORIENTATION, 1)))
        # Pillow turns AVIF and HEIF by itself
        if turn is not None and image.format not in ("AVIF", "HEIF"):
            pixels = _turned(pixels, turn)
            alpha = None if alpha is None else _turned(alpha, turn)
        profile = image.info.get("icc_profile") if image.mode != "CMYK" else None
        pages = getattr(image, "n_frames", 1) if image.format == "TIFF" else 1
        notes = (f"{path.name} has {pages} pages; the first is read",) if pages > 1 else ()
        return Picture(pixels, alpha, form, profile, _kept_exif(image), notes)


def _is_deep(image: Image.Image) -> bool:
    """Whether a file has 16 bits a channel, which Pillow would cut to 8."""
    if image.format == "PNG":
        return any("16" in str(tile[3]) for tile in getattr(image, "tile", ())) or image.mode.startswith("I")
    if image.format == "TIFF":
        tags: Any = getattr(image, "tag_v2", {})
        return 16 in np.atleast_1d(tags.get(258, 8))
    return False


def _deep(path: Path) -> tuple[Pixels, Pixels | None]:
    data = np.frombuffer(path.read_bytes(), np.uint8)  # OpenCV takes no name that is not UTF-8
    try:
        found = cv2.imdecode(data, cv2.IMREAD_UNCHANGED)
    except cv2.error as error:
        raise ValueError(str(error)) from None
    if found is None or found.dtype not in (np.uint8, np.uint16):
        raise ValueError("its pixels are of a kind that cannot be read")
    found = found if found.ndim == 3 else found[..., None]  # OpenCV gives grey with alpha as four channels
    if found.shape[2] < 3:
        grey: Pixels = np.repeat(found[..., :1], 3, axis=2)
        return grey, None
    alpha: Pixels | None = np.ascontiguousarray(found[..., 3]) if found.shape[2] == 4 else None
    return np.ascontiguousarray(found[..., 2::-1]), alpha


def _plain(image: Image.Image) -> tuple[Pixels, Pixels | None]:
    if image.mode in ("F", "I") or image.mode.startswith("I;"):
        raise ValueError(f"its pixels are of mode {image.mode}; save it with 8 or 16 bits a channel")
    has_alpha = "A" in image.getbands() or "transparency" in image.info
    pixels = np.asarray(image.convert("RGBA" if has_alpha else "RGB"))
    return np.ascontiguousarray(pixels[..., :3]), np.ascontiguousarray(pixels[..., 3]) if has_alpha else None


def _turned(pixels: Any, turn: tuple[bool, bool, bool]) -> Any:
    transpose, columns, rows = turn
    pixels = pixels.swapaxes(0, 1) if transpose else pixels
    return np.ascontiguousarray(pixels[:: -1 if rows else 1, :: -1 if columns else 1])


def _kept_exif(image: Image.Image) -> bytes | None:
    """EXIF without what describes the file itself, such as its orientation, and without the place."""
    found, kept = image.getexif(), Image.Exif()
    for tag in _EXIF_KEPT & set(found):
        kept[tag] = found[tag]
    for tag, value in found.get_ifd(_EXIF_IFD).items():
        kept.get_ifd(_EXIF_IFD)[tag] = value
    return kept.tobytes() if _EXIF_KEPT & set(found) or found.get_ifd(_EXIF_IFD) else None


def write_picture(path: Path, picture: Picture, comment: str, quality: int | None = None) -> None:
    """Write a picture in its format; `comment` names the program in the metadata.

    PNG and TIFF keep 16 bits; the other formats have 8, and JPEG no alpha. Raises UserError for a size that
    the format cannot hold, OSError.
    """
    height, width = picture.pixels.shape[:2]
    most = SIDES[picture.format][1]
    if max(height, width) > most:
        raise UserError(f"{picture.format} pictures have at most {most} pixels a side; choose --codec png")
    path.write_bytes(_encoded(picture, comment, quality))


def _encoded(picture: Picture, comment: str, quality: int | None) -> bytes:
    if picture.pixels.dtype == np.uint16 and picture.format in ("png", "tiff"):
        return _deep_png(picture, comment) if picture.format == "png" else _deep_tiff(picture, comment)
    alpha = None if picture.alpha is None or picture.format == "jpeg" else to_8_bits(picture.alpha)
    pixels = picture.rgb8 if alpha is None else np.concatenate([picture.rgb8, alpha[..., None]], axis=2)
    options: dict[str, Any] = {"icc_profile": picture.profile}
    exif = Image.Exif()
    if picture.exif is not None:
        exif.load(picture.exif)
    exif[_SOFTWARE] = comment
    options["exif"] = exif.tobytes()
    if picture.format == "png":
        options["pnginfo"] = PngInfo()
        options["pnginfo"].add_text("Software", comment)
    elif picture.format == "tiff":
        options["compression"] = "tiff_deflate"
    else:
        options["quality"] = _QUALITY if quality is None else quality
    if picture.format == "jpeg":
        options["subsampling"] = 0
    buffer = io.BytesIO()
    Image.fromarray(np.ascontiguousarray(pixels)).save(buffer, picture.format.upper(), **options)
    return buffer.getvalue()


def _interleaved(picture: Picture) -> npt.NDArray[np.uint16]:
    parts = [picture.pixels] if picture.alpha is None else [picture.pixels, picture.alpha[..., None]]
    return np.concatenate(parts, axis=2).astype(np.uint16)


def _deep_png(picture: Picture, comment: str) -> bytes:
    """16-bit PNG, which Pillow does not write: OpenCV's, with the colour profile and text added to it."""
    pixels = _interleaved(picture)
    order = [2, 1, 0, 3][: pixels.shape[2]]
    done, found = cv2.imencode(".png", pixels[..., order])
    if not done:
        raise OSError("the picture could not be encoded")
    data = found.tobytes()
    added = _chunk(b"tEXt", b"Software\0" + comment.encode("latin-1", "replace"))
    if picture.profile:
        added = _chunk(b"iCCP", b"ICC\0\0" + zlib.compress(picture.profile)) + added
    if picture.cicp:
        added = _chunk(b"cICP", bytes((*picture.cicp, 0, 1))) + added
    if picture.exif:
        added += _chunk(b"eXIf", picture.exif.removeprefix(b"Exif\0\0"))
    first = 8 + 12 + struct.unpack(">I", data[8:12])[0]  # after the header
    return data[:first] + added + data[first:]


def _chunk(kind: bytes, data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))


def _deep_tiff(picture: Picture, comment: str) -> bytes:
    import tifffile

    buffer = io.BytesIO()
    tifffile.imwrite(
        buffer,
        _interleaved(picture),
        photometric="rgb",
        compression="zlib",
        software=comment,
        iccprofile=picture.profile,
        extrasamples=None if picture.alpha is None else ("unassalpha",),
        metadata=None,
    )
    return buffer.getvalue()
