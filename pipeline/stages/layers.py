"""Stage `encode` of layers: each change as straight RGBA, its soft mask, and the occluder's matte (`--layers`)."""

from __future__ import annotations

from collections.abc import Callable, Iterator
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
from pipeline.stages.edit import variant_of
from pipeline.stages.encode import Output, card_name, load, notes
from pipeline.stages.overlays import overlay_facts, overlay_needs, overlay_reads, overlays_of, row_of_frame
from pipeline.stages.panels import describe
from pipeline.stages.run import StageRun
from pipeline.stages.smooth import shown_name, shown_result
from pipeline.stages.stage import Stage
from pipeline.video.codecs import suffix_for
from pipeline.video.picture_writer import picture_names, write_grey, write_layer
from pipeline.video.planes import Box, Layout, Planes, aligned, black, cut, over_black, placed
from pipeline.video.reader import signal_of
from pipeline.video.warp import warp_back
from pipeline.video.writer import VideoWriter

LAYER, MASK, MATTE = "layer", "mask", "occluder_matte"
RGBA = Layout(16, alpha=True)
"""What the frames of a layer are: R', G', B' of the source's own colours, straight, and alpha."""
_MARGIN = 16
"""Pixels around a change in which the chroma of 4:2:0 may change with it."""


def layer_of(source: Frame, finished: Frame, overlay: Overlay | None) -> Planes:
    """The layer that makes `finished` of `source` when it is laid over it.

    Porter and Duff 1984, `over` with straight alpha: finished = source + alpha (colour - source). alpha is
    the mask's, or more where the colour would otherwise not be one; it is exactly 0 where nothing changes.
    The colours are those of the clip's own signal.
    """
    size = _size(source)
    layer = replace(black(RGBA, size), alpha=np.zeros(size[::-1], np.uint16))
    if overlay is None:
        return layer
    box = _around(overlay.box, source, size)
    before, after = (_signal(frame, box) for frame in (source, finished))
    alpha = np.zeros(before.shape[:2], np.float32)
    x0, y0, x1, y1 = overlay.box
    inner = slice(y0 - box[1], y1 - box[1]), slice(x0 - box[0], x1 - box[0])
    alpha[inner] = np.clip(np.where(overlay.inside, overlay.alpha, 0.0), 0.0, 1.0)
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


def mask_of(overlay: Overlay | None, size: tuple[int, int]) -> U8:
    """How much of the change is shown in each pixel of a frame, uint8 [H,W]."""
    mask = np.zeros(size[::-1], np.uint8)
    if overlay is not None:
        x0, y0, x1, y1 = overlay.box
        shown = np.where(overlay.inside, overlay.alpha, 0.0)
        mask[y0:y1, x0:x1] = np.rint(255.0 * np.clip(shown, 0.0, 1.0)).astype(np.uint8)
    return mask


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
    shown = variant_of("view" if name == inset.TURNED else name, run.settings.edit)
    comment = describe(shown, run.models.generator.card.name, run.settings.invert.method)
    with _layer_writer(run, clip, f"{name}_{LAYER}", form, comment) as (names, write):
        for index, (source, frame, overlay) in enumerate(composited(overlays_of(run, name), clip)):
            write(index, layer_of(source, frame, overlay))
            write_grey(run.writer.file(masks[index]), mask_of(overlay, _size(source)))
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
    """Write how much of each pixel of each frame is the occluder, where the method has a field for it."""
    clip, crops, rows = run.of(decode.STAGE), run.of(align.STAGE), row_of_frame(run)
    blend = shown_result(run).arrays.get("blend")
    found = []
    if blend is None:
        found.append(
            "the occluder's matte is black everywhere: this inversion has no field for what covers a face"
        )
    names, size = picture_names(clip, MATTE, ".png"), (clip.width, clip.height)
    for index, name in enumerate(names):
        matte = np.zeros(size[::-1], np.uint8)
        if blend is not None and index in rows:
            values = _fractions(np.asarray(blend[rows[index]]))
            affine = crops.affine[index] * (values.shape[0] / crops.size)
            matte = np.rint(
                255.0 * np.clip(warp_back(values, affine, (0, 0, *size), "zeros"), 0.0, 1.0)
            ).astype(np.uint8)
        write_grey(run.writer.file(name), matte)
        run.count(index + 1, len(clip))
    run.writer.meta |= {"names": names, "notes": found}


def _fractions(values: Any) -> F32:
    fractions: F32 = values.astype(np.float32) / np.float32(255.0 if values.dtype == np.uint8 else 1.0)
    return fractions


def stages(settings: Settings) -> list[Stage[Output]]:
    """Stages of a request with `--layers`: one for each output that goes into the source's frames, one matte."""
    form = settings.encode.layers
    if form is None:
        return []
    suffix = ".png" if form == "png" else suffix_for(form)
    names = [*full_frame_variants(settings), *([inset.TURNED] if settings.edit.inset else [])]
    made = partial(Stage, version=1, load=load, notes=notes)
    found: list[Stage[Output]] = [
        made(
            f"encode/{name}_{LAYER}{suffix}",
            compute=compute_layers,
            reads=("encode.layers", "invert.method", "generator", *overlay_reads(settings, name)),
            needs=overlay_needs(settings, name),
            facts=overlay_facts(settings, card_name),
        )
        for name in names
    ]
    needs = ("decode", "track", "align", shown_name(settings))
    matte = made(f"encode/{MATTE}.png", compute=compute_matte, reads=("encode.layers",), needs=needs)
    return [*found, matte]
