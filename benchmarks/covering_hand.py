"""A hand before the face for five frames, in finished jobs on clips of made-up people whose truth is known.

    python -m benchmarks.covering_hand --out benchmarks/results/covering_hand.json

Each clip has one second at 25 frames/s; the hand of `inverters/people` stands before the face in frames 12 to
16, and comes and goes from one frame to the next. `process-video` edits and removes it with its defaults. By
clip:

- `jaw`: how far the landmarks of the jaw (4 to 12 of 68) are from those of the clip without the hand, mean
  and most in those frames, in % of the face's height;
- `hand in the edit`: how far pixels of the hand (alpha above 0.99) are from the source's in `edited`, the
  largest of three colours in levels of 255;
- `removal`: PSNR in dB of `removal` against the clip without the hand, in the pixels of the face that the
  hand covers (alpha above 0.5), over those frames, and the same of the source, for comparison;
- `flicker`: the mean difference inside the face between frames 11 and 12, and 16 and 17: of `removal` over
  that of the clip without the hand, and of `edited` over that of the source.
"""

from __future__ import annotations

import argparse
import tempfile
from dataclasses import dataclass, replace
from fractions import Fraction
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import numpy.typing as npt
import torch
from PIL import Image

from benchmarks.main_job import run
from benchmarks.report import report
from benchmarks.tracking import clip_of
from inverters.people.animation import ClipScript, talking_clip
from inverters.people.clip_render import Frame, draw_clean, draw_occluded, pose
from pipeline.clip import F32, F64, U8
from pipeline.machine import machine
from pipeline.report.manifest import JobResult
from pipeline.request.settings import DecodeSettings, TrackSettings
from pipeline.samples.frame_writer import FrameWriter
from pipeline.samples.rendering import CLIP_CRF
from pipeline.scoring.frame_metrics import psnr_of
from pipeline.stages.decode import decode
from pipeline.stages.track import track
from pipeline.video.masks import with_forehead

FRAMES, RATE, SIZE = 25, 25, (384, 288)
"""Of the clips: frames, frames a second, width and height in pixels."""
COVERED = range(12, 17)
JAW = slice(4, 13)
OUTPUTS = ("edited", "removal")
_SHOWN = (11, 12, 14, 16, 17)
"""Frames of the sheet."""


@dataclass(frozen=True)
class Truth:
    """Frames without the hand and with it, and how much of each pixel it covers."""

    clean: list[U8]  # [H,W,3]
    shown: list[U8]
    alpha: F32  # [T,H,W] in [0,1]

    @classmethod
    def made(cls, seed: int) -> Truth:
        """Draw the person, the motion and the hand of a seed."""
        script = talking_clip(seed, FRAMES, RATE, "hand", SIZE[::-1])
        script = replace(script, state={**script.state, "way": torch.zeros(FRAMES, 1)})
        drawn = [_drawn(script, t) for t in range(FRAMES)]
        alpha = np.stack([covered.alpha.numpy() for _, covered in drawn]).astype(np.float32)
        clean, shown = ([_levels(pair[k]) for pair in drawn] for k in (0, 1))
        return cls(clean, shown, alpha)

    def write(self, path: Path) -> None:
        """The clip with the hand, as `invid sample` writes clips."""
        with FrameWriter(path, SIZE, Fraction(RATE), CLIP_CRF, False, "A person who does not exist") as file:
            for frame in self.shown:
                file.write(frame)

    def landmarks(self) -> F64:
        """Those of the clip without the hand, as a job finds and smooths them, [T,68,2]."""
        return track(clip_of(self.clean, float(RATE)), TrackSettings()).landmarks.astype(np.float64)


def _drawn(script: ClipScript, t: int) -> tuple[Frame, Frame]:
    posed = pose(script, t)
    clean = draw_clean(script, t, posed)
    return clean, draw_occluded(script, t, posed, clean) if t in COVERED else clean


def _levels(frame: Frame) -> U8:
    levels: U8 = (frame.image.permute(1, 2, 0) * 255.0).round().clamp(0, 255).byte().numpy()
    return levels


def face_of(landmarks: F64) -> npt.NDArray[np.bool_]:
    """The outline of the face with its forehead, filled, [H,W]."""
    hull = cv2.convexHull(np.rint(with_forehead(landmarks)).astype(np.int32))
    return cv2.fillConvexPoly(np.zeros(SIZE[::-1], np.uint8), hull, (1.0,)) > 0


def jaw_error(found: F64, true: F64) -> dict[str, float]:
    """Mean and most over the covered frames, in % of the face's height."""
    chosen = list(COVERED)
    apart = np.linalg.norm(found[chosen, JAW] - true[chosen, JAW], axis=-1).mean(axis=1)
    share = 100 * apart / np.median(np.ptp(true[..., 1], axis=1))
    return {"mean, %": round(float(share.mean()), 2), "most, %": round(float(share.max()), 2)}


