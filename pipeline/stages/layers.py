"""Stage `encode` of layers: changes as straight RGBA, their soft masks, the occluder's matte (`--layers`)."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from pipeline.clip import F32, U8, Clip
from pipeline.request.settings import EncodeSettings, Settings
from pipeline.stages import align, decode, inset
from pipeline.stages.composite import Frame, Overlay, composited, full_frame_variants
from pipeline.stages.encode import Output, card_name, load, notes
from pipeline.stages.overlays import (
    comment_of_faces,
    faces_of_run,
    overlay_facts,
    overlay_needs,
    overlay_reads,
    overlays_of_faces,
    row_of_frame,
)
from pipeline.stages.pixels import Rows
from pipeline.stages.run import StageRun
from pipeline.stages.smooth import shown_blend, shown_name
from pipeline.stages.stage import Stage, global_name
from pipeline.video.codecs import suffix_for
from pipeline.video.picture_writer import picture_names, write_grey, write_layer
from pipeline.video.planes import Box, Layout, Planes, aligned, black, cut, over_black, placed
from pipeline.video.reader import signal_of
from pipeline.video.warp import warp_back
from pipeline.video.writer import VideoWriter

LAYER, MASK, MATTE = "layer", "mask", "occluder_matte"
RGBA = Layout(16, alpha=True)
"""What the frames of a layer are: R', G', B' of the source's own colours, straight, and alpha."""
_REMOVALS = ("removal", "removal_edited")
"""Variants in whose masks the occluder's matte is."""
_MARGIN = 16
"""Pixels around a change in which the chroma of 4:2:0 may change with it."""


def layer_of(source: Frame, finished: Frame, overlays: Sequence[Overlay]) -> Planes:
    """The layer that makes `finished` of `source` when it is laid over it.

    Porter and Duff 1984, `over` with straight alpha: finished = source + alpha (colour - source). alpha is
    the mask's, or more where the colour would otherwise not be one; it is exactly 0 where nothing changes.
    The colours are those of the clip's own signal.
    """
    size = _size(source)
    layer = replace(black(RGBA, size), alpha=np.zeros(size[::-1], np.uint16))
    if not overlays:
        return layer
    box = _around(_union([overlay.box for overlay in overlays]), source, size)
    before, after = (_signal(frame, box) for frame in (source, finished))
    alpha = _shown(overlays, box)
    change = after - before
    # The least alpha with which no colour lies beyond black or white.
    room = np.where(change > 0, 1.0 - before, before)
    least = np.where(change != 0, np.abs(change) / np.maximum(room, 1e-6), 0.0).max(axis=-1)
    steps = np.ceil(65535.0 * np.minimum(np.maximum(alpha, least), 1.0))
    colour = before + change / np.maximum(steps[..., None] / 65535.0, 1e-9)
    codes = np.rint(65535.0 * np.clip(np.where(steps[..., None] > 0, colour, 0.0), 0.0, 1.0)).astype(
        np.uint16
    )
    red, green, blue = (np.ascontiguousarray(codes[..., part]) for part in range(3))
    return placed(layer, Planes((red, green, blue), RGBA, steps.astype(np.uint16)), box[0], box[1])


def mask_of(overlays: Sequence[Overlay], size: tuple[int, int]) -> U8:
    """How much of the changes is shown in each pixel of a frame, uint8 [H,W]."""
    levels: U8 = np.rint(255.0 * _shown(overlays, (0, 0, *size))).astype(np.uint8)
    return levels


def _shown(overlays: Sequence[Overlay], box: Box) -> F32:
    """How much of the source is covered in a box [h,w] that holds all overlays, in [0,1]."""
    left = np.ones((box[3] - box[1], box[2] - box[0]), np.float32)
    for overlay in overlays:
        x0, y0, x1, y1 = overlay.box
        here = slice(y0 - box[1], y1 - box[1]), slice(x0 - box[0], x1 - box[0])
        left[here] *= 1.0 - np.clip(np.where(overlay.inside, overlay.alpha, 0.0), 0.0, 1.0)
    return np.float32(1.0) - left


def _union(boxes: Sequence[Box]) -> Box:
    left, top, right, bottom = zip(*boxes, strict=True)
    return min(left), min(top), max(right), max(bottom)


def _size(frame: Frame) -> tuple[int, int]:
    return frame.size if isinstance(frame, Planes) else (frame.shape[1], frame.shape[0])


def _around(box: Box, frame: Frame, size: tuple[int, int]) -> Box:
    if not isinstance(frame, Planes):
        return box
    x0, y0, x1, y1 = box
    grown = max(x0 - _MARGIN, 0), max(y0 - _MARGIN, 0), min(x1 + _MARGIN, size[0]), min(y1 + _MARGIN, size[1])
    return aligned(grown, replace(frame.layout, columns=2, rows=2), size)


def _signal(frame: Frame, box: Box) -> F32:
    """R', G', B' [h,w,3] in [0,1] of a box, on black where it is transparent."""
    if isinstance(frame, Planes):
        return np.clip(signal_of(over_black(cut(frame, box))), 0.0, 1.0)
    x0, y0, x1, y1 = box
    return frame[y0:y1, x0:x1].astype(np.float32) / np.float32(255.0)


