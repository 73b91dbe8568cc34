"""Render the frames of a synthetic clip in every variant that its truth shows."""

from __future__ import annotations

import contextlib
import dataclasses
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path

import numpy as np
import numpy.typing as npt
import torch
from PIL import Image

from inverters.heads.animation import ClipScript
from inverters.heads.clip_render import Frame, render_clean, render_occluded
from inverters.heads.params import index
from inverters.rendering.cameras import PIVOT
from pipeline.clip import U8
from pipeline.samples.frame_writer import FrameWriter
from pipeline.samples.settings import SampleSettings
from pipeline.samples.truth_format import DEPTH_NEAR, DEPTH_STRIDE, DEPTH_UNIT, EDIT_STRENGTH
from pipeline.samples.voice import babble
from pipeline.stages.edit import turn_cameras, view_angles

TRUTH_CRF, CLIP_CRF = 6, 17
"""CRF of x264 for the truth's videos (4:4:4; above 48 dB PSNR to the render) and for the clip itself."""

OnFrame = Callable[[int, int], None]
"""Called as on_frame(frames rendered, frames in all)."""


@dataclass(frozen=True)
class _Camera:
    """One camera path through the clip; the names of its videos in the truth start with `prefix`."""

    prefix: str
    script: ClipScript


def _cameras(script: ClipScript, settings: SampleSettings) -> list[_Camera]:
    """The clip's own camera path, then those of its views, turned as `process-video --view` turns a job's."""
    found = [_Camera("", script)]
    pivot = np.asarray(PIVOT, np.float64)
    for k, view in enumerate(settings.views):
        poses = script.cam2world.numpy()
        turned = torch.from_numpy(turn_cameras(poses, *view_angles(view, len(poses)), pivot))
        found.append(_Camera(f"view{k}_", dataclasses.replace(script, cam2world=turned)))
    return found


def _videos(camera: _Camera, settings: SampleSettings) -> list[str]:
    """File names of the truth's videos from one camera; the clip itself is the occluded one of the first."""
    names = ["clean.mp4", *(f"edit_{attribute}.mp4" for attribute in settings.attributes)]
    if camera.script.occluder is not None:
        names += [f"edit_{attribute}_occluded.mp4" for attribute in settings.attributes]
        names += ["occluded.mp4"] if camera.prefix else []
    return [camera.prefix + name for name in names]


def render_clip(
    script: ClipScript, settings: SampleSettings, video: Path, truth: Path, on_frame: OnFrame | None
) -> None:
    """Render all frames of a clip to `video`, and its truth (videos, masks, depth) to the folder `truth`."""
    rate = Fraction(settings.fps).limit_denominator(1001)
    depths: list[npt.NDArray[np.uint16]] = []
    note = f"Synthetic head made by invid sample (seed {settings.seed}); no real person"
    cameras = _cameras(script, settings)
    with contextlib.ExitStack() as stack:
        main = stack.enter_context(FrameWriter(video, settings.size, rate, CLIP_CRF, False, note))
        main.add_voice()
        writers = {
            name: stack.enter_context(FrameWriter(truth / name, settings.size, rate, TRUTH_CRF, True, note))
            for camera in cameras
            for name in _videos(camera, settings)
        }
        for t in range(len(script)):
            for camera in cameras:
                clean, shown = _render_variants(camera, t, settings, writers)
                if not camera.prefix:
                    main.write(_pixels(shown))
                    Image.fromarray(_mask(shown)).save(truth / "mask" / f"{t:06d}.png", optimize=True)
                    depths.append(_depth(clean))
            if on_frame is not None:
                on_frame(t + 1, len(script))
        seconds = len(script) / settings.fps
        main.write_voice(babble(script.speech.double().numpy(), settings.fps, settings.seed, seconds))
    np.savez_compressed(truth / "depth.npz", depth=np.stack(depths))


def _render_variants(
    camera: _Camera, t: int, settings: SampleSettings, writers: Mapping[str, FrameWriter]
) -> tuple[Frame, Frame]:
    """Render and write frame t in all variants from one camera; returns it without and with the occluder."""
    script = camera.script

    def write(name: str, frame: Frame) -> None:
        writers[camera.prefix + name].write(_pixels(frame))

    clean = render_clean(script, t)
    shown = render_occluded(script, t, clean)
    write("clean.mp4", clean)
    if camera.prefix and script.occluder is not None:
        write("occluded.mp4", shown)
    for attribute in settings.attributes:
        scores = _moved(script, t, attribute)
        edited = render_clean(script, t, scores, (clean, script.scores[t : t + 1]))
        write(f"edit_{attribute}.mp4", edited)
        if script.occluder is not None:
            write(f"edit_{attribute}_occluded.mp4", render_occluded(script, t, edited, scores))
    return clean, shown


def _moved(script: ClipScript, t: int, attribute: str) -> torch.Tensor:
    """Scores [1,P] of frame t with one attribute moved by EDIT_STRENGTH."""
    scores = script.scores[t : t + 1].clone()
    scores[:, index(attribute)] += EDIT_STRENGTH
    return scores


def _pixels(frame: Frame) -> U8:
    """Image of a rendered frame, uint8 [H,W,3]."""
    levels: U8 = (frame.image.permute(1, 2, 0) * 255.0).round().clamp(0, 255).byte().numpy()
    return levels


def _mask(frame: Frame) -> U8:
    """Mask of a rendered frame, uint8 [H,W]: 0 on the occluder, 255 elsewhere."""
    return np.where(frame.mask.numpy(), 0, 255).astype(np.uint8)


def _depth(frame: Frame) -> npt.NDArray[np.uint16]:
    """Depth of every DEPTH_STRIDE-th pixel, in steps of DEPTH_UNIT beyond DEPTH_NEAR."""
    part = frame.depth[DEPTH_STRIDE // 2 :: DEPTH_STRIDE, DEPTH_STRIDE // 2 :: DEPTH_STRIDE].double().numpy()
    levels = np.rint((part - DEPTH_NEAR) / DEPTH_UNIT)
    steps: npt.NDArray[np.uint16] = np.clip(levels, 0, 65535).astype(np.uint16)
    return steps
