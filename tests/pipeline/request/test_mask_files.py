"""What a mask file may be: grey of 8 or 16 bits, of zeros and ones; all else is told in one line."""

from __future__ import annotations

import os
import struct
import zlib
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from pipeline.errors import UserError
from pipeline.pictures import face_mask, size_of
from pipeline.request.occluder_masks import CropMasks, mask_notes, match_masks

SIZE = (6, 4)
FACE = np.zeros(SIZE[::-1], bool)
FACE[:, 2:] = True


def png(width: int, height: int) -> bytes:
    """A PNG that says to be of this size, and has no pixels."""

    def part(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    header = struct.pack(">IIBBBBB", width, height, 8, 0, 0, 0, 0)
    pixels = part(b"IDAT", zlib.compress(b""))
    return b"\x89PNG\r\n\x1a\n" + part(b"IHDR", header) + pixels + part(b"IEND", b"")


def refused(folder: Path, says: str) -> None:
    with pytest.raises(UserError, match=says) as caught:
        match_masks(folder, np.array([0]), 1, *SIZE)
        mask_notes(folder)
    assert "\n" not in str(caught.value) and "--occluder-masks" in str(caught.value)


@pytest.mark.parametrize(
    ("name", "pixels"),
    [
        ("grey.png", np.where(FACE, 255, 0).astype(np.uint8)),
        ("half.png", np.where(FACE, 128, 127).astype(np.uint8)),
        ("ones.png", FACE.astype(np.uint8)),
        ("bits.png", FACE),
        ("deep.png", np.where(FACE, 40000, 30000).astype(np.uint16)),
        ("dark.png", np.where(FACE, 65535, 300).astype(np.uint16)),
        ("deep ones.png", FACE.astype(np.uint16)),
        ("shares.tiff", np.where(FACE, 0.7, 0.2).astype(np.float32)),
        ("colour.png", np.where(FACE[..., None], 255, [40, 0, 90]).astype(np.uint8)),
        ("opaque.png", np.where(FACE[..., None], 255, [0, 0, 0, 255]).astype(np.uint8)),
        ("lossy.jpg", np.where(FACE, 255, 0).astype(np.uint8)),
    ],
)
def test_masks_of_every_depth_say_the_same(tmp_path: Path, name: str, pixels: np.ndarray) -> None:
    Image.fromarray(pixels).save(tmp_path / name)
    np.testing.assert_array_equal(face_mask(tmp_path / name, SIZE), np.where(FACE, 255, 0))
    affine = np.array([[[1.0, 0, 0], [0, 1, 0]]])
    np.testing.assert_array_equal(CropMasks([tmp_path / name], affine, 4)[np.array([0])][0][:, 2:], 255)


def test_noise_of_a_black_jpeg_is_no_mask_of_ones(tmp_path: Path) -> None:
    Image.fromarray(np.full((64, 64), 1, np.uint8)).save(tmp_path / "0.jpg", quality=100)
    assert not face_mask(tmp_path / "0.jpg").any()


def test_masks_that_are_transparent_are_refused(tmp_path: Path) -> None:
    Image.new("RGBA", SIZE, (255, 255, 255, 0)).save(tmp_path / "0.png")
    refused(tmp_path, "0.png is transparent in places")
    Image.new("L", SIZE, 7).save(tmp_path / "0.png", transparency=7)
    refused(tmp_path, "0.png is transparent in places")


def test_two_masks_of_one_frame_are_refused(tmp_path: Path) -> None:
    for name in ("0.png", "00.png"):
        Image.new("L", SIZE).save(tmp_path / name)
    refused(tmp_path, "0.png and 00.png both have number 0")


def test_masks_of_one_kind_everywhere_are_told(tmp_path: Path) -> None:
    for number, value in enumerate((0, 255, 255)):
        Image.new("L", SIZE, value).save(tmp_path / f"{number}.png")
    assert [note.partition(":")[0] for note in mask_notes(tmp_path)] == [
        "1 of 3 occluder masks are black everywhere"
    ]
    Image.new("L", SIZE, 255).save(tmp_path / "0.png")
    assert mask_notes(tmp_path) == ["all 3 occluder masks are white everywhere: nothing counts as covered"]
    Image.fromarray(np.where(FACE, 255, 0).astype(np.uint8)).save(tmp_path / "0.png")
    assert mask_notes(tmp_path) == []


def test_a_mask_of_billions_of_pixels_is_not_read(tmp_path: Path) -> None:
    (tmp_path / "0.png").write_bytes(png(60_000, 60_000))
    refused(tmp_path, "0.png is not an image that can be read")
    (tmp_path / "0.png").write_bytes(png(10_000, 10_000))
    refused(tmp_path, "0.png is 10000 x 10000 pixels, but the video is 6 x 4")
    with pytest.raises(UserError, match="10000 x 10000 pixels, not 6 x 4"):
        face_mask(tmp_path / "0.png", SIZE)
    assert size_of(tmp_path / "0.png") == (10_000, 10_000)


def test_damaged_masks_and_pipes_are_refused(tmp_path: Path) -> None:
    Image.fromarray(np.random.default_rng(0).integers(0, 255, SIZE[::-1], np.uint8)).save(tmp_path / "0.png")
    whole = (tmp_path / "0.png").read_bytes()
    for data in (
        whole[:-35],
        whole[:20],
        b"",
        b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 6 4\n",
        png(*SIZE),
    ):
        (tmp_path / "0.png").write_bytes(data)
        refused(tmp_path, "0.png is not an image that can be read")
    (tmp_path / "0.png").unlink()
    os.mkfifo(tmp_path / "0.png")
    refused(tmp_path, "not a regular file")


def test_numbers_of_masks_are_in_ascii_digits_and_hidden_files_are_none(tmp_path: Path) -> None:
    for name in ("0.png", "._0.png"):
        Image.new("L", SIZE).save(tmp_path / name)
    assert [path.name for path in match_masks(tmp_path, np.array([0]), 1, *SIZE)] == ["0.png"]
