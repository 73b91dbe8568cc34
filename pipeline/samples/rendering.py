"""Render the frames of a synthetic clip in every variant that its truth shows."""

from __future__ import annotations

import contextlib
import dataclasses
from collections import deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from fractions import Fraction
from itertools import islice
from pathlib import Path

import numpy as np
import numpy.typing as npt
import torch
from PIL import Image

from inverters.people.animation import ClipScript
from inverters.people.clip_render import Frame, draw_clean, draw_occluded, pose
from inverters.people.person import Person
from inverters.rendering.cameras import PIVOT
from pipeline.clip import U8
from pipeline.samples.frame_writer import FrameWriter
from pipeline.samples.settings import SampleSettings
from pipeline.samples.truth_format import DEPTH_NEAR, DEPTH_STRIDE, DEPTH_UNIT, moved
from pipeline.samples.voice import babble
from pipeline.stages.edit import turn_cameras, view_angles

TRUTH_CRF, CLIP_CRF = 6, 17
"""CRF of x264 for the truth's videos (4:4:4; above 48 dB PSNR to the render) and for the clip itself."""

WORKERS = 2
"""Threads that draw frames, while another encodes them."""

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
    """Render a clip to `video`, and its truth to the folder `truth`: videos, masks, alpha, depth."""
    rate = Fraction(settings.fps).limit_denominator(1001)
    depths: list[npt.NDArray[np.uint16]] = []
    note = f"A person who does not exist, made by invid sample (seed {settings.seed})"
    cameras = _cameras(script, settings)
    firsts = _first_poses(script, settings)
    with contextlib.ExitStack() as stack:
        main = stack.enter_context(FrameWriter(video, settings.size, rate, CLIP_CRF, False, note))
        main.add_voice()
        writers = {
            name: stack.enter_context(FrameWriter(truth / name, settings.size, rate, TRUTH_CRF, True, note))
            for camera in cameras
            for name in _videos(camera, settings)
        }
        for t, drawn in enumerate(_in_order(lambda t: _draw(cameras, t, settings, firsts), len(script))):
            main.write(_pixels(drawn.shown))
            for name, writer in writers.items():
                writer.write(drawn.videos[name])
            Image.fromarray(_mask(drawn.shown)).save(truth / "mask" / f"{t:06d}.png", optimize=True)
            Image.fromarray(_alpha(drawn.shown)).save(truth / "alpha" / f"{t:06d}.png", optimize=True)
            depths.append(_depth(drawn.clean))
            if on_frame is not None:
                on_frame(t + 1, len(script))
        seconds = len(script) / settings.fps
        main.write_voice(babble(script.speech.double().numpy(), settings.fps, settings.seed, seconds))
    np.savez_compressed(truth / "depth.npz", depth=np.stack(depths))


@dataclass(frozen=True)
class _Drawn:
    """A frame in all variants: pixels by the truth's videos, and the clip's without and with occluder."""

    videos: dict[str, U8]
    clean: Frame
    shown: Frame


def _in_order(draw: Callable[[int], _Drawn], count: int) -> Iterator[_Drawn]:
    """Draw frames in WORKERS threads, a few ahead, and yield them in order."""
    frames = iter(range(count))
    with ThreadPoolExecutor(WORKERS) as pool:
        waiting = deque(pool.submit(draw, t) for t in islice(frames, WORKERS + 1))
        try:
            while waiting:
                drawn = waiting.popleft().result()
                waiting.extend(pool.submit(draw, t) for t in islice(frames, 1))
                yield drawn
        finally:
            for future in waiting:
                future.cancel()


def _first_poses(script: ClipScript, settings: SampleSettings) -> dict[str | None, Person]:
    """The people of the first frame, by the attribute moved; later frames take hair and clothes from them."""
    poses: dict[str | None, Person] = {None: pose(script, 0).person}
    for attribute in settings.attributes:
        poses[attribute] = pose(script, 0, moved(script.scores[:1], attribute), poses[None]).person
    return poses


def _draw(
    cameras: Sequence[_Camera], t: int, settings: SampleSettings, firsts: Mapping[str | None, Person]
) -> _Drawn:
    """Make the person of frame t, and as each edit has it, and draw all from every camera."""
    script = cameras[0].script
    videos: dict[str, U8] = {}
    kept: list[tuple[Frame, Frame]] = []
    for attribute in (None, *settings.attributes):
        scores = script.scores[t : t + 1]
        scores = scores if attribute is None else moved(scores, attribute)
        posed = pose(script, t, scores, firsts[attribute])
        for camera in cameras:
            clean = draw_clean(camera.script, t, posed)
            shown = draw_occluded(camera.script, t, posed, clean)
            kept = kept or [(clean, shown)]
            edit = f"edit_{attribute}" if attribute else None
            videos[f"{camera.prefix}{edit or 'clean'}.mp4"] = _pixels(clean)
            videos[f"{camera.prefix}{edit + '_' if edit else ''}occluded.mp4"] = _pixels(shown)
    return _Drawn(videos, *kept[0])


def _pixels(frame: Frame) -> U8:
    """Image of a rendered frame, uint8 [H,W,3]."""
    levels: U8 = (frame.image.permute(1, 2, 0) * 255.0).round().clamp(0, 255).byte().numpy()
    return levels


def _mask(frame: Frame) -> U8:
    """Mask of a rendered frame, uint8 [H,W]: 0 on the occluder, 255 elsewhere."""
    return np.where(frame.mask.numpy(), 0, 255).astype(np.uint8)


def _alpha(frame: Frame) -> U8:
    """Share of each pixel that the occluder covers, uint8 [H,W]: 255 is all of it."""
    levels: U8 = (frame.alpha * 255.0).round().clamp(0, 255).byte().numpy()
    return levels


def _depth(frame: Frame) -> npt.NDArray[np.uint16]:
    """Depth of every DEPTH_STRIDE-th pixel, in steps of DEPTH_UNIT beyond DEPTH_NEAR."""
    part = frame.depth[DEPTH_STRIDE // 2 :: DEPTH_STRIDE, DEPTH_STRIDE // 2 :: DEPTH_STRIDE].double().numpy()
    levels = np.rint((part - DEPTH_NEAR) / DEPTH_UNIT)
    steps: npt.NDArray[np.uint16] = np.clip(levels, 0, 65535).astype(np.uint16)
    return steps
