"""Stage `inset`: where the crop of a turned head goes in its frames, and how much of it is shown (`--inset`).

Fruehstueck et al. 2023, "VIVE3D", its optical-flow-corrected inset (`inset_video` of its release).
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import cv2
import numpy as np
import numpy.typing as npt

from pipeline.clip import F32, F64, I64, U8, Crops
from pipeline.faces.smoothing import smooth
from pipeline.request.settings import CompositeSettings, EditSettings, Settings
from pipeline.stages import align, camera, decode, track
from pipeline.stages.edit import images_in, images_stage, settings_of, turned_cameras, variant_of
from pipeline.stages.face_masks import MASK_SETTINGS, FaceMasks, masks_of, needs_of_masks
from pipeline.stages.pixels import Rows
from pipeline.stages.problem import NEEDS, OfPictures, refined
from pipeline.stages.run import StageRun
from pipeline.stages.smooth import seen_problem, shown_inversion, shown_name
from pipeline.stages.stage import Stage
from pipeline.video.masks import crop_mask, face_masks
from pipeline.video.warp import crop_frames, warp_back, warp_points
from storage import StoredArray

if TYPE_CHECKING:
    from inverters.base import InversionProblem

TURNED = "turned"
"""Name of the output that shows the turned head in its frames."""
PLACE = f"inset/{TURNED}"
"""Name of the stage that finds the place of the inset."""
_SHARE = np.array([0.75, 0.2])
"""Of the flow, across and down, that the inset takes back."""
_LEAST = 0.5
"""Flow below this share of the mean does not count."""
_CONE = math.cos(math.radians(45))
_WINDOW = 0.28
"""Seconds over which the inset's way is smoothed."""
_HEAD = np.zeros((1, 3))
"""The middle of the head in EG3D's world; it lies behind the pivot that the face turns about."""


def project(points: npt.NDArray[Any], cam2world: F32, intrinsics: F32, size: int) -> F64:
    """World points [P,3] in pixels of a crop of `size`, [K,P,2]; cameras [K,4,4], [K,3,3]."""
    rotation, position = cam2world[:, :3, :3].astype(np.float64), cam2world[:, None, :3, 3]
    seen = (np.asarray(points, np.float64) - position) @ rotation
    pixels = seen @ np.swapaxes(intrinsics.astype(np.float64), 1, 2)
    projected: F64 = size * pixels[..., :2] / pixels[..., 2:]
    return projected


def head_motion(before: F32, after: F32, intrinsics: F32, size: int) -> F64:
    """Crop pixels [K,2] by which the middle of the head moves from one camera to the other."""
    moved: F64 = (project(_HEAD, after, intrinsics, size) - project(_HEAD, before, intrinsics, size))[:, 0]
    return moved


def flow_shift(before: U8, after: U8, expected: F64, region: npt.NDArray[np.bool_]) -> F64:
    """Shift of an inset in crop pixels (x, y) that keeps the turned head on its neck.

    The generator's cameras turn about a point in the face, so the head and neck swing sideways. The optical
    flow from one render to the other measures that motion, and a share of it is subtracted. Only flow within
    `region`, fast enough and near the expected direction, is used. Without such flow the shift is zero; it is
    never longer than `expected`.

    Args:
        before: uint8 [S,S,3], the head from the clip's camera.
        after: uint8 [S,S,3], the head from the view's camera.
        expected: (x, y), motion of the middle of the head in crop pixels.
        region: bool [S,S], where the head is.
    """
    gray = [cv2.cvtColor(np.ascontiguousarray(image), cv2.COLOR_RGB2GRAY) for image in (before, after)]
    # The release: pyramid 0.5, 8 levels, window 25, 7 iterations, polynomials of 5 and 1.2
    flow = cv2.calcOpticalFlowFarneback(
        gray[0],
        gray[1],
        None,  # type: ignore[call-overload]
        0.5,
        8,
        25,
        7,
        5,
        1.2,
        cv2.OPTFLOW_FARNEBACK_GAUSSIAN,
    )[region].astype(np.float64)
    length = np.linalg.norm(flow, axis=1)
    most = float(np.linalg.norm(expected))
    if not length.any() or most == 0:
        return np.zeros(2)
    along = flow @ (expected / most)
    kept = (length > 0) & (length >= _LEAST * length.mean()) & (along >= _CONE * length)
    if not kept.any():
        return np.zeros(2)
    direction = (flow[kept] / length[kept, None]).mean(0)
    direction /= max(float(np.linalg.norm(direction)), 1e-9)
    shift = -_SHARE * direction * length[kept].max()
    # One wrong vector would be the longest, and carry the face off its head.
    bounded: F64 = shift * min(1.0, most / max(float(np.linalg.norm(shift)), 1e-9))
    return bounded


