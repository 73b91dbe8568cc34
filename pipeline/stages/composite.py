"""Stage `composite`: soft masks, and rendered crops blended into their frames through the crop's inverse."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from typing import Any

import numpy as np
import numpy.typing as npt

from pipeline.clip import F32, F64, I64, U8, Clip, Crops
from pipeline.request.settings import CompositeSettings, Settings
from pipeline.stages import inset, track
from pipeline.stages.edit import settings_of, variants
from pipeline.stages.face_masks import MASK_SETTINGS, masks_of, needs_of_masks, understood, with_border
from pipeline.stages.pixels import Rows
from pipeline.stages.run import StageRun
from pipeline.stages.stage import Stage
from pipeline.video.masks import crop_mask, visible_change
from pipeline.video.planes import Planes, aligned, changed_by, cut, placed, rgb_of
from pipeline.video.reader import view_of
from pipeline.video.temporal_stabilization import TemporalStabilizer
from pipeline.video.texture import Grain, GrainMeter, blur_of, blurred
from pipeline.video.tone_map import ToneMap
from pipeline.video.warp import Box, back_box, warp_back
from storage import StoredArray

Frame = U8 | Planes
Hold = Callable[[F32, npt.NDArray[np.bool_], Box], F32]
"""Called as hold(layer [h,w,4], where it is shown [h,w], box); returns the averaged layer."""


def composited(faces: Sequence[Overlays], clip: Clip) -> Iterator[tuple[Frame, Frame, tuple[Overlay, ...]]]:
    """Yield every frame of the clip: the source's, the same with the overlays of all faces, and these.

    Frames are Planes where the file has more than 8 bits hold, else uint8 [H,W,3]. Samples outside the masks
    are the source's. A frame of high dynamic range gets its overlays as SDR, and what these change is put
    back by the inverse of the tone map. The overlay of a face is laid over those of the faces before it.
    """
    deep = clip.deep
    sources: Iterator[Frame] = clip.frames() if deep is None else deep.planes()
    before: Frame | None = None
    for index, (source, after) in enumerate(_with_next(sources)):
        frame, other, found = source, before if before is not None else after, []
        before = source
        for overlays in faces:
            overlay = overlays.at(index, partial(_view, source, clip))
            if overlay is None:
                continue
            if overlays.texture is not None and other is not None:
                overlays.texture.meter.see(_view(other, clip, overlay.box), _view(source, clip, overlay.box))
                overlay = replace(overlay, grain=overlays.texture.meter.grain)
            tone = None if deep is None else deep.tone
            frame = overlay.over_deep(frame, tone) if isinstance(frame, Planes) else overlay.over(frame)
            found.append(overlay)
        yield source, frame, tuple(found)


def _with_next(frames: Iterator[Frame]) -> Iterator[tuple[Frame, Frame | None]]:
    """Each frame with the one after it, None for the last."""
    current = next(frames, None)
    while current is not None:
        following = next(frames, None)
        yield current, following
        current = following


def _view(frame: Frame, clip: Clip, box: Box | None = None) -> U8:
    """A frame, or a box of it, as 8-bit RGB."""
    if isinstance(frame, Planes):
        tone = None if clip.deep is None else clip.deep.tone
        if box is None:
            return view_of(frame, tone)
        outer = aligned(box, replace(frame.layout, columns=2, rows=2), frame.size)
        seen = view_of(cut(frame, outer), tone)
        return seen[box[1] - outer[1] : box[3] - outer[1], box[0] - outer[0] : box[2] - outer[0]]
    return frame if box is None else frame[box[1] : box[3], box[0] : box[2]]


@dataclass(frozen=True)
class Texture:
    """What grain and blur are measured by: crops and their reconstructions by row, uint8 [S,S,3]."""

    crops: Rows
    reconstruction: Rows
    meter: GrainMeter = field(default_factory=GrainMeter)

    def kernel(self, row: int, mask: npt.NDArray[Any]) -> F64 | None:
        """The blur of a row's source within its mask uint8 [S,S]; None where it is sharp."""
        source, found = np.asarray(self.crops[row]), np.asarray(self.reconstruction[row])
        if source.shape != found.shape or source.shape[:2] != mask.shape:
            return None
        return blur_of(source, found, understood(source, found) * (mask > 127))


