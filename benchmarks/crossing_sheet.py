"""A sheet of two people who cross, each with an edit of its own: the clip, and what a job makes of it.

    python -m benchmarks.crossing_sheet clip crossing.mp4
    process-video crossing.mp4 --face 0:smile=2 --face 1:glasses=2.5 --codec ffv1 --out OUT
    python -m benchmarks.crossing_sheet sheet OUT --out docs/video/crossing.jpg

The clip is made of two samples: one person goes to the right and gets smaller, the other passes behind to the
left and gets larger. The sheet has some of its frames, the source's on the left.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Sequence
from fractions import Fraction
from pathlib import Path

import cv2
import numpy as np
from PIL import Image

from pipeline.clip import U8
from pipeline.request.settings import DecodeSettings
from pipeline.samples.frame_writer import FrameWriter
from pipeline.samples.rendering import CLIP_CRF
from pipeline.stages.decode import decode

SIZE, COUNT, RATE = (960, 288), 30, 15
"""Of the clip: width and height in pixels, frames, frames a second."""
SAMPLE_SIZE = (384, 288)
SIZES = (1.0, 0.75)
"""Of a person on the left and on the right, in the size of a sample."""
SAMPLES = ("hand", "mask")
"""The person in front, and the one behind; both without their occluders."""
_WIDTH, _QUALITY, _GAP = 640, 85, 4
Rect = tuple[int, int, int, int]


def rect_at(share: float, sizes: tuple[float, float] = SIZES) -> Rect:
    """Left, top, width and height of a person who is this far to the right; sizes: on the left and right."""
    size = sizes[0] + (sizes[1] - sizes[0]) * share
    width, height = (round(side * size) for side in SAMPLE_SIZE)
    return round((SIZE[0] - width) * share), SIZE[1] - height, width, height


def composed(people: Sequence[tuple[U8, Rect]]) -> U8:
    """A grey frame, uint8 [H,W,3], with pictures of people in their places, the last in front."""
    frame = np.full((SIZE[1], SIZE[0], 3), 70, np.uint8)
    for picture, (x, y, width, height) in people:
        frame[y : y + height, x : x + width] = cv2.resize(
            picture, (width, height), interpolation=cv2.INTER_AREA
        )
    return frame


def frames() -> list[U8]:
    """The frames of the clip, uint8 [H,W,3]."""
    files = [Path("samples") / f"{name}.truth/clean.mp4" for name in SAMPLES]
    front, behind = (list(decode(file, DecodeSettings(), Path()).frames()) for file in files)
    made = []
    for t in range(COUNT):
        share = t / (COUNT - 1)
        pair = (behind[t % len(behind)], rect_at(1 - share)), (front[t % len(front)], rect_at(share))
        made.append(composed(pair))
    return made


def write_clip(path: Path) -> None:
    """Write the clip."""
    with FrameWriter(path, SIZE, Fraction(RATE), CLIP_CRF, False, "People who do not exist cross") as file:
        for frame in frames():
            file.write(frame)


def write_sheet(folder: Path, shown: list[int], out: Path) -> None:
    """Draw frames of the clip of a job beside those of its output `edited`."""
    manifest = json.loads((folder / "manifest.json").read_text())
    clips = [Path(manifest["input"]["path"]), folder / manifest["outputs"]["edited"]]
    columns = [list(decode(clip, DecodeSettings(), folder).frames()) for clip in clips]
    height = round(_WIDTH * SIZE[1] / SIZE[0])
    sheet = Image.new("RGB", (2 * _WIDTH + _GAP, len(shown) * (height + _GAP) - _GAP), "white")
    for row, t in enumerate(shown):
        for column, clip in enumerate(columns):
            small = Image.fromarray(clip[t]).resize((_WIDTH, height), Image.Resampling.LANCZOS)
            sheet.paste(small, (column * (_WIDTH + _GAP), row * (height + _GAP)))
    out.parent.mkdir(parents=True, exist_ok=True)
    sheet.save(out, quality=_QUALITY)


def main() -> None:
    """Write the clip, or the sheet."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parts = parser.add_subparsers(dest="part", required=True)
    clip = parts.add_parser("clip")
    clip.add_argument("path", type=Path)
    sheet = parts.add_parser("sheet")
    sheet.add_argument("folder", type=Path)
    sheet.add_argument("--frames", type=int, nargs="+", default=[2, 8, 10, 18, 20, 27])
    sheet.add_argument("--out", type=Path, required=True)
    args = parser.parse_args()
    if args.part == "clip":
        write_clip(args.path)
    else:
        write_sheet(args.folder, args.frames, args.out)


if __name__ == "__main__":
    main()
