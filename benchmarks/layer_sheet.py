"""A sheet of a layer: source, layer over grey squares, layer over another background, mask, finished frame.

    process-video samples/hand.mp4 --edit smile=1.5 --layers --codec png --out OUT --max-frames 6 --steps 120
    python -m benchmarks.layer_sheet OUT --out docs/video/layer.jpg

The one in docs also has --finetune-steps 20. OUT is the folder of a job with `--layers` whose results are
pictures; `--frames` are shown, one a row.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path

import numpy as np
from PIL import Image

from pipeline.clip import U8
from pipeline.request.settings import DecodeSettings
from pipeline.stages.decode import decode
from pipeline.video.pictures import read_picture

_HEIGHT, _QUALITY = 216, 85


def over(layer: Path, background: U8) -> U8:
    """A layer over a background, uint8 [H,W,3]."""
    found = read_picture(layer)
    if found.alpha is None:
        raise SystemExit(f"{layer}: has no alpha")
    alpha = found.alpha[..., None] / 65535.0
    mixed: U8 = np.rint(background + alpha * (found.pixels / 257.0 - background)).astype(np.uint8)
    return mixed


def squares(height: int, width: int) -> U8:
    """Grey squares of 16 pixels."""
    y, x = np.mgrid[:height, :width] // 16
    return np.repeat(np.where((x + y) % 2, 110, 150).astype(np.uint8)[..., None], 3, axis=2)


def evening(height: int, width: int) -> U8:
    """A sky that goes from blue to orange over dark ground."""
    y = np.linspace(0.0, 1.0, height)[:, None, None]
    sky = (1 - y) * np.array([30, 60, 120]) + y * np.array([250, 150, 70])
    ground = np.where(y > 0.8, np.array([35, 30, 40]), sky)
    return np.repeat(ground, width, axis=1).astype(np.uint8)


def row(folder: Path, name: str, frame: int, source: U8) -> U8:
    """The five pictures of one frame beside each other."""
    layer, mask, done = (folder / f"{name}{part}.{frame:05d}.png" for part in ("_layer", "_mask", ""))
    height, width = source.shape[:2]
    shown = [
        source,
        over(layer, squares(height, width)),
        over(layer, evening(height, width)),
        read_picture(mask).rgb8,
        read_picture(done).rgb8,
    ]
    return np.concatenate(shown, axis=1)


def main() -> None:
    """Draw and write."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("folder", type=Path)
    parser.add_argument("--name", default="edited")
    parser.add_argument("--frames", type=int, nargs="+", default=[0, 4])
    parser.add_argument("--out", type=Path, required=True)
    args = parser.parse_args()
    video = Path(json.loads((args.folder / "manifest.json").read_text())["input"]["path"])
    frames = list(decode(video, DecodeSettings(max_frames=max(args.frames) + 1), args.folder).frames())
    rows = [row(args.folder, args.name, frame, frames[frame]) for frame in args.frames]
    sheet = Image.fromarray(np.concatenate(rows))
    width = round(sheet.width * _HEIGHT * len(rows) / sheet.height)
    args.out.parent.mkdir(parents=True, exist_ok=True)
    sheet.resize((width, _HEIGHT * len(rows)), Image.Resampling.LANCZOS).save(args.out, quality=_QUALITY)


if __name__ == "__main__":
    main()
