"""Read and validate EG3D's `dataset.json` of official cameras."""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from inverters.generators.small_files import read_json
from pipeline.clip import F64, Cameras
from pipeline.errors import UserError, shortened

_MOST_BYTES = 1 << 28
_PIXEL_FOCAL = 50.0
"""A focal length above this is in pixels, not in image widths."""


def read_dataset_json(path: str | Path, count: int, frame_names: Sequence[str] | None = None) -> Cameras:
    """Cameras of `count` frames from EG3D's `dataset.json`: {"labels": [[file name, [25 numbers]], ...]}.

    A label is cam2world 4x4 row by row, then intrinsics 3x3 divided by the image size (EG3D,
    docs/camera_conventions). Labels are assigned to frames by file name where `frame_names` are given; else
    by the number in the file name, counted from 0, or from 1 where none is 0 and the last is `count`; else
    in order, if there are exactly `count`. Mirrored copies are skipped. Frames without a label are NaN.

    Raises UserError for another kind of file, for raw uncalibrated `cameras.json`, and where labels do not
    match the frames.
    """
    file = Path(path)
    data = _load(file)
    if _is_raw(data):
        raise UserError(
            f"{file} holds raw, uncalibrated cameras (pixel intrinsics, poses off EG3D's sphere), as "
            "`cameras.json` of EG3D's preprocessing does; give the `dataset.json` that its last step writes, "
            "or leave --cameras out"
        )
    entries = _entries(file, data)
    labels = np.full((count, 25), np.nan)
    for row, label in zip(_rows(file, [name for name, _ in entries], count, frame_names), entries):
        labels[row] = label[1]
    present = ~np.isnan(labels[:, 0])
    _check(file, labels[present])
    cam2world = labels[:, :16].reshape(-1, 4, 4).astype(np.float32)
    return Cameras(cam2world, labels[:, 16:].reshape(-1, 3, 3).astype(np.float32))


def _load(file: Path) -> Any:
    try:
        return read_json(file, _MOST_BYTES)
    except OSError as error:
        raise UserError(f"cannot read the camera labels {file}: {error.strerror or error}") from error
    except ValueError as error:
        raise UserError(f"{file} is not JSON, so it is no dataset.json: {error}") from error


def _is_raw(data: Any) -> bool:
    """True for the intermediate file {file name: {"intrinsics": 3x3 in pixels, "pose": 4x4}}."""
    if not isinstance(data, dict) or not data or "labels" in data:
        return False
    return all(isinstance(value, dict) and "pose" in value for value in data.values())


def _entries(file: Path, data: Any) -> list[tuple[str, F64]]:
    """Names and labels [25] of a dataset.json, without mirrored copies."""
    labels = data.get("labels") if isinstance(data, dict) else None
    if not isinstance(labels, list) or not labels:
        raise UserError(
            f'{file} has no list "labels" of [file name, 25 numbers], so it is no dataset.json of EG3D'
        )
    entries = []
    for item in labels:
        try:
            name, numbers = item
            vector = np.array(numbers, dtype=np.float64)
        except (TypeError, ValueError, OverflowError) as error:
            raise UserError(
                f"{file}: an entry of labels is not [file name, 25 numbers]: {shortened(item)}"
            ) from error
        if not isinstance(name, str) or vector.shape != (25,) or not np.isfinite(vector).all():
            raise UserError(
                f"{file}: the label of '{shortened(name)}' is not 25 finite numbers "
                f"(shape {list(vector.shape)})"
            )
        if not Path(name).stem.endswith("_mirror"):
            entries.append((name, vector))
    return entries


def _rows(file: Path, names: list[str], count: int, frame_names: Sequence[str] | None) -> list[int]:
    """Index of the frame of each label."""
    if frame_names is not None:
        known = {Path(name).stem: row for row, name in enumerate(frame_names)}
        unknown = [name for name in names if Path(name).stem not in known]
        if unknown:
            raise UserError(
                f"{file}: label '{shortened(unknown[0])}' belongs to no frame ({len(unknown)} such labels)"
            )
        return [known[Path(name).stem] for name in names]
    found = [re.findall("[0-9]{1,18}", Path(name).stem) for name in names]
    numbers = [int(digits[-1]) for digits in found if digits]
    if numbers and len(numbers) == len(names) and len(set(numbers)) == len(numbers):
        first = 1 if min(numbers) >= 1 and max(numbers) == count else 0
        if all(0 <= number - first < count for number in numbers):
            return [number - first for number in numbers]
    if len(names) == count:
        return list(range(count))
    raise UserError(
        f"{file} has {len(names)} labels, the clip {count} frames, and the numbers in the file names do not "
        "say which is which; name the entries by frame number (frame0000.png is the first frame), "
        "or give one label a frame"
    )


def _check(file: Path, labels: F64) -> None:
    """Raise UserError unless labels [K,25] are calibrated cameras."""
    poses, intrinsics = labels[:, :16].reshape(-1, 4, 4), labels[:, 16:].reshape(-1, 3, 3)
    if (intrinsics[:, 0, 0] > _PIXEL_FOCAL).any():
        raise UserError(
            f"{file}: the intrinsics are in pixels (focal {intrinsics[0, 0, 0]:.1f}), so they are not "
            "calibrated; EG3D's are divided by the image size (4.2647)"
        )
    rotation = poses[:, :3, :3]
    error = np.abs(rotation @ np.swapaxes(rotation, 1, 2) - np.eye(3)).max(initial=0.0)
    if error > 1e-2 or (np.linalg.det(rotation) < 0).any() or (intrinsics[:, 0, 0] <= 0).any():
        raise UserError(
            f"{file}: a label is no camera: its rotation is off by {error:.2g} or its focal length is not > 0"
        )
