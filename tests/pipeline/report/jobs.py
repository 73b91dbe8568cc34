"""A finished job's files and manifest, made without fitting anything: a face of flat colours."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from pipeline.clip import Clip, Crops
from pipeline.request.settings import DecodeSettings
from pipeline.stages.decode import decode
from tests.pipeline.video.media import make_video

COUNT, WIDTH, HEIGHT = 8, 192, 144
SKIN, MOUTH, GROUND = (220, 170, 120), (200, 30, 40), (40, 90, 80)
MOST_CHANGED = 5
"""The frame in which the edit is largest."""


@dataclass(frozen=True)
class Job:
    """A folder of outputs, the manifest that describes them, and the clip that they were made from."""

    out: Path
    manifest: dict[str, Any]
    clip: Clip
    crops: Crops


def frame(index: int, edited: bool = False) -> np.ndarray:
    """uint8 [H,W,3]: a square face that moves to the right, with a red mouth where it is edited."""
    pixels = np.zeros((HEIGHT, WIDTH, 3), np.uint8) + np.uint8(GROUND)
    left = 50 + 4 * index
    pixels[40:110, left : left + 60] = SKIN
    if edited:
        tall = 20 if index == MOST_CHANGED else 8
        pixels[85 : 85 + tall, left + 10 : left + 50] = MOUTH
    return pixels


def make_job(folder: Path) -> Job:
    """Write a source, its edit, a view of 128 pixels, and the two side by side; frame 0 has no face."""
    out = folder / "out"
    out.mkdir()
    before, after = ([frame(i, edited) for i in range(COUNT)] for edited in (False, True))
    affine = np.full((COUNT, 2, 3), np.nan)
    for i in range(1, COUNT):
        scale = 128 / 100
        affine[i] = [[scale, 0, -scale * (30 + 4 * i)], [0, scale, -scale * 25]]
    view = [np.full((128, 128, 3), 90 + i, np.uint8) for i in range(1, COUNT)]
    source = make_video(folder / "source.mp4", COUNT, (WIDTH, HEIGHT), pictures=before)
    make_video(out / "edited.mp4", COUNT, (WIDTH, HEIGHT), pictures=after, options={"bf": "0"})
    make_video(
        out / "view.mp4", pts=list(range(1, COUNT)), size=(128, 128), pictures=view, options={"bf": "0"}
    )
    both = [np.concatenate(pair, axis=1) for pair in zip(before, after)]
    make_video(out / "comparison.mp4", COUNT, (2 * WIDTH, HEIGHT), pictures=both, options={"bf": "0"})
    clip = decode(source, DecodeSettings(), folder)
    manifest = {
        "input": {
            "path": str(source),
            "width": WIDTH,
            "height": HEIGHT,
            "rate": 30.0,
            "duration": clip.duration,
        },
        "settings": {
            "track": {"max_gap": 0.5},
            "edit": {"edits": [{"name": "smile", "strength": 1.5, "start": None, "stop": None}]},
            "invert": {"method": "in-n-out", "preset": "draft"},
        },
        "frames": {"total": COUNT, "edited": COUNT - 1, "interpolated": 1, "passed_through": 1},
        "stages": [{"name": "track", "seconds": 1.0, "cached": True}],
        "per_frame": {"status": [0, 2, 2, 1, *[2] * (COUNT - 4)], "time": clip.times.tolist()},
        "outputs": {
            "edited": "edited.mp4",
            "view": "view.mp4",
            "comparison": "comparison.mp4",
            "report": "report.html",
        },
        "notes": ["one note"],
    }
    return Job(out, manifest, clip, Crops(affine, 128))