@dataclass(frozen=True)
class Overlays:
    """What is laid over each frame.

    rendered: by row, uint8 [S,S,3]. rows: the row of each source frame, as a mapping or an array [T] (-1 for
    none). masks: by row, [S,S] uint8 (0 to 255) or float (0 to 1), how much of the render to show; None takes
    the whole crop with a border `settings.feather` crop widths wide. size: width and height of the frames.
    plain: by row, the render of the frame as it was found; then only what differs from it is taken over (see
    `overlay_of`). held: by row, whether the overlay is averaged with the previous one (`TemporalStabilizer`);
    None: never. S may differ from the size of `crops`. Where the mask is 0 the pixels are the source's.
    by_hand: by row, masks of whole frames [H,W] in [0,1], in the place of `masks`. texture: measures the
    grain and blur of the source; None leaves the renders as they are.
    """

    crops: Crops
    rendered: Rows
    rows: Mapping[int, int] | I64
    masks: Rows | None
    settings: CompositeSettings
    size: tuple[int, int]
    plain: Rows | None = None
    held: npt.NDArray[np.bool_] | None = None
    by_hand: Rows | None = None
    texture: Texture | None = None
    stabilizer: TemporalStabilizer = field(default_factory=TemporalStabilizer)

    def at(self, index: int, view: Callable[[], U8]) -> Overlay | None:
        """The overlay of a frame; None where there is none. view: the frame itself, as 8-bit RGB."""
        row, affine = _row(self.rows, index), self.crops.affine[index]
        if row < 0 or not np.isfinite(affine).all():
            return None
        picture = np.asarray(self.rendered[row])
        mask = crop_mask(len(picture), self.settings.feather) if self.masks is None else self.masks[row]
        without = None if self.plain is None else np.asarray(self.plain[row])
        kernel = None if self.texture is None else self.texture.kernel(row, np.asarray(mask))
        if kernel is not None:
            picture = blurred(picture, kernel)
            without = None if without is None else blurred(without, kernel)
        hold = None
        if self.held is not None:
            hold = partial(self.stabilizer, index, view(), held=bool(self.held[row]))
        by_hand = None if self.by_hand is None else self.by_hand[row]
        return overlay_of(
            picture, np.asarray(mask), affine, self.crops.size, self.size, without, hold, by_hand
        )


@dataclass(frozen=True)
class Overlay:
    """A rendered crop in the pixels of a frame, within a box of it."""

    box: Box
    pixels: F32  # [h,w,3] in levels of 255
    alpha: F32  # [h,w]
    inside: npt.NDArray[np.bool_]  # [h,w], where it is shown
    taken: F32  # [h,w,1], how far it replaces the source; elsewhere it only adds its difference to `without`
    without: F32 | None = None  # [h,w,3]
    hold: Hold | None = None
    grain: Grain | None = None

    def over(self, frame: U8) -> U8:
        """The frame uint8 [H,W,3] with the overlay."""
        x0, y0, x1, y1 = self.box
        mixed, _ = self.mixed(frame[y0:y1, x0:x1].astype(np.float32))
        out = frame.copy()
        out[y0:y1, x0:x1][self.inside] = np.clip(np.rint(mixed[self.inside]), 0, 255).astype(np.uint8)
        return out

    def mixed(self, part: F32) -> tuple[F32, F32]:
        """The source [h,w,3] in levels with the overlay, and how much of the source is left [h,w]."""
        replaced = part
        if self.without is not None:
            replaced = self.without + self.taken * (part - self.without)
        difference = self.pixels - replaced
        if self.hold is not None:
            layer = np.concatenate([difference + self.taken * part, self.taken], axis=-1)
            moved = self.hold(layer, self.inside, self.box) - layer
            difference = difference + moved[..., :3] - moved[..., 3:] * part
        mixed: F32 = part + self.alpha[..., None] * difference
        left = 1.0 - self.alpha * self.taken[..., 0]
        if self.grain is not None:
            # Of the source's own grain `left` remains; both together have its variance.
            mixed = mixed + np.sqrt(np.maximum(1.0 - left**2, 0.0))[..., None] * self.grain.field(part)
        return mixed, left

    def over_deep(self, planes: Planes, tone: ToneMap | None) -> Planes:
        """The frame's samples with the overlay, through SDR where `tone` maps the frame to it."""
        x0, y0, x1, y1 = self.box
        box = aligned(self.box, planes.layout, planes.size)
        part = cut(planes, box)
        signal = rgb_of(part)[y0 - box[1] : y1 - box[1], x0 - box[0] : x1 - box[0]]
        sdr = signal if tone is None else tone.to_sdr(signal)
        # What is seen, on black; the change is made there and then taken back to straight alpha.
        seen, shown = np.float32(255.0) * sdr, self.inside
        if planes.alpha is not None:
            opacity = planes.alpha[y0:y1, x0:x1, None] / np.float32(planes.layout.top)
            seen, shown = seen * opacity, shown & (opacity[..., 0] > 0)
        mixed, left = self.mixed(seen)
        moved = (mixed - seen) / np.float32(255.0)
        if planes.alpha is not None:
            moved = moved / np.maximum(opacity, 1e-6)
        change = np.zeros((box[3] - box[1], box[2] - box[0], 3), np.float32)
        here = change[y0 - box[1] : y1 - box[1], x0 - box[0] : x1 - box[0]]
        np.copyto(here, _signal_change(signal, sdr, moved, left, tone), where=shown[..., None])
        return placed(planes, changed_by(part, change), box[0], box[1])


