"""Stage `composite`: soft masks, and rendered crops blended into their frames through the crop's inverse."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from functools import partial
from typing import Any

import numpy as np
import numpy.typing as npt

from pipeline.clip import F32, F64, I64, U8, Clip, Crops
from pipeline.request.settings import CompositeSettings, Settings
from pipeline.stages import inset
from pipeline.stages.edit import settings_of, variants
from pipeline.stages.face_masks import MASK_SETTINGS, masks_of, needs_of_masks, with_border
from pipeline.stages.pixels import Rows
from pipeline.stages.run import StageRun
from pipeline.stages.stage import Stage
from pipeline.video.masks import crop_mask, visible_change
from pipeline.video.temporal_stabilization import TemporalStabilizer
from pipeline.video.warp import Box, back_box, warp_back
from storage import StoredArray

Hold = Callable[[F32, npt.NDArray[np.bool_], Box], F32]
"""Called as hold(layer [h,w,4], where it is shown [h,w], box); returns the averaged layer."""


def composite(
    clip: Clip,
    crops: Crops,
    rendered: Rows,
    rows: Mapping[int, int] | I64,
    masks: Rows | None,
    settings: CompositeSettings,
    start: int = 0,
    stop: int | None = None,
    plain: Rows | None = None,
    held: npt.NDArray[np.bool_] | None = None,
) -> Iterator[U8]:
    """Yield the full frames [start, stop), uint8 [H,W,3], with each rendered crop blended in, one by one.

    rendered: by row, uint8 [S,S,3]. masks: by row, [S,S] uint8 (0 to 255) or float (0 to 1), how much of the
    render to show; None takes the whole crop with a border `settings.feather` crop widths wide. plain: by
    row, the render of the frame as it was found; then only what differs from it is taken over (see `blend`).
    held: by row, whether the overlay is averaged with the previous one (`TemporalStabilizer`); None: never.
    rows: the row of each source frame, as a mapping or an array [T] (-1 for none). S may differ from the size
    of `crops`. A frame without a row or a crop is passed on as it is; where the mask is 0 the pixels are the
    source's to the bit.
    """
    whole: U8 | None = None
    stabilizer = TemporalStabilizer()
    for index, frame in enumerate(clip.frames(start, stop), start):
        row = _row(rows, index)
        affine = crops.affine[index]
        if row < 0 or not np.isfinite(affine).all():
            yield frame
            continue
        picture = np.asarray(rendered[row])
        if masks is None:
            if whole is None or whole.shape[0] != picture.shape[0]:
                whole = crop_mask(picture.shape[0], settings.feather)
            mask: npt.NDArray[Any] = whole
        else:
            mask = np.asarray(masks[row])
        without = None if plain is None else np.asarray(plain[row])
        hold = None if held is None else partial(stabilizer, index, frame, held=bool(held[row]))
        yield blend(frame, picture, mask, affine, crops.size, without, hold)


def blend(
    frame: U8,
    picture: U8,
    mask: npt.NDArray[Any],
    affine: F64,
    size: int,
    plain: U8 | None = None,
    hold: Hold | None = None,
) -> U8:
    """One frame [H,W,3] with one rendered crop [S,S,3] in its mask [S,S]; `affine` made a crop of `size` px.

    With `plain`, the crop as it was found, the frame takes the render where an edit or a removal visibly
    changes it, and elsewhere only the difference that it makes: it keeps detail that no render has. `hold`
    may put another layer in the place of that, before the mask.
    Returns `frame` itself where the mask shows nothing of the render.
    """
    weights = mask.astype(np.float32) / 255.0 if mask.dtype == np.uint8 else mask.astype(np.float32)
    height, width = frame.shape[:2]
    region = _support(weights)
    if region is None:
        return frame
    to_mask = affine * (weights.shape[0] / size)
    box = back_box(to_mask, region, width, height)
    if box is None:
        return frame
    alpha = warp_back(weights, to_mask, box, padding="zeros")
    # The low pass before a minification spreads the mask a little; it must not grow by that.
    shown = warp_back((weights > 0).astype(np.float32), to_mask, box, padding="zeros", antialias=False)
    inside = (alpha > 0) & (shown > 0)
    pixels = warp_back(picture, affine * (picture.shape[0] / size), box)
    x0, y0, x1, y1 = box
    part = frame[y0:y1, x0:x1]
    replaced, taken = part.astype(np.float32), np.ones((*part.shape[:2], 1), np.float32)
    if plain is not None:
        without = warp_back(plain, affine * (plain.shape[0] / size), box)
        taken = warp_back(visible_change(picture, plain), affine * (picture.shape[0] / size), box)[..., None]
        replaced = without + taken * (replaced - without)
    difference = pixels - replaced
    if hold is not None:
        layer = np.concatenate([difference + taken * part, taken], axis=-1)
        moved = hold(layer, inside, box) - layer
        difference = difference + moved[..., :3] - moved[..., 3:] * part
    mixed = part + alpha[..., None] * difference
    out = frame.copy()
    out[y0:y1, x0:x1][inside] = np.clip(np.rint(mixed[inside]), 0, 255).astype(np.uint8)
    return out


def _row(rows: Mapping[int, int] | I64, index: int) -> int:
    if isinstance(rows, Mapping):
        return int(rows.get(index, -1))
    return int(rows[index]) if index < len(rows) else -1


def _support(weights: npt.NDArray[np.float32]) -> tuple[float, float, float, float] | None:
    """Bounds (x0, y0, x1, y1) of what a bilinear sample of the mask can see, or None for an empty mask."""
    columns, lines = np.flatnonzero(weights.any(axis=0)), np.flatnonzero(weights.any(axis=1))
    if len(columns) == 0:
        return None
    return columns[0] - 0.5, lines[0] - 0.5, columns[-1] + 1.5, lines[-1] + 1.5


def compute(run: StageRun) -> None:
    """Write `masks` uint8 [K,S,S] of one variant: how much of each crop is shown."""
    if run.part == inset.TURNED:
        own = inset.own_masks(run)
        turned = with_border(own) if run.needed(f"stitch/{inset.TURNED}") else own
        _write(run, inset.turned_masks(run, turned), turned.size, lambda row: False)
        return
    masks = masks_of(run, run.part)
    if run.needed(f"stitch/{run.part}") is None:
        _write(run, masks, masks.size, lambda row: False)
    else:
        # Where an edit is not in force, a stitched crop is not either: the frame is the source's.
        _write(run, with_border(masks), masks.size, masks.changes_nothing)


def _write(run: StageRun, masks: Rows, size: int, is_empty: Callable[[int], bool]) -> None:
    count = len(run.result_of("align").arrays["crops"])
    stored = run.writer.array("masks", (count, size, size), np.uint8)
    for row in range(count):
        stored.write(np.asarray(masks[row])[None] * np.uint8(not is_empty(row)))
        run.count(row + 1, count)


def full_frame_variants(settings: Settings) -> list[str]:
    """The variants that go back into the source's frames; a novel view does not fit there."""
    return [name for name, variant in variants(settings.edit).items() if variant.view is None]


