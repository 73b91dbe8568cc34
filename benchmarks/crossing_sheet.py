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
SIZES = (1.0, 0.75)
"""Of a person on the left and on the right, of a sample's own 384 x 288 pixels."""
SAMPLES = ("hand", "mask")
"""The person in front, and the one behind; both without their occluders."""
_WIDTH, _QUALITY, _GAP = 640, 85, 4


def rect_at(share: float) -> tuple[int, int, int, int]:
    """Left, top, width and height of a person who is this far to the right."""
    size = SIZES[0] + (SIZES[1] - SIZES[0]) * share
    width, height = round(384 * size), round(288 * size)
    return round((SIZE[0] - width) * share), SIZE[1] - height, width, height


def frames() -> list[U8]:
    """The frames of the clip, uint8 [H,W,3]."""
    files = [Path("samples") / f"{name}.truth/clean.mp4" for name in SAMPLES]
    people = [list(decode(file, DecodeSettings(), Path()).frames()) for file in files]
    made = []
    for t in range(COUNT):
        share, frame = t / (COUNT - 1), np.full((SIZE[1], SIZE[0], 3), 70, np.uint8)
        for person, place in ((people[1], 1 - share), (people[0], share)):
            x, y, width, height = rect_at(place)
            shown = cv2.resize(person[t % len(person)], (width, height), interpolation=cv2.INTER_AREA)
            frame[y : y + height, x : x + width] = shown
        made.append(frame)
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