def _signal_change(signal: F32, sdr: F32, moved: F32, left: F32, tone: ToneMap | None) -> F32:
    """Change of a signal [h,w,3] where its SDR changes by `moved`; left [h,w]: what stays of the source.

    What the tone map cannot hold of the source, such as colours beyond BT.709, goes as the source does.
    """
    if tone is None:
        # Samples beyond black and white stay where the overlay leaves them.
        return np.clip(sdr + moved, np.minimum(sdr, 0.0), np.maximum(sdr, 1.0)) - sdr
    held = tone.to_hdr(sdr)
    changed: F32 = tone.to_hdr(sdr + moved) + left[..., None] * (signal - held) - signal
    return changed


def overlay_of(
    picture: U8,
    mask: npt.NDArray[Any],
    affine: F64,
    size: int,
    frame_size: tuple[int, int],
    plain: U8 | None = None,
    hold: Hold | None = None,
    by_hand: F32 | None = None,
) -> Overlay | None:
    """A rendered crop [S,S,3] in the pixels of its frame, within its mask [S,S]; None where nothing is shown.

    affine: made a crop of `size` pixels. frame_size: width and height. plain: the crop as it was found; then
    the frame takes the render where an edit or a removal visibly changes it, and elsewhere only the
    difference that it makes: it keeps detail that no render has. hold: may put another layer in the place of
    that, before the mask.
    by_hand: [H,W] in [0,1], a mask in the pixels of the frame, instead of `mask`; the crop's edge bounds it.
    """
    if by_hand is not None:
        mask = np.full(mask.shape, 255, np.uint8)
    weights = mask.astype(np.float32) / 255.0 if mask.dtype == np.uint8 else mask.astype(np.float32)
    region = _support(weights)
    if region is None:
        return None
    to_mask = affine * (weights.shape[0] / size)
    box = back_box(to_mask, region, *frame_size)
    if box is None:
        return None
    alpha = warp_back(weights, to_mask, box, padding="zeros")
    # The low pass before a minification spreads the mask a little; it must not grow by that.
    shown = warp_back((weights > 0).astype(np.float32), to_mask, box, padding="zeros", antialias=False)
    if by_hand is not None:
        x0, y0, x1, y1 = box
        alpha = np.minimum(alpha, by_hand[y0:y1, x0:x1])
    inside = (alpha > 0) & (shown > 0)
    pixels = warp_back(picture, affine * (picture.shape[0] / size), box)
    taken, without = np.ones((*alpha.shape, 1), np.float32), None
    if plain is not None:
        without = warp_back(plain, affine * (plain.shape[0] / size), box)
        taken = warp_back(visible_change(picture, plain), affine * (picture.shape[0] / size), box)[..., None]
    return Overlay(box, pixels, alpha, inside, taken, without, hold)


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
    """Write `masks` uint8 [K,S,S] of one variant: how much of each crop is shown.

    Of a removal also `mattes` uint8 [K,S,S]: how much of each pixel is the occluder's.
    """
    if run.part == inset.TURNED:
        own = inset.own_masks(run)
        turned = with_border(own) if run.needed(f"stitch/{inset.TURNED}") else own
        _write(run, inset.turned_masks(run, turned), turned.size, lambda row: False)
        return
    masks = masks_of(run, run.part)
    if run.needed(f"stitch/{run.part}") is None:
        _write(run, masks, masks.size, lambda row: False, masks.mattes)
    else:
        # Where an edit is not in force, a stitched crop is not either: the frame is the source's.
        _write(run, with_border(masks), masks.size, masks.changes_nothing)


def _write(
    run: StageRun, masks: Rows, size: int, is_empty: Callable[[int], bool], mattes: Rows | None = None
) -> None:
    count = len(run.of(track.STAGE).usable)
    stored = run.writer.array("masks", (count, size, size), np.uint8)
    of_occluder = None
    for row in range(count):
        stored.write(np.asarray(masks[row])[None] * np.uint8(not is_empty(row)))
        if mattes is not None:
            matte = np.rint(255.0 * mattes[row]).astype(np.uint8)
            if of_occluder is None:
                of_occluder = run.writer.array("mattes", (count, *matte.shape), np.uint8)
            of_occluder.write(matte[None])
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
        version=8,
        load=lambda run: run.result.arrays["masks"],
        compute=compute,
        reads=(*MASK_SETTINGS, *reads),
        needs=(*needs, *stitched),
    )
