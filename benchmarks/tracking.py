"""Landmarks over time: how far smoothing moves them, and how much they jitter.

    python -m benchmarks.tracking --clip head-shake.mp4 --json > benchmarks/results/tracking.json

Compared are a sliding window of three frames, whatever lies between them, and the filter of `process-video`.
Rows: a still head (one frame of a sample under new noise in every frame), a jump cut and pictures two seconds
apart (made of the same frame), the sample itself, and a clip of one's own.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Iterator
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from pipeline.clip import F64, U8, Clip
from pipeline.machine import machine
from pipeline.request.settings import DecodeSettings, TrackSettings
from pipeline.stages.decode import decode
from pipeline.stages.track import track

SAMPLE = Path("samples/mask.truth/clean.mp4")
NOISE = 4.0
"""Standard deviation in levels of 255 of the noise added to a still frame."""
FRAMES = 40


@dataclass(frozen=True)
class Pictures:
    """Frames from a list."""

    images: list[U8]

    def __len__(self) -> int:
        return len(self.images)

    def frames(self, start: int = 0, stop: int | None = None) -> Iterator[U8]:
        """Yield frames [start, stop)."""
        yield from self.images[start:stop]


def clip_of(images: list[U8], rate: float) -> Clip:
    """A clip over pictures in memory."""
    height, width = images[0].shape[:2]
    count = len(images)
    return Clip(
        path=Path("made.mp4"),
        content_hash="",
        width=width,
        height=height,
        times=np.arange(count) / rate,
        pts=np.arange(count),
        time_base=Fraction(1, 1000),
        rate=Fraction(rate),
        duration=count / rate,
        has_audio=False,
        source=Pictures(images),
    )


def noisy(images: list[U8], seed: int = 0) -> list[U8]:
    """Every picture under noise of its own."""
    rng = np.random.default_rng(seed)
    return [np.clip(i + rng.normal(0, NOISE, i.shape), 0, 255).astype(np.uint8) for i in images]


def three_frames(landmarks: F64) -> F64:
    """The mean of each frame and the two beside it, whatever lies between them."""
    padded = np.concatenate([landmarks[:1], landmarks, landmarks[-1:]])
    mean: F64 = (padded[:-2] + padded[1:-1] + padded[2:]) / 3
    return mean


def figures(clip: Clip) -> dict[str, dict[str, float]]:
    """Shift and jitter of both filters, in per cent of the face's width; shift also in pixels."""
    found = track(clip, TrackSettings(smoothing="none"))
    rough = found.landmarks[found.usable].astype(np.float64)
    calm = track(clip, TrackSettings()).landmarks[found.usable].astype(np.float64)
    width = float(np.median(np.linalg.norm(rough[:, 16] - rough[:, 0], axis=-1)))
    filters = {"none": rough, "three frames": three_frames(rough), "ours": calm}
    return {name: _compared(points, rough, width) for name, points in filters.items()}


def _compared(points: npt.NDArray[Any], rough: F64, width: float) -> dict[str, float]:
    shift = np.linalg.norm(points - rough, axis=-1)
    steps = np.linalg.norm(np.diff(points, axis=0), axis=-1)
    return {
        "shift, p95, % of width": round(100 * float(np.percentile(shift, 95)) / width, 3),
        "shift, most, px": round(float(shift.max()), 2),
        "step, mean, % of width": round(100 * float(steps.mean()) / width, 3),
    }


def rows(own: Path | None, frames: int | None) -> dict[str, dict[str, dict[str, float]]]:
    """Figures by row."""
    sample = decode(SAMPLE, DecodeSettings(), Path())
    still = next(iter(sample.frames()))
    side = np.roll(still, 32, axis=1)
    jump = noisy([still] * (FRAMES // 2) + [side] * (FRAMES // 2))
    places = [np.roll(still, 11 * (n % 5), axis=1) for n in range(8)]
    found = {
        "still head, 25 frames/s": figures(clip_of(noisy([still] * FRAMES), 25.0)),
        "jump cut of 32 px": figures(clip_of(jump, 25.0)),
        "pictures 2 s apart": figures(clip_of(places, 0.5)),
        "sample, 15 frames/s": figures(sample),
    }
    if own is not None:
        found[own.name] = figures(decode(own, DecodeSettings(max_frames=frames), Path()))
    return found


def main() -> None:
    """Print a table, or JSON with the machine."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--clip", type=Path)
    parser.add_argument("--max-frames", type=int)
    parser.add_argument("--json", action="store_true")
    args = parser.parse_args()
    found = rows(args.clip, args.max_frames)
    if args.json:
        print(json.dumps({"machine": machine(), "rows": found}, indent=1))
        return
    for name, filters in found.items():
        for which, values in filters.items():
            print(f"{name:<28}{which:<14}", *(f"{key} {value}" for key, value in values.items()), sep="  ")


if __name__ == "__main__":
    main()
