"""A sample whose truth is made by hand, and results on it."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from pipeline.samples.frame_writer import FrameWriter
from storage import StageCache, StageWriter, stage_key

FRAMES, WIDTH, HEIGHT, CROP = 4, 64, 48, 32
BOX = (slice(16, 32), slice(24, 40))
"""Rows and columns of the occluder."""
AFFINE = np.array([[1.0, 0.0, -16.0], [0.0, 1.0, -8.0]])
"""The true crop: columns 16 to 48, rows 8 to 40, unscaled."""


def flat(level: int, box: int | None = None) -> np.ndarray:
    frame = np.full((HEIGHT, WIDTH, 3), level, np.uint8)
    if box is not None:
        frame[BOX] = box
    return frame


def write_video(path: Path, frame: np.ndarray | list[np.ndarray]) -> None:
    with FrameWriter(path, (WIDTH, HEIGHT), Fraction(15), 0, True, "") as writer:
        for one in frame if isinstance(frame, list) else [frame] * FRAMES:
            writer.write(one)


def turned(degrees: float) -> list[list[float]]:
    a = math.radians(degrees)
    return [[math.cos(a), 0, math.sin(a), 0], [0, 1, 0, 0], [-math.sin(a), 0, math.cos(a), 2.7], [0, 0, 0, 1]]


def write_known_sample(tmp_path: Path) -> Path:
    """A grey clip with a dark box for an occluder; with the smile the face is brighter."""
    folder = tmp_path / "clip.truth"
    (folder / "mask").mkdir(parents=True)
    write_video(tmp_path / "clip.mp4", flat(120, 40))
    write_video(folder / "clean.mp4", flat(120))
    write_video(folder / "edit_smile.mp4", flat(140))
    write_video(folder / "edit_smile_occluded.mp4", flat(140, 40))
    mask = np.full((HEIGHT, WIDTH), 255, np.uint8)
    mask[BOX] = 0
    for t in range(FRAMES):
        Image.fromarray(mask).save(folder / "mask" / f"{t:06d}.png")
    edit = {"strength": 1.5, "clean": "edit_smile.mp4", "occluded": "edit_smile_occluded.mp4"}
    truth = {
        "format": "invid-sample-truth", "version": 1, "frames": FRAMES, "size": [WIDTH, HEIGHT],
        "occluder": "mask", "cam2world": [turned(0.0)] * FRAMES,
        "crop": {"size": CROP, "affine": [AFFINE.tolist()] * FRAMES},
        "masks": "mask", "clean": "clean.mp4",
        "edits": {"smile": edit},
    }  # fmt: skip
    (folder / "truth.json").write_text(json.dumps(truth))
    return tmp_path / "clip.mp4"


def write_result(
    out: Path, sample: Path, outputs: Mapping[str, np.ndarray | list[np.ndarray]], **given: Any
) -> Path:
    """A job's folder with these videos, cached arrays by `stage/array`, and edits."""
    out.mkdir(exist_ok=True)
    for name, frame in outputs.items():
        write_video(out / f"{name}.mp4", frame)
    arrays: dict[str, np.ndarray] = {
        "align/affine": np.tile(AFFINE, (FRAMES, 1, 1)),
        "align/frames": np.arange(FRAMES),
        "finetune/reconstruction": np.full((FRAMES, CROP, CROP, 3), 120, np.uint8),
        "camera/cam2world": np.array([turned(d) for d in (1.0, 1.0, 2.0, 5.0)], np.float32),
        **given.get("arrays", {}),
    }
    cache = StageCache(out / "cache")
    keys, hashes = {}, {}
    for stage in sorted({name.rpartition("/")[0] for name in arrays}):
        key = stage_key(stage.replace("/", "-"), 1, {"out": str(out)}, [])
        with cache.begin(key) as writer:
            assert isinstance(writer, StageWriter)
            for name, array in arrays.items():
                if name.rpartition("/")[0] == stage:
                    writer.put(name.rpartition("/")[2], array)
            found = writer.publish()
        keys[stage] = found.key
        hashes |= {f"{stage}/{name}": stored.hash for name, stored in found.arrays.items()}
    manifest = {
        "input": {"path": str(sample), "width": WIDTH, "height": HEIGHT},
        "settings": {
            "edit": {
                "edits": given.get("edits", []),
                "remove_occluder": given.get("remove_occluder", False),
                "view": given.get("view"),
            }
        },
        "frames": {"total": FRAMES},
        "metrics": {"reconstruction": {"psnr": 31.5, "ssim": 0.9, "lpips": None}},
        "per_frame": {"time": [t / 15 for t in range(FRAMES)]},
        "arrays": hashes,
        "cache": {"root": str(out / "cache"), "keys": keys},
        "outputs": {name: f"{name}.mp4" for name in outputs},
    }
    (out / "manifest.json").write_text(json.dumps(manifest))
    return out


SMILE = {"name": "smile", "strength": 1.5, "start": None, "stop": None}
