"""Synthetic clips: a procedural head that talks behind an occluder, and the truth about it."""

from __future__ import annotations

import contextlib
import dataclasses
import json
import math
import shutil
import tempfile
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from PIL import Image

from inverters.heads.animation import ClipScript, talking_clip
from inverters.heads.clip_render import Frame, render_clean, render_occluded
from inverters.heads.occluders import OCCLUDERS
from inverters.heads.params import PARAMETERS, index
from inverters.rendering.cameras import PIVOT
from pipeline.clip import U8
from pipeline.errors import OutputError, UnknownNameError, UserError
from pipeline.samples.media import FrameWriter, babble
from pipeline.samples.settings import SampleSettings
from pipeline.stages.edit import turn_cameras, view_angles

FORMAT, VERSION = "invid-sample-truth", 1
EDIT_STRENGTH = 1.5
"""Standard deviations by which each attribute is moved in the frames of the truth."""
TRUTH_CRF, CLIP_CRF = 6, 17
"""x264 quality of the truth's frames (4:4:4; above 48 dB to what was rendered) and of the clip itself."""
DEPTH_STRIDE = 4
DEPTH_UNIT = 2.0e-5
"""World units of one step of the stored depth; 16 bits of them reach 1.31 beyond DEPTH_NEAR."""
DEPTH_NEAR = 2.2
MIN_SIDE, MAX_SIDE = 32, 4096

OnFrame = Callable[[int, int], None]
"""Called as on_frame(frames rendered, frames in all)."""


def check_settings(settings: SampleSettings) -> None:
    """Raise UserError or UnknownNameError, in one line, for what cannot be made."""
    if settings.occluder not in (*OCCLUDERS, "none"):
        known = ", ".join((*OCCLUDERS, "none"))
        raise UnknownNameError(f"unknown occluder '{settings.occluder}'; known: {known}")
    names = [parameter.name for parameter in PARAMETERS]
    for attribute in settings.attributes:
        if attribute not in names:
            raise UnknownNameError(f"unknown attribute '{attribute}'; known: {', '.join(names)}")
    if not (math.isfinite(settings.seconds) and settings.seconds > 0):
        raise UserError(f"--seconds must be above zero, not {settings.seconds:g}")
    if not (1 <= settings.fps <= 120):
        raise UserError(f"--fps must be between 1 and 120, not {settings.fps:g}")
    if not 0 <= settings.seed < 2**31:
        raise UserError(f"--seed must be between 0 and 2147483647, not {settings.seed}")
    width, height = settings.size
    if min(width, height) < MIN_SIDE or max(width, height) > MAX_SIDE or width % 2 or height % 2:
        raise UserError(
            f"--size takes two even numbers from {MIN_SIDE} to {MAX_SIDE}, like 384x288, not {width}x{height}"
        )

    if any(view.orbit for view in settings.views):
        raise UserError("a sample's --view takes angles such as yaw=0.3,pitch=-0.1, no orbit")


def truth_folder(video: Path) -> Path:
    """Where the truth of a sample clip lies: `clip.mp4` has `clip.truth/` beside it."""
    return video.with_suffix(".truth")


def write_sample(path: Path, settings: SampleSettings, on_frame: OnFrame | None = None) -> Path:
    """Render a clip to `path` (.mp4) and its truth to the folder beside it; whole or not at all.

    The same settings give the same pictures, numbers and sound. Returns the truth's folder (docs/formats.md).
    Raises UserError for settings that cannot be met and OutputError where nothing can be written.
    """
    check_settings(settings)
    if path.suffix.lower() != ".mp4":
        raise UserError(
            f"a sample is written as .mp4, not '{path.name}'; name it {path.stem or 'sample'}.mp4"
        )
    folder = truth_folder(path)
    if path.is_dir() or (folder.exists() and not (folder / "truth.json").is_file()):
        taken = path if path.is_dir() else folder
        raise OutputError(f"{taken} exists and is not a sample's; choose another name")
    height, width = settings.size[::-1]
    occluder = None if settings.occluder == "none" else settings.occluder
    script = talking_clip(settings.seed, settings.frames, settings.fps, occluder, (height, width))
    with _draft(path) as draft:
        truth = draft / folder.name
        (truth / "mask").mkdir(parents=True)
        _render_all(script, settings, draft / path.name, truth, on_frame)
        text = json.dumps(_describe(script, settings, path.name), separators=(",", ":"))
        (truth / "truth.json").write_text(text + "\n", encoding="utf-8")
        if folder.exists():
            shutil.rmtree(folder)
        truth.replace(folder)
        (draft / path.name).replace(path)
    return folder


@contextlib.contextmanager
def _draft(path: Path) -> Iterator[Path]:
    """A folder beside `path` to work in, gone afterwards; file-system errors become one OutputError."""
    draft: Path | None = None
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        draft = Path(tempfile.mkdtemp(prefix=f".{path.stem}.", suffix=".part", dir=path.parent))
        yield draft
    except OSError as error:
        reason = error.strerror or str(error)
        raise OutputError(
            f"{path}: cannot be written ({reason}); free some space or choose another folder"
        ) from error
    finally:
        if draft is not None:
            shutil.rmtree(draft, ignore_errors=True)