def smooth_shifts(shifts: F64, expected: F64, times: F64, run: I64) -> F64:
    """Shifts [K,2] at times [K] in seconds, smoothed in time, but only within rows of the same `run` [K].

    What is smoothed is their share of the motion expected [K,2], along it and across: where that is the same
    in all frames, as of a view that rests, so are the shifts themselves; an orbit's go round with it.
    """
    across = expected[:, ::-1] * (-1.0, 1.0)
    products = np.stack([(shifts * expected).sum(1), (shifts * across).sum(1), np.square(expected).sum(1)], 1)
    along, beside, square = smooth(products, times, run, "gaussian", _WINDOW, degree=0).T[..., None]
    smoothed: F64 = (along * expected + beside * across) / np.maximum(square, 1e-12)
    return smoothed


def moved_affines(affine: F64, shifts: F64, frames: I64) -> F64:
    """The map [T,2,3] from the source to crops that the inset has moved, from that to the crops as cut."""
    moved = np.array(affine)
    moved[frames, :, 2] -= shifts
    return moved


@dataclass(frozen=True)
class InsetMasks:
    """How much of a turned crop is shown, by row: uint8 [S,S], its pixels.

    That is its own face, and whatever lies over the source's, so that nothing of that remains beside it.
    """

    landmarks: F64
    """[K,68,2] of the turned face, in its crop."""
    source: Rows
    """By row, the masks of the face as it was found, uint8 [S,S]."""
    shifts: F64
    size: int
    settings: CompositeSettings

    def __getitem__(self, row: int) -> U8:
        one = slice(row, row + 1)
        still = np.array([[[1.0, 0.0, 0.0], [0.0, 1.0, 0.0]]])
        own = next(face_masks(self.landmarks[one], still, self.size, self.settings))
        back = np.concatenate([np.eye(2), self.shifts[row][:, None]], axis=1)
        box = (0, 0, self.size, self.size)
        source = warp_back(np.asarray(self.source[row]), back, box, padding="zeros", antialias=False)
        edge = crop_mask(self.size, min(self.settings.feather, 0.03))
        union = np.minimum(np.maximum(own, np.rint(source).astype(np.uint8)), edge)
        return _attached(union, own, round(self.settings.feather * self.size))


def _attached(mask: U8, face: U8, feather: int) -> U8:
    """The mask without parts that do not hang together with the face's, and without their soft borders."""
    labels = cv2.connectedComponents((mask > 127).astype(np.uint8))[1]
    loose = (labels > 0) & ~np.isin(labels, labels[face > 127])
    around = cv2.dilate(loose.astype(np.uint8), np.ones((2 * feather + 1, 2 * feather + 1), np.uint8)) > 0
    kept: U8 = np.where(loose | (around & (labels == 0)), np.minimum(mask, face), mask)
    return kept


def unturned(settings: EditSettings) -> str:
    """The variant that shows from the clip's own cameras what the view shows from elsewhere."""
    if not settings.remove_occluder:
        return "edited"
    return "removal_edited" if settings.edits else "removal"


def unturned_images(run: StageRun) -> StoredArray | OfPictures:
    """The rendered crops of that variant, not stitched."""
    rendered = f"edit/{unturned(run.settings.edit)}"
    return images_in(run, run.needed(rendered, "smooth", "finetune") or rendered)


def own_masks(run: StageRun) -> FaceMasks:
    """The masks of that variant; whole, also where a hand is before the face: nothing of it is to remain."""
    return replace(masks_of(run, unturned(run.settings.edit)), source=None, covers=None)


def needs_of_turned_masks(settings: Settings) -> tuple[str, ...]:
    """Names of the stages that `turned_masks` and `turned_problem` read."""
    name = unturned(settings.edit)
    needs = (*NEEDS, shown_name(settings), images_stage(settings, name), *needs_of_masks(settings, name))
    return tuple(dict.fromkeys((*needs, "edit/view", PLACE)))


