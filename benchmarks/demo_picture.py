"""The picture at the top of README: one frame of the demo, as it is and as it comes out.

    make demo
    python -m benchmarks.demo_picture samples/mask.mp4 out/demo --out docs/demo.jpg

From left to right: the source, without the mask, without the mask and with the edit, the view from the side.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import numpy as np
from PIL import Image

from pipeline.video.probe import probe
from pipeline.video.reader import AvSource

RESULTS = ("removal.mp4", "removal_edited.mp4", "view.mp4")


def frame(path: Path, number: int) -> Image.Image:
    """Return a frame of a video."""
    return Image.fromarray(next(iter(AvSource(path, probe(path)).frames(number, number + 1))))


def row(pictures: list[Image.Image], height: int) -> Image.Image:
    """Return pictures beside each other, all of this height, the wide ones cut to squares."""
    squares = []
    for picture in pictures:
        side = min(picture.size)
        left = (picture.width - side) // 2
        squares.append(
            picture.crop((left, 0, left + side, side)).resize((height, height), Image.Resampling.LANCZOS)
        )
    return Image.fromarray(np.concatenate([np.asarray(square) for square in squares], axis=1))


def main() -> None:
    """Draw and write."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("source", type=Path, help="the clip")
    parser.add_argument("results", type=Path, help="folder of the finished demo")
    parser.add_argument("--out", type=Path, required=True, metavar="FILE")
    parser.add_argument("--frame", type=int, default=27)
    parser.add_argument("--height", type=int, default=256)
    args = parser.parse_args()
    paths = [args.source, *(args.results / name for name in RESULTS)]
    row([frame(path, args.frame) for path in paths], args.height).save(args.out, quality=90)


if __name__ == "__main__":
    main()