@dataclass(frozen=True)
class _Camera:
    """One path of the camera through the clip; `prefix` begins the names of its videos in the truth."""

    prefix: str
    script: ClipScript


def _cameras(script: ClipScript, settings: SampleSettings) -> list[_Camera]:
    """The clip's own cameras, then those of its views: turned as `process-video --view` turns a job's."""
    found = [_Camera("", script)]
    pivot = np.asarray(PIVOT, np.float64)
    for k, view in enumerate(settings.views):
        poses = script.cam2world.numpy()
        turned = torch.from_numpy(turn_cameras(poses, *view_angles(view, len(poses)), pivot))
        found.append(_Camera(f"view{k}_", dataclasses.replace(script, cam2world=turned)))
    return found


def _videos(camera: _Camera, settings: SampleSettings) -> list[str]:
    """File names of the truth's videos from one camera; what it sees in the clip itself is that clip."""
    names = ["clean.mp4", *(f"edit_{attribute}.mp4" for attribute in settings.attributes)]
    if camera.script.occluder is not None:
        names += [f"edit_{attribute}_occluded.mp4" for attribute in settings.attributes]
        names += ["occluded.mp4"] if camera.prefix else []
    return [camera.prefix + name for name in names]


def _render_all(
    script: ClipScript, settings: SampleSettings, video: Path, truth: Path, on_frame: OnFrame | None
) -> None:
    """Render every frame in every variant and write it at once: clip, truth, masks and depth."""
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
    """Frame t from one camera, written in every variant of the truth; returns it clean and as it is shown."""
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
    """uint8 [H,W,3] of a rendered frame."""
    levels: U8 = (frame.image.permute(1, 2, 0) * 255.0).round().clamp(0, 255).byte().numpy()
    return levels


def _mask(frame: Frame) -> U8:
    """uint8 [H,W], 0 on the occluder and 255 elsewhere."""
    return np.where(frame.mask.numpy(), 0, 255).astype(np.uint8)


def _depth(frame: Frame) -> npt.NDArray[np.uint16]:
    """Every DEPTH_STRIDE-th pixel's depth in steps of DEPTH_UNIT beyond DEPTH_NEAR."""
    part = frame.depth[DEPTH_STRIDE // 2 :: DEPTH_STRIDE, DEPTH_STRIDE // 2 :: DEPTH_STRIDE].double().numpy()
    levels = np.rint((part - DEPTH_NEAR) / DEPTH_UNIT)
    steps: npt.NDArray[np.uint16] = np.clip(levels, 0, 65535).astype(np.uint16)
    return steps


def _describe(script: ClipScript, settings: SampleSettings, video: str) -> dict[str, Any]:
    """The contents of truth.json."""
    crop_size = 256
    return {
        "format": FORMAT,
        "version": VERSION,
        "video": video,
        "seed": settings.seed,
        "fps": settings.fps,
        "frames": len(script),
        "size": list(settings.size),
        "occluder": script.occluder,
        "occluder_state": {name: _rounded(value[:, 0]) for name, value in script.state.items()},
        "parameters": [parameter.name for parameter in PARAMETERS],
        "scores": _rounded(script.scores),
        "speech": _rounded(script.speech),
        "cam2world": _rounded(script.cam2world, 7),
        "intrinsics": _rounded(script.intrinsics, 7),
        "crop": {"size": crop_size, "affine": _rounded(script.crop_affine(crop_size), 7)},
        "masks": "mask",
        "clean": "clean.mp4",
        "edits": _edits(script, settings, ""),
        "views": [_view(script, settings, k) for k in range(len(settings.views))],
        "depth": {"file": "depth.npz", "near": DEPTH_NEAR, "unit": DEPTH_UNIT, "stride": DEPTH_STRIDE},
    }


def _edits(script: ClipScript, settings: SampleSettings, prefix: str) -> dict[str, dict[str, Any]]:
    """The edits that the truth shows from one camera."""
    return {
        attribute: {
            "strength": EDIT_STRENGTH,
            "clean": f"{prefix}edit_{attribute}.mp4",
            "occluded": f"{prefix}edit_{attribute}_occluded.mp4" if script.occluder else None,
        }
        for attribute in settings.attributes
    }


def _view(script: ClipScript, settings: SampleSettings, k: int) -> dict[str, Any]:
    """View k: its angles, and its videos."""
    return {
        "yaw": settings.views[k].yaw,
        "pitch": settings.views[k].pitch,
        "clean": f"view{k}_clean.mp4",
        "occluded": f"view{k}_occluded.mp4" if script.occluder else None,
        "edits": _edits(script, settings, f"view{k}_"),
    }


def _rounded(values: torch.Tensor, digits: int = 5) -> Any:
    """A tensor as nested lists of short numbers."""
    return np.round(values.double().numpy(), digits).tolist()