def turned_masks(run: StageRun, masks: FaceMasks) -> InsetMasks:
    """Masks of the turned crops; `masks` are `own_masks`, with or without a border."""
    place = run.result_of(PLACE).arrays
    return InsetMasks(place["landmarks"].read(), masks, place["shift"].read(), masks.size, masks.settings)


def turned_problem(run: StageRun) -> InversionProblem:
    """The clip's problem with the view's cameras; its crops are the source in the inset's place."""
    import torch

    problem = seen_problem(run)
    cam2world = torch.from_numpy(_cameras(run)[2]).to(problem.cam2world)
    return replace(problem, cam2world=cam2world, crops=run.result_of(PLACE).arrays["crops"])


def moved_crops(run: StageRun, shifts: F64 | None = None) -> Crops:
    """The crops that the inset fills; `shifts` [K,2] are those that are stored, if not given."""
    shifts = run.result_of(PLACE).arrays["shift"].read() if shifts is None else shifts
    crops = run.of(align.STAGE)
    return Crops(moved_affines(crops.affine, shifts, run.of(track.STAGE).usable), crops.size)


def _cameras(run: StageRun) -> tuple[F32, F32, F32]:
    """The clip's refined cameras [K,4,4], their intrinsics [K,3,3], and the view's cameras [K,4,4]."""
    view, usable = variant_of("view", run.settings.edit).view, run.of(track.STAGE).usable
    if view is None:
        raise ValueError("the request has no view")
    found = refined(run.of(camera.STAGE), shown_inversion(run), run.of(track.STAGE))
    own, lens = found.cam2world[usable], found.intrinsics[usable]
    return own, lens, turned_cameras(own, view, run.models.generator.card.camera_rule.pivot)


def _own_pictures(run: StageRun) -> I64:
    """By picture [P], the first one of the same frame; in an orbit each is its own, as all differ."""
    view, rows = variant_of("view", run.settings.edit).view, run.of(track.STAGE).rows
    if view is not None and view.orbit:
        return np.arange(len(rows))
    return np.searchsorted(rows, rows).astype(np.int64)


def compute(run: StageRun) -> None:
    """Write `shift` [K,2] and `landmarks` [K,68,2] of the turned face.

    With `--stitch` also `crops` uint8 [K,S,S,3]: what the source shows in the inset's place.
    """
    before, after = unturned_images(run), images_in(run, "edit/view")
    masks, track_, crops = own_masks(run), run.of(track.STAGE), run.of(align.STAGE)
    rows, size = track_.usable, crops.size
    own, lens, other = _cameras(run)
    expected = head_motion(own, other, lens, size)
    shifts, own_picture = np.zeros((len(rows), 2)), _own_pictures(run)
    for row in np.unique(own_picture):
        shifts[row] = flow_shift(before[row], after[row], expected[row], masks[row] > 0)
        run.count(int(row) + 1, len(rows))
    chosen = np.unique(own_picture)
    times = run.of(decode.STAGE).times[rows[chosen]]
    shifts[chosen] = smooth_shifts(shifts[chosen], expected[chosen], times, track_.runs[rows[chosen]])
    shifts = shifts[own_picture]
    landmarks: F64 = np.stack([warp_points(track_.landmarks[f], crops.affine[f]) for f in rows])
    landmarks3d = run.models.generator.card.landmarks3d
    if "68" in landmarks3d:
        points = landmarks3d["68"]
        landmarks += project(points, other, lens, size) - project(points, own, lens, size)
    run.writer.put("shift", shifts)
    run.writer.put("landmarks", landmarks)
    if run.settings.composite.stitch is not None:
        pixels = run.writer.array("crops", (len(rows), size, size, 3), np.uint8)
        for _, crop in crop_frames(run.of(decode.STAGE), moved_crops(run, shifts)):
            pixels.write(crop[None])


def stages(settings: Settings) -> list[Stage[F64]]:
    """The stage of a request with `--inset`."""
    if not settings.edit.inset:
        return []
    stage = Stage(
        PLACE,
        version=2,
        load=lambda run: run.result.arrays["shift"].read(),
        compute=compute,
        reads=("composite.stitch", *MASK_SETTINGS, *settings_of("view", settings.edit)),
        needs=tuple(name for name in needs_of_turned_masks(settings) if name != PLACE),
    )
    return [stage]
