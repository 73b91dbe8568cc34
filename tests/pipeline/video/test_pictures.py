"""Pictures: depth, alpha, profile and orientation are read, and written the same."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import pytest
from PIL import Image, ImageCms, ImageOps

from pipeline.errors import InputVideoError
from pipeline.video.pictures import SUFFIXES, Picture, is_picture, read_picture, to_8_bits, write_picture

PROFILE = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()


def gradient(dtype=np.uint8, channels: int = 3) -> np.ndarray:
    most = np.iinfo(dtype).max
    x, y = np.meshgrid(np.linspace(0, most, 60), np.linspace(0, most, 40))
    return np.stack([x, y, (x + y) / 2, most - x][:channels], axis=-1).astype(dtype)


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
@pytest.mark.parametrize("alpha", [False, True])
@pytest.mark.parametrize("form", SUFFIXES)
def test_what_is_written_is_read_back(tmp_path, form, alpha, dtype):
    pixels = gradient(dtype, 4)
    exif = Image.Exif()
    exif[0x10F] = "a camera"
    given = Picture(pixels[..., :3], pixels[..., 3] if alpha else None, form, PROFILE, exif.tobytes())
    path = tmp_path / f"a{SUFFIXES[form]}"
    write_picture(path, given, "Edited with Invid: smile=1")
    assert is_picture(path)
    seen = read_picture(path)
    assert seen.format == form and seen.profile == PROFILE
    exact = form in ("png", "tiff")
    assert seen.pixels.dtype == (dtype if exact else np.uint8)
    if exact:
        np.testing.assert_array_equal(seen.pixels, given.pixels)
    else:
        assert np.abs(seen.rgb8.astype(int) - given.rgb8).mean() < 2
    assert (seen.alpha is not None) == (alpha and form != "jpeg")
    if seen.alpha is not None:
        assert np.abs(to_8_bits(seen.alpha).astype(int) - to_8_bits(given.alpha)).max() <= (0 if exact else 1)
    assert b"Edited with Invid: smile=1" in path.read_bytes()
    if not (form == "tiff" and dtype == np.uint16):
        with Image.open(path) as image:
            assert image.getexif()[0x10F] == "a camera"


def test_16_bits_become_the_nearest_of_8():
    levels = np.arange(65536, dtype=np.uint16)
    np.testing.assert_array_equal(to_8_bits(levels), np.rint(levels / 257).astype(np.uint8))
    np.testing.assert_array_equal(to_8_bits(np.arange(256, dtype=np.uint16) * 257), np.arange(256))


@pytest.mark.parametrize("tag", range(1, 9))
@pytest.mark.parametrize("name", ["a.jpg", "a.png", "a.tif"])
def test_pictures_are_turned_upright_and_lose_their_place(tmp_path, tag, name):
    exif = Image.Exif()
    exif[0x112] = tag
    exif.get_ifd(0x8825)[1] = "N"
    path = tmp_path / name
    Image.fromarray(gradient()).save(path, exif=exif)
    with Image.open(path) as image:
        wanted = np.asarray(ImageOps.exif_transpose(image))
    seen = read_picture(path)
    np.testing.assert_array_equal(seen.pixels, wanted)
    write_picture(tmp_path / f"out{name[1:]}", seen, "test")
    with Image.open(tmp_path / f"out{name[1:]}") as image:
        assert image.getexif().get(0x112, 1) == 1 and not image.getexif().get_ifd(0x8825)
        assert np.abs(np.asarray(image.convert("RGB")).astype(int) - wanted).mean() < 2


@pytest.mark.parametrize("mode", ["L", "LA", "P", "1", "CMYK", "RGBA"])
def test_every_kind_of_pixel_becomes_rgb(tmp_path, mode):
    image = Image.fromarray(gradient()).convert("L" if mode == "LA" else mode)
    image = image.convert(mode)
    path = tmp_path / ("a.jpg" if mode == "CMYK" else "a.png")
    image.save(path)
    seen = read_picture(path)
    assert seen.pixels.shape == (40, 60, 3) and (seen.alpha is not None) == (mode in ("LA", "RGBA"))
    assert np.abs(seen.pixels.astype(int) - np.asarray(image.convert("RGB"))).mean() < 3


def test_grey_of_16_bits(tmp_path):
    grey = gradient(np.uint16)[..., 0]
    for name in ("a.png", "a.tif"):
        cv2.imwrite(str(tmp_path / name), grey)
        np.testing.assert_array_equal(read_picture(tmp_path / name).pixels[..., 1], grey)


@pytest.mark.parametrize("name", ["a.png", "a.jpg", "a.tif", "a.webp"])
def test_damaged_pictures_are_named(tmp_path, name):
    path = tmp_path / name
    Image.fromarray(np.random.default_rng(0).integers(0, 255, (64, 64, 3), np.uint8)).save(path)
    data = path.read_bytes()
    path.write_bytes(data[: len(data) * 2 // 3] if name != "a.tif" else data[:200])
    with pytest.raises(InputVideoError, match="not an image that can be read") as caught:
        read_picture(path)
    assert str(path) in str(caught.value) and "\n" not in str(caught.value)


def test_a_picture_too_large_to_hold_is_refused(tmp_path):
    path = tmp_path / "bomb.png"
    Image.new("1", (60000, 4000)).save(path)
    data = bytearray(path.read_bytes())
    import struct
    import zlib

    data[20:24] = struct.pack(">I", 60000)  # 60000 x 60000
    data[29:33] = struct.pack(">I", zlib.crc32(data[12:29]))
    path.write_bytes(data)
    with pytest.raises(InputVideoError, match="3600000000 pixels"):
        read_picture(path)


def test_floating_point_pixels_are_refused(tmp_path):
    path: Path = tmp_path / "a.tif"
    Image.fromarray(np.zeros((8, 8), np.float32)).save(path)
    with pytest.raises(InputVideoError, match="8 or 16 bits"):
        read_picture(path)


def test_16_bits_under_a_name_that_is_not_utf8(tmp_path):
    import os

    path = Path(os.fsdecode(os.fsencode(tmp_path) + b"/\xff.png"))
    write_picture(tmp_path / "a.png", Picture(gradient(np.uint16)), "test")
    (tmp_path / "a.png").rename(path)
    np.testing.assert_array_equal(read_picture(path).pixels, gradient(np.uint16))