def hand_in_edit(edited: list[U8], source: list[U8], alpha: F32) -> dict[str, float]:
    """How far the hand's pixels are from the source's, in levels of 255."""
    moved = [np.abs(edited[t].astype(int) - source[t]).max(axis=-1)[alpha[t] > 0.99] for t in COVERED]
    levels = np.concatenate(moved)
    return {
        "pixels": len(levels),
        "largest": int(levels.max()),
        "p99": round(float(np.percentile(levels, 99)), 2),
        "over 2, %": round(100 * float((levels > 2).mean()), 3),
    }


def psnr(shown: list[U8], truth: Truth, where: list[npt.NDArray[np.bool_]]) -> float:
    """PSNR in dB over the covered frames, within where [H,W] of each frame."""
    error, count = 0.0, 0
    for t in COVERED:
        apart = shown[t][where[t]].astype(np.float64) - truth.clean[t][where[t]]
        error, count = error + float(np.square(apart).sum()), count + apart.size
    found = psnr_of(error, count)
    return float("inf") if found is None else round(found, 2)


def flicker(shown: list[U8], true: list[U8], faces: list[npt.NDArray[np.bool_]]) -> dict[str, float]:
    """Mean difference of two frames within the face, over that of `true`, where the hand comes and goes."""
    found = {}
    for name, t in (("entering", COVERED.start), ("leaving", COVERED.stop)):
        face = faces[t] | faces[t - 1]
        ours, truth = (
            float(np.abs(frames[t].astype(float) - frames[t - 1])[face].mean()) for frames in (shown, true)
        )
        found[name] = round(ours / truth, 2)
    return found


def sheet(path: Path, columns: list[list[U8]]) -> None:
    """Some frames of several clips beside each other, one frame a row."""
    rows = [np.concatenate([frames[t] for frames in columns], axis=1) for t in _SHOWN]
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(np.concatenate(rows)).save(path)


def measure(seed: int, work: Path, words: list[str], pictures: Path | None) -> dict[str, Any]:
    """The figures of one clip."""
    truth, video, out = Truth.made(seed), work / f"seed{seed}.mp4", work / f"seed{seed}"
    truth.write(video)
    told = run(video, out, work / "cache", ["--remove-occluder", "--codec", "ffv1", *words])
    job = JobResult(out)
    files = [video, *(out / f"{name}.mkv" for name in OUTPUTS)]
    source, edited, removal = (list(decode(file, DecodeSettings(), work).frames()) for file in files)
    landmarks, true = job.array("track/landmarks"), truth.landmarks()
    if landmarks is None or not np.isfinite(landmarks[list(COVERED)]).all():
        raise SystemExit(f"seed {seed}: the face was lost under the hand")
    faces = [face_of(points) for points in true]
    hidden = [face & (alpha > 0.5) for face, alpha in zip(faces, truth.alpha, strict=True)]
    covered = np.mean([hidden[t].sum() / faces[t].sum() for t in COVERED])
    if pictures is not None:
        sheet(pictures / f"seed{seed}.png", [truth.clean, source, edited, removal])
    return {
        "reconstruction, dB": round(told["reconstruction"]["psnr"], 2),
        "face covered, %": round(100 * float(covered), 1),
        "jaw": jaw_error(landmarks.astype(np.float64), true),
        "hand in the edit": hand_in_edit(edited, source, truth.alpha),
        "removal": {"dB": psnr(removal, truth, hidden), "of the source, dB": psnr(source, truth, hidden)},
        "flicker": {
            "removal": flicker(removal, truth.clean, faces),
            "edited": flicker(edited, source, faces),
        },
    }


def main() -> None:
    """Measure, print and write."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--seeds", type=int, nargs="+", default=[1, 2, 3])
    parser.add_argument("--edit", default="smile=1.5")
    parser.add_argument("--preset", default="draft")
    parser.add_argument("--work", type=Path, help="keep clips, jobs and their cache here")
    parser.add_argument("--pictures", type=Path, help="folder for a sheet of each clip")
    parser.add_argument("--out", type=Path)
    args = parser.parse_args()
    words = ["--preset", args.preset, "--edit", args.edit]
    with tempfile.TemporaryDirectory() as folder:
        work = args.work or Path(folder)
        work.mkdir(parents=True, exist_ok=True)
        clips = {f"seed {seed}": measure(seed, work, words, args.pictures) for seed in args.seeds}
    report({"machine": machine(), "words": words, "clips": clips}, args.out)


if __name__ == "__main__":
    main()