def compute_layers(run: StageRun) -> None:
    """Write the layer and the mask of one output, of every frame of the clip."""
    name = Path(run.part).stem.removesuffix(f"_{LAYER}")
    clip, form = run.of(decode.STAGE), run.settings.encode.layers or "png"
    masks = picture_names(clip, f"{name}_{MASK}", ".png")
    comment = comment_of_faces(run, name)
    with _layer_writer(run, clip, f"{name}_{LAYER}", form, comment) as (names, write):
        for index, (source, frame, found) in enumerate(composited(overlays_of_faces(run, name), clip)):
            write(index, layer_of(source, frame, found))
            write_grey(run.writer.file(masks[index]), mask_of(found, _size(source)))
            run.count(index + 1, len(clip))
    run.writer.meta |= {"names": [*names, *masks], "notes": []}


@contextmanager
def _layer_writer(
    run: StageRun, clip: Clip, stem: str, form: str, comment: str
) -> Iterator[tuple[list[str], Callable[[int, Planes], None]]]:
    """The names of a layer's files, and what writes frame by frame."""
    if form == "png":
        names = picture_names(clip, stem, ".png")
        yield names, lambda index, layer: write_layer(run.writer.file(names[index]), layer, clip, comment)
        return
    names = [f"{stem}{suffix_for(form)}"]
    # A layer has no sound: it is laid over what has.
    silent, settings = replace(clip, film=False), EncodeSettings(codec=form)
    with ExitStack() as stack:
        path, size = run.writer.file(names[0]), (clip.width, clip.height)
        writer = stack.enter_context(VideoWriter(path, silent, size, settings, comment, layout=RGBA))
        yield names, lambda index, layer: writer.write(layer)


def compute_matte(run: StageRun) -> None:
    """Write how much of each pixel of each frame is the occluder, where the method has a field for it.

    It is what a removal takes off, or without a removal the field's share.
    """
    clip, notes_of_it = run.of(decode.STAGE), []
    faces = [(one, _matte_of(one)) for one, _ in faces_of_run(run, "edited")]
    if all(blend is None for _, blend in faces):
        notes_of_it.append(
            "the occluder's matte is black everywhere: this inversion has no field for what covers a face"
        )
    fields = [(one.of(align.STAGE), row_of_frame(one), blend) for one, blend in faces if blend is not None]
    names, size = picture_names(clip, MATTE, ".png"), (clip.width, clip.height)
    for index, name in enumerate(names):
        matte = np.zeros(size[::-1], np.float32)
        for crops, rows, blend in fields:
            if index in rows:
                values = _fractions(np.asarray(blend[rows[index]]))
                affine = crops.affine[index] * (values.shape[0] / crops.size)
                matte = np.maximum(matte, warp_back(values, affine, (0, 0, *size), "zeros"))
        levels = np.rint(255.0 * np.clip(matte, 0.0, 1.0)).astype(np.uint8)
        write_grey(run.writer.file(name), levels)
        run.count(index + 1, len(clip))
    run.writer.meta |= {"names": names, "notes": notes_of_it}


def _matte_of(run: StageRun) -> Rows | None:
    removal = run.needed(*(f"composite/{name}" for name in _REMOVALS))
    return shown_blend(run) if removal is None else run.result_of(removal).arrays.get("mattes")


def _fractions(values: Any) -> F32:
    fractions: F32 = values.astype(np.float32) / np.float32(255.0 if values.dtype == np.uint8 else 1.0)
    return fractions


def stages(settings: Settings, others: Sequence[Settings] = ()) -> list[Stage[Output]]:
    """Stages of a request with `--layers`: one for each output in the source's frames, one for the matte.

    others: the settings of the faces after the first.
    """
    form = settings.encode.layers
    if form is None:
        return []
    suffix = ".png" if form == "png" else suffix_for(form)
    shown = dict.fromkeys(name for one in (settings, *others) for name in full_frame_variants(one))
    names = [*shown, *([inset.TURNED] if settings.edit.inset else [])]
    made = partial(Stage, version=2, load=load, notes=notes)
    found: list[Stage[Output]] = [
        made(
            f"encode/{name}_{LAYER}{suffix}",
            compute=compute_layers,
            reads=("encode.layers", "invert.method", "generator", *overlay_reads(settings, name, others)),
            needs=overlay_needs(settings, name, others),
            facts=overlay_facts(settings, name, card_name, others),
        )
        for name in names
    ]
    needs = ["decode"]
    for place, one in enumerate((settings, *others)):
        removals = [f"composite/{name}" for name in full_frame_variants(one) if name in _REMOVALS]
        needs += [global_name(need, place) for need in ("track", "align", shown_name(one), *removals[:1])]
    matte = made(f"encode/{MATTE}.png", compute=compute_matte, reads=("encode.layers",), needs=tuple(needs))
    return [*found, matte]