def is_stitched(settings: Settings, name: str) -> bool:
    """Whether the plan of these settings has a stage `stitch/NAME`."""
    if settings.composite.stitch is None:
        return False
    if name == inset.TURNED:
        return settings.edit.inset and not settings.edit.remove_occluder
    return name == "edited" and bool(settings.edit.edits)


def stages(settings: Settings) -> list[Stage[StoredArray]]:
    """The masks of every variant that goes into frames, and of the turned head with `--inset`."""
    found = [
        _stage(name, settings, needs_of_masks(settings, name), settings_of(name, settings.edit))
        for name in full_frame_variants(settings)
    ]
    if settings.edit.inset:
        needs = inset.needs_of_turned_masks(settings)
        found.append(_stage(inset.TURNED, settings, needs, settings_of("view", settings.edit)))
    return found


def _stage(
    name: str, settings: Settings, needs: tuple[str, ...], reads: tuple[str, ...]
) -> Stage[StoredArray]:
    stitched = (f"stitch/{name}",) if is_stitched(settings, name) else ()
    return Stage(
        f"composite/{name}",
        version=4,
        load=lambda run: run.result.arrays["masks"],
        compute=compute,
        reads=(*MASK_SETTINGS, *reads),
        needs=(*needs, *stitched),
    )
