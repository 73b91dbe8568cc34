"""A clip of the stand-ins' size, with a truth about it."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import numpy as np
from PIL import Image

from tests.pipeline.fakes import FRAMES, HEIGHT, WIDTH, write_clip


def write_known_clip(folder: Path, name: str) -> Path:
    """A clip whose truth says that the edit and the removal change nothing; the occluder is its corner."""
    video = write_clip(folder / f"{name}.mp4")
    truth = folder / f"{name}.truth"
    (truth / "mask").mkdir(parents=True)
    mask = np.full((HEIGHT, WIDTH), 255, np.uint8)
    mask[:30, :30] = 0
    for t in range(FRAMES):
        Image.fromarray(mask).save(truth / "mask" / f"{t:06d}.png")
    for file in ("clean", "edit_smile", "edit_smile_occluded"):
        shutil.copyfile(video, truth / f"{file}.mp4")
    pose = [[1, 0, 0, 0], [0, -1, 0, 0], [0, 0, -1, 2.7], [0, 0, 0, 1]]
    edit = {"strength": 1.5, "clean": "edit_smile.mp4", "occluded": "edit_smile_occluded.mp4"}
    known = {
        "format": "invid-sample-truth", "version": 1, "frames": FRAMES, "size": [WIDTH, HEIGHT],
        "occluder": "mask", "cam2world": [pose] * FRAMES,
        "crop": {"size": 32, "affine": [[[0.5, 0, 0], [0, 0.5, 0]]] * FRAMES},
        "masks": "mask", "clean": "clean.mp4", "edits": {"smile": edit},
    }  # fmt: skip
    (truth / "truth.json").write_text(json.dumps(known))
    return video
