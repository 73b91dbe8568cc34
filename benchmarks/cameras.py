"""Accuracy of estimated cameras: clips of made-up people with known cameras, through track, align and camera.

    python -m benchmarks.cameras [--generator bundled|people] [--clips 20] [--frames 12] [--fps 6] [--smooth]

Prints JSON: rotation errors in degrees over all frames of all clips (median, 95th percentile), by axis, and
the part of them that is constant through a clip (the person's bias); settings, hardware and date.
`--generator people` measures the landmarks on people instead of reading those of a card.
"""

from __future__ import annotations

import argparse
import sys
import time
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from scipy.spatial.transform import Rotation

from benchmarks.report import report
from inverters.generators.card import CameraRule, CropRule
from inverters.metrics import rotation_error_deg
from inverters.people.animation import talking_clip
from inverters.people.clip_render import draw_clean, draw_occluded, pose
from inverters.people.params import sample_scores
from inverters.people.picture import portraits
from pipeline.clip import F64, I64, U8, Cameras, Clip
from pipeline.faces.calibrate import calibrate, crop_rule_for
from pipeline.faces.mediapipe_mesh import MediaPipeMesh
from pipeline.machine import machine
from pipeline.request.settings import CameraSettings, TrackSettings
from pipeline.stages.align import align
from pipeline.stages.camera import estimate_cameras
from pipeline.stages.track import track

Floats = npt.NDArray[np.floating[Any]]

FIRST_SEED = 7000
"""Clips' seeds start here: the calibration and anything that was tuned has seen others."""


class RenderedSource:
    """Frames of a script, rendered when asked for."""

    def __init__(self, script: Any, rows: I64) -> None:
        self.script, self.rows = script, rows

    def __len__(self) -> int:
        return len(self.rows)

    def frames(self, start: int = 0, stop: int | None = None) -> Any:
        """Yield frames uint8 [H,W,3]."""
        script, previous = self.script, None
        for t in self.rows[start:stop]:
            posed = pose(script, int(t), previous=previous)
            previous = posed.person
            clean = draw_clean(script, int(t), posed)
            yield to_uint8(draw_occluded(script, int(t), posed, clean).image * 2 - 1)


def to_uint8(image: torch.Tensor) -> U8:
    """[3,H,W] in [-1,1] to uint8 [H,W,3]."""
    return ((image.clamp(-1, 1).permute(1, 2, 0) + 1) * 127.5).round().byte().numpy()


def clip_of(script: Any, rows: I64) -> Clip:
    """A Clip over some frames of a script."""
    height, width = script.size
    times = rows / script.fps
    return Clip(
        path=Path(f"seed{script.seed}"),
        content_hash=str(script.seed),
        width=width,
        height=height,
        times=times,
        pts=np.arange(len(rows)),
        time_base=Fraction(1, 1000),
        rate=Fraction(script.fps).limit_denominator(1001),
        duration=float(times[-1]),
        has_audio=False,
        source=RenderedSource(script, rows),
    )


def people_card(
    faces: int, size: int, model: MediaPipeMesh
) -> tuple[dict[str, Floats], CropRule, dict[str, Any]]:
    """Landmarks, crop rule and report of the people themselves."""
    scores = sample_scores(faces, torch.Generator().manual_seed(4242))

    def draw(index: int, cam2world: Floats, intrinsics: Floats) -> U8:
        camera = torch.as_tensor(cam2world, dtype=torch.float32)[None]
        lens = torch.as_tensor(intrinsics, dtype=torch.float32)[None]
        return to_uint8(portraits(scores[index : index + 1], camera, lens, (size, size))[0])

    found = calibrate(draw, faces, views=5, model=model)
    return found.as_card(), crop_rule_for(found.ibug, CropRule()), found.report()


def signed(found: Cameras, truth: F64) -> F64:
    """Errors in degrees [T,3] about the camera's axes: x is pitch, y is yaw, z is roll."""
    relative = np.swapaxes(found.cam2world[:, :3, :3], 1, 2).astype(np.float64) @ truth[:, :3, :3]
    errors = np.full((len(truth), 3), np.nan)
    good = np.isfinite(relative).all(axis=(1, 2))
    errors[good] = np.degrees(Rotation.from_matrix(relative[good]).as_rotvec())
    return errors


