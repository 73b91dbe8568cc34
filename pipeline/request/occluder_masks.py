"""Masks of the user, a folder of one image a frame: of occluders (0 = occluder), of the face (0 = source).

Occluder masks are warped into the crops; face masks take the place of those that `--layers` writes.
"""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TypeVar

import numpy as np

from pipeline.clip import F32, F64, I64, U8
from pipeline.errors import UserError, shortened
from pipeline.pictures import face_mask, size_of, soft_mask
from pipeline.request.paths import is_folder

T = TypeVar("T")
OCCLUDERS, FACES = "--occluder-masks", "--face-masks"
_BLACK = {OCCLUDERS: "occluder", FACES: "the source"}
"""What a black pixel means."""
_WRITTEN = re.compile(r"(.+)_mask(?:\.[0-9]+)?")
"""Names of the face masks that `--layers` writes."""
_SUFFIXES = {".png", ".jpg", ".jpeg", ".bmp", ".webp", ".tif", ".tiff"}


def mask_files(folder: Path, option: str = OCCLUDERS) -> list[Path]:
    """The images of a mask folder, by name; in a folder of results the face masks alone.

    Raises UserError where there is no folder, or no image in it, or face masks of several results.
    """
    if not is_folder(folder):
        raise UserError(f"{option} {shortened(folder)}: there is no such folder; give one mask image a frame")
    found = (p for p in folder.iterdir() if p.suffix.lower() in _SUFFIXES and not p.name.startswith("."))
    files = sorted(found)
    if not files:
        raise UserError(
            f"{option} {folder}: holds no images; give one mask (png) a frame, 0 = {_BLACK[option]}"
        )
    names = {path: fits[1] for path in files if (fits := _WRITTEN.fullmatch(path.stem))}
    if option != FACES or not names:
        return files
    if len(several := sorted(set(names.values()))) > 1:
        raise UserError(
            f"{option} {folder}: holds masks of {' and '.join(several)}; put those of one into a folder"
        )
    return list(names)


def match_masks(
    folder: Path,
    frames: I64,
    total: int,
    width: int,
    height: int,
    option: str = OCCLUDERS,
    own_numbers: Sequence[int] = (),
) -> list[Path]:
    """The mask file of each of `frames`, by the number in its name.

    Numbers count from 0, or from 1 where `total` is the last, or are those of the clip's own pictures. Where
    names hold no numbers, files are taken in order and there must be `total` of them. Raises UserError for a
    frame without a mask, for two masks of one frame, and for masks of another size than the video's upright
    frames.
    """
    files = mask_files(folder, option)
    digits = [re.findall("[0-9]{1,18}", path.stem) for path in files]
    if all(digits):
        numbers = [int(found[-1]) for found in digits]
        _check_once(folder, option, numbers, files)
        if set(numbers) <= set(own_numbers):
            place = {number: frame for frame, number in enumerate(own_numbers)}
            by_frame = {place[number]: path for number, path in zip(numbers, files)}
        else:
            first = 1 if min(numbers) >= 1 and max(numbers) == total else 0
            by_frame = {number - first: path for number, path in zip(numbers, files)}
    else:
        by_frame = dict(enumerate(files))
    if (not all(digits) and len(files) != total) or (by_frame and max(by_frame) >= total):
        raise UserError(
            f"{option} {folder}: {len(files)} masks do not match the video's {total} frames; "
            "name each mask by its frame's number, as 00000.png"
        )
    missing = [int(frame) for frame in frames if int(frame) not in by_frame]
    if missing:
        kind = "frames with a face" if option == OCCLUDERS else "frames"
        raise UserError(
            f"{option} {folder}: there is no mask for frame {missing[0]} "
            f"({len(missing)} of {len(frames)} {kind} have none)"
        )
    for path in files:
        if (size := _told(folder, option, size_of, path)) != (width, height):
            raise UserError(
                f"{option} {folder}: {path.name} is {size[0]} x {size[1]} pixels, but the video is "
                f"{width} x {height}; masks have the video's size"
            )
    return [by_frame[int(frame)] for frame in frames]


def _check_once(folder: Path, option: str, numbers: list[int], files: list[Path]) -> None:
    """Raise UserError where two masks are of one frame."""
    named = defaultdict(list)
    for number, path in zip(numbers, files):
        named[number].append(path.name)
    for number, names in named.items():
        if len(names) > 1:
            raise UserError(
                f"{option} {folder}: {names[0]} and {names[1]} both have number {number}; "
                "give one mask a frame"
            )


def mask_notes(folder: Path) -> list[str]:
    """What a user should know of masks that are black or white everywhere. All pixels of all are read.

    Raises UserError for a mask that cannot be read.
    """
    files = mask_files(folder)
    black = white = 0
    for path in files:
        mask = _told(folder, OCCLUDERS, face_mask, path)
        black, white = black + (not mask.any()), white + bool(mask.all())
    notes = []
    if black:
        notes.append(
            f"{black} of {len(files)} occluder masks are black everywhere: there the whole frame counts as "
            "covered, as 0 is the occluder"
        )
    if white == len(files):
        notes.append(f"all {len(files)} occluder masks are white everywhere: nothing counts as covered")
    return notes


def _told(folder: Path, option: str, read: Callable[[Path], T], path: Path) -> T:
    """What `read` returns. Raises its UserError, with the option's name."""
    try:
        return read(path)
    except UserError as error:
        raise UserError(f"{option} {folder}: {error}") from None


class FrameMasks:
    """Face masks of whole frames, read on demand: `masks[row]` is float32 [H,W], 0 = source, 1 = the edit."""

    def __init__(self, folder: Path, files: list[Path]) -> None:
        self._folder, self._files = folder, files

    def __getitem__(self, row: int) -> F32:
        return _told(self._folder, FACES, soft_mask, self._files[row]).astype(np.float32)


class CropMasks:
    """Masks of the crops, read on demand: `masks[rows]` is uint8 [n,S,S], 0 = occluder, 255 = face."""

    def __init__(self, files: list[Path], affines: F64, size: int) -> None:
        self._files = files
        self._affines = affines
        self._size = size

    def __len__(self) -> int:
        return len(self._files)

    def __getitem__(self, rows: I64) -> U8:
        return np.stack([self._one(int(row)) for row in np.atleast_1d(rows)])

    def _one(self, row: int) -> U8:
        from pipeline.video.warp import warp_crop

        crop = warp_crop(face_mask(self._files[row]), self._affines[row], self._size)
        return np.where(crop < 128, 0, 255).astype(np.uint8)
