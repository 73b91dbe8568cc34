"""Pictures of the benchmark: one strip per run, one contact sheet per clip."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from pipeline.clip import I64, U8, Crops
from pipeline.fidelity.clips import BenchClip
from pipeline.report.manifest import JobResult
from pipeline.samples.truth import frames_of
from pipeline.video.images import save_png
from pipeline.video.warp import warp_crop

PANELS = {
    "reconstruction": "finetune/reconstruction",
    "edit": "edit/edited/images",
    "edit, occluder off": "edit/removal_edited/images",
    "occluder off": "edit/removal/images",
    "edit from the side": "edit/view/images",
}
"""Title of a column -> array of a job with crops as rendered."""
_TILE, _NAMES, _LINE = 160, 150, 18
_GREY = 128


def _panels(images: Sequence[U8 | None]) -> U8:
    """Images side by side [S,S*n,3], grey for None."""
    size = next(image.shape[0] for image in images if image is not None)
    blank = np.full((size, size, 3), _GREY, np.uint8)
    return np.concatenate([blank if image is None else image for image in images], axis=1)


def write_strip(result: JobResult, path: Path) -> None:
    """Write the middle row of a job's renders, side by side in the order of PANELS."""
    arrays = [result.array(name) for name in PANELS.values()]
    path.parent.mkdir(parents=True, exist_ok=True)
    save_png(_panels([None if a is None else a[len(a) // 2] for a in arrays]), path)


def truth_strip(clip: BenchClip, cut: Crops, frames: I64, path: Path) -> None:
    """Write the true pictures of the same row in the same order; the input stands for the reconstruction.

    cut: the crops of a job on the clip; frames [K]: its frames with a face.
    """
    frame = int(frames[len(frames) // 2])
    truth, edit = clip.truth, None if clip.edit is None else clip.truth.edits[clip.edit.name]
    view = next(iter(truth.views), None)
    side = None if view is None or clip.edit is None else view.edits.get(clip.edit.name)
    videos = [
        clip.video,
        None if edit is None else edit.occluded or edit.clean,
        None if edit is None else edit.clean,
        truth.clean,
        None if side is None else side.clean,
    ]
    crops = [None if v is None else _crop(v, truth.size, frame, cut) for v in videos]
    path.parent.mkdir(parents=True, exist_ok=True)
    save_png(_panels(crops), path)


def _crop(video: Path, size: tuple[int, int], frame: int, cut: Crops) -> U8:
    """One frame of a video, cropped as in the job."""
    pixels = next(image for index, image in enumerate(frames_of(video, size)) if index == frame)
    return warp_crop(pixels, cut.affine[frame], cut.size)


def contact_sheet(title: str, strips: Sequence[tuple[str, Path]]) -> U8:
    """Sheet [H,W,3] with a column per panel and a row per strip, its name beside it."""
    from PIL import Image, ImageDraw

    sheet = Image.new("RGB", (_NAMES + _TILE * len(PANELS), _LINE + _TILE * len(strips)), "white")
    pen = ImageDraw.Draw(sheet)
    pen.text((4, 3), title, fill="black")
    for column, name in enumerate(PANELS):
        pen.text((_NAMES + _TILE * (column + 0.5), 3), name, fill="black", anchor="ma")
    for row, (name, path) in enumerate(strips):
        top = _LINE + _TILE * row
        pen.text((4, top + _TILE // 2 - 6), name, fill="black")
        with Image.open(path) as strip:
            sheet.paste(strip.resize((_TILE * len(PANELS), _TILE), Image.Resampling.LANCZOS), (_NAMES, top))
    return np.asarray(sheet)