def parse() -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--generator", default="bundled")
    parser.add_argument("--clips", type=int, default=20)
    parser.add_argument("--frames", type=int, default=12, help="frames of each clip")
    parser.add_argument("--fps", type=float, default=6.0)
    parser.add_argument("--size", type=int, default=176, help="height and width of the clips' frames")
    parser.add_argument("--occluder", default=None)
    parser.add_argument("--faces", type=int, default=48, help="faces to calibrate `people` on")
    parser.add_argument("--card", type=Path, help="npz of landmark arrays in place of a generator's")
    parser.add_argument(
        "--smooth", action="store_true", help="smooth as a job does; for 12 frames a second or more"
    )
    parser.add_argument("--progress", action="store_true")
    parser.add_argument("--out", type=Path, default=None)
    return parser.parse_args()


def main() -> None:
    """Run and print."""
    args = parse()
    model = MediaPipeMesh()
    rule = CropRule()
    landmarks: dict[str, Any] = {}
    if args.card is not None:
        arrays = dict(np.load(args.card))
        rule = crop_rule_for(arrays["68"], CropRule())
    elif args.generator == "people":
        arrays, rule, landmarks = people_card(args.faces, args.size, model)
    else:
        from inverters.generators.load import load_generator

        card = load_generator(args.generator).card
        arrays, rule = dict(card.landmarks3d), card.crop_rule
    tracking = TrackSettings() if args.smooth else TrackSettings(smoothing="none")
    camera = CameraSettings() if args.smooth else CameraSettings(smoothing=0.0)
    errors, axes, started = [], [], time.perf_counter()
    seconds = 0.0
    for k in range(args.clips):
        script = talking_clip(
            FIRST_SEED + k, args.frames, args.fps, args.occluder, (args.size, args.size), crop=args.size
        )
        clip = clip_of(script, np.arange(args.frames))
        faces = track(clip, tracking, model=model)
        crops = align(faces, rule, 256)
        begin = time.perf_counter()
        found = estimate_cameras(faces, crops, arrays, CameraRule(), camera, clip.times)
        seconds += time.perf_counter() - begin
        truth = script.cam2world.numpy().astype(np.float64)
        errors.append(rotation_error_deg(*map(torch.from_numpy, (found.cam2world, truth))).numpy())
        axes.append(signed(found, truth))
        if args.progress:
            print(
                f"clip {k + 1}/{args.clips}: {np.nanmedian(errors[-1]):.2f} deg", file=sys.stderr, flush=True
            )
    result = summary(np.concatenate(errors), np.stack(axes)) | {
        "camera_seconds_per_clip": seconds / args.clips,
        "seconds": time.perf_counter() - started,
        "landmarks": landmarks,
        "settings": {k: str(v) for k, v in vars(args).items()},
        "machine": machine(),
    }
    report(result, args.out)


def summary(flat: F64, by_axis: F64) -> dict[str, Any]:
    """Statistics in degrees of rotation errors [N], and of signed errors [clips,T,3] by pitch, yaw, roll."""
    means, names = np.nanmean(by_axis, axis=1), ("pitch", "yaw", "roll")
    within = np.sqrt(np.nanmean(np.nanvar(by_axis, axis=1), axis=0))
    return {
        "rotation_error_deg": {"median": float(np.nanmedian(flat)), "p95": float(np.nanpercentile(flat, 95))},
        "bias_of_all_clips_deg": dict(zip(names, np.nanmean(means, axis=0).round(3).tolist())),
        "spread_of_clip_means_deg": dict(zip(names, np.nanstd(means, axis=0).round(3).tolist())),
        "spread_within_clips_deg": dict(zip(names, within.round(3).tolist())),
        "frames_found": float(np.isfinite(flat).mean()),
    }


if __name__ == "__main__":
    main()
