"""Write a synthetic clip: a person who does not exist talks behind an occluder, and the truth about it."""

from __future__ import annotations

import contextlib
import json
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

from inverters.people.animation import talking_clip
from inverters.people.occluders import OCCLUDERS
from inverters.people.params import PARAMETERS
from pipeline.errors import OutputError, UnknownNameError, UserError
from pipeline.samples.rendering import OnFrame, render_clip
from pipeline.samples.settings import FPS, SECONDS, SEEDS, YAWS, SampleSettings
from pipeline.samples.truth_format import describe, truth_folder

MIN_SIDE, MAX_SIDE = 32, 4096


def check_settings(settings: SampleSettings) -> None:
    """Raise UserError or UnknownNameError for settings that cannot be met."""
    if settings.occluder not in (*OCCLUDERS, "none"):
        known = ", ".join((*OCCLUDERS, "none"))
        raise UnknownNameError(f"unknown occluder '{settings.occluder}'; known: {known}")
    names = [parameter.name for parameter in PARAMETERS]
    for attribute in settings.attributes:
        if attribute not in names:
            raise UnknownNameError(f"unknown attribute '{attribute}'; known: {', '.join(names)}")
    for name, (least, most) in (("seconds", SECONDS), ("fps", FPS), ("seed", SEEDS), ("yaw", YAWS)):
        value = getattr(settings, name)
        if not least <= value <= most:
            raise UserError(f"--{name} must be between {least:.10g} and {most:.10g}, not {value:.10g}")
    width, height = settings.size
    if min(width, height) < MIN_SIDE or max(width, height) > MAX_SIDE or width % 2 or height % 2:
        raise UserError(
            f"--size takes two even numbers from {MIN_SIDE} to {MAX_SIDE}, like 384x288, not {width}x{height}"
        )
    if any(view.orbit for view in settings.views):
        raise UserError("a sample's --view takes angles such as yaw=0.3,pitch=-0.1, no orbit")


def write_sample(path: Path, settings: SampleSettings, on_frame: OnFrame | None = None) -> Path:
    """Render a clip to `path` (.mp4) and its truth to the folder beside it, both or neither.

    The same settings give the same pictures, numbers and sound. Returns the truth's folder (docs/formats.md).
    Raises UserError for settings that cannot be met, OutputError where nothing can be written.
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
    script = talking_clip(
        settings.seed, settings.frames, settings.fps, occluder, (height, width), yaw=settings.yaw
    )
    with _draft(path) as draft:
        truth = draft / folder.name
        for name in ("mask", "alpha"):
            (truth / name).mkdir(parents=True)
        render_clip(script, settings, draft / path.name, truth, on_frame)
        text = json.dumps(describe(script, settings, path.name), separators=(",", ":"))
        (truth / "truth.json").write_text(text + "\n", encoding="utf-8")
        if folder.exists():
            shutil.rmtree(folder)
        truth.replace(folder)
        (draft / path.name).replace(path)
    return folder


@contextlib.contextmanager
def _draft(path: Path) -> Iterator[Path]:
    """Temporary folder beside `path`, removed afterwards; OSError becomes OutputError."""
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
